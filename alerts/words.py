"""What officers and operators read, in Chinese and English: what was seen, headlines."""

from __future__ import annotations

from typing import Final

from models.messages import Stage
from models.words import Words

LABELS: Final = {
    "fire": Words("明火", "fire"),
    "flame": Words("明火", "flame"),
    "smoke": Words("烟雾", "smoke"),
    "temperature": Words("高温", "heat"),
    "gas": Words("燃气", "gas"),
    "button": Words("手动报警", "call point"),
}


def headline(stage: Stage, what: Words, where: Words) -> Words:
    """Return one line: what and where. How sure it is stands in the name of a category, but not that it is over."""
    over = Words("（已恢复）", " (restored)") if stage is Stage.RESTORED else Words("", "")
    return Words(f"{what.zh}{over.zh} · {where.zh}", f"{what.en}{over.en} · {where.en}")
