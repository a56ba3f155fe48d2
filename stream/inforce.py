"""Which version of a config content is in force at which place of a log."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

KEEP: Final = 16
"""Changes kept per content: a replay never goes further back than the oldest unwritten row."""


class InForce(Struct):
    """The last control records of one partition.

    After a crash some rows are ahead of others, so a record is decided by the version that was in force at its own
    offset, not by the newest one.
    """

    changes: dict[str, list[tuple[int, str]]] = {}  # msgspec copies a mutable default

    def put(self, what: str, version: str, offset: int) -> None:
        """Put `version` of `what` in force for the records after `offset`; twice is once."""
        kept = [change for change in self.changes.get(what, []) if change[0] < offset]
        if kept and kept[-1][1] == version:
            return
        self.changes[what] = [*kept, (offset, version)][-KEEP:]

    def at(self, what: str, offset: int) -> str | None:
        """Return the version of `what` by which the record at `offset` is decided."""
        return next((version for since, version in reversed(self.changes.get(what, [])) if since < offset), None)
