"""What is remembered by names that anybody may make up: of devices that are admitted all, of the others the last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

V = TypeVar("V")
MOST: Final = 1_000
"""Names of devices that nobody has admitted, in one memory."""


@dataclass(slots=True)
class Host:
    """What a dialect knows of who listens to it.

    Attributes:
        is_admitted: whether a source is a device of ours, a part of one, or what one is a part of.
        forgotten: names that had to be forgotten, of devices that nobody has admitted.
    """

    is_admitted: Callable[[str], bool] = lambda _source: True
    forgotten: int = 0


class Names(Generic[V]):
    """One memory.

    Args:
        host: decides who is never forgotten.
        most: of the others, so many are remembered: those that were put in last.
    """

    def __init__(self, host: Host, most: int = MOST) -> None:
        self._host = host
        self._most = most
        self._admitted: dict[str, V] = {}
        self._others: OrderedDict[str, tuple[str, V]] = OrderedDict()
        """With the source."""

    def get(self, name: str) -> V | None:
        """Return what is remembered."""
        if name in self._admitted:
            return self._admitted[name]
        return self._others[name][1] if name in self._others else None

    def put(self, name: str, value: V, *, source: str) -> tuple[str, V] | None:
        """Remember `value`, which is of the device `source`; return what had to be forgotten for it, with its name."""
        self.pop(name)
        if self._host.is_admitted(source):
            self._admitted[name] = value
            return None
        self._others[name] = source, value
        while len(self._others) > self._most:
            oldest, (its, held) = self._others.popitem(last=False)
            if not self._host.is_admitted(its):
                self._host.forgotten += 1
                return oldest, held
            self._admitted[oldest] = held  # it was admitted meanwhile
        return None

    def pop(self, name: str) -> V | None:
        """Remember it no longer, and return what was."""
        if name in self._admitted:
            return self._admitted.pop(name)
        return self._others.pop(name)[1] if name in self._others else None

    @property
    def others(self) -> Iterable[V]:
        """Of the devices that nobody has admitted."""
        return (value for _, value in self._others.values())
