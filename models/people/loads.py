"""How much a person has on his hands, as far as that is known."""

from __future__ import annotations

from typing import Final

from models.messages import Load

FRESH_MS: Final = 300_000
"""What was said of a load longer ago is not believed."""


def open_cases(load: Load | None, at_ms: int) -> int | None:
    """Return how many cases a person has open; None where the last word of it is too old.

    `alerts` speaks of everybody who has any: of whom nothing was said, he has none.
    """
    if load is None:
        return 0
    return sum(load.open.values()) if at_ms - load.at_ms <= FRESH_MS else None
