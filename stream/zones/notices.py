"""What is told of a device though it does its duty: once, when several words in a row have said so, and no sooner over.

A notice is no fault: the device counts as watching, and nothing is judged by it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

from models.catalogue import Catalogue
from models.catalogue import Signal as Meaning

WORDS: Final = 3
"""One word proves nothing: so many in a row do."""


class Notice(NamedTuple):
    """One kind of them.

    Attributes:
        family: of its signal.
        fault: what it is, as a device would name it.
        over: why it is over.
        categories: the first that the catalogue has is its.
    """

    family: str
    fault: str
    over: str
    categories: tuple[str, ...]

    def meaning(self, catalogue: Catalogue) -> Meaning | None:
        """Return the category; None where the catalogue has none, and then nothing is told."""
        key = next((key for key in self.categories if key in catalogue.category_by_key), None)
        return Meaning(pre_alarm=key, alarm=key) if key else None


class Held(Struct, frozen=True, array_like=True):
    """What is held of a device. Nothing is kept of one that nothing speaks against.

    Attributes:
        is_so: what was told.
        against: words in a row that say otherwise,
        since_ms: the first of them, and
        last_ms: the last: what was said in one moment is one word.
    """

    is_so: bool
    against: int = 0
    since_ms: int = 0
    last_ms: int = 0


def weigh(held: Held | None, says_so: bool, at_ms: int, *, for_ms: int, over_ms: int = 0) -> Held | None:
    """Return what is held after one more word.

    Args:
        held: before it.
        says_so: what it says.
        at_ms: when.
        for_ms: it is so when every word of so long says it.
        over_ms: it is over when every word of so long says that.
    """
    is_so = held is not None and held.is_so
    if says_so == is_so:
        return Held(is_so=True) if is_so else None
    if held is None or not held.against:
        return Held(is_so, 1, at_ms, at_ms)
    if at_ms <= held.last_ms:
        return held
    against = held.against + 1
    if against >= WORDS and at_ms - held.since_ms >= (over_ms if is_so else for_ms):
        return Held(is_so=True) if says_so else None
    return Held(is_so, against, held.since_ms, at_ms)
