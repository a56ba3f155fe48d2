"""What a console command has found, for a person or for a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec


def tell(found: object, lines: Iterable[str], say: Callable[[str], None], *, as_json: bool) -> None:
    """Say `lines`, or `found` as one JSON object."""
    for line in [msgspec.json.encode(found).decode()] if as_json else lines:
        say(line)
