"""What the desk remembers: one row per open incident, and one of its own. Values only; `desk.py` changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from models.messages import DispatchOrder, Load, Priority, Response, Stage
from models.seqset import SeqSet
from stream.inforce import InForce
from stream.records import SignalRecord

META: Final = "#desk"
"""Key of the desk's own row; no incident id begins like that."""


class Member(Struct, frozen=True, kw_only=True, gc=False):
    """A zone's signal that belongs to an incident.

    Attributes:
        raised: its first word: of it an incident is made again when it is split off.
        heard: (offset, n) in `obs` of its last word that counted here; `moves`: of its zone, before that word.
        count, confidence, sources, reporters: of its own evidence.
        is_active: it was neither cleared nor closed.
        response, general_by_ms: how far the answer to its alarm has come, and when it is general by itself.
    """

    raised: SignalRecord
    stage: Stage
    heard: tuple[int, int]
    count: int
    confidence: float
    sources: tuple[str, ...]
    last_event_ms: int
    is_active: bool = True
    reporters: tuple[str, ...] = ()
    response: Response | None = None
    general_by_ms: int | None = None
    moves: int = 0

    @property
    def zone(self) -> str:
        """Where it stands."""
        return self.raised.zone


class Case(Struct, frozen=True, kw_only=True, gc=False):
    """An open incident.

    Attributes:
        order: as last sent; its `incident` is what was told.
        count: evidence so far, told or not; so are `sources` and `confidence`.
        corrected: (category, priority) that a person gave it; evidence alone does not change them any more.
        weighty_revision: the last one that changed what a person decides about: a decision on an older one is stale.
        members: by signal id.
        first_event_ms, last_event_ms: between these, and `merge_s` around them, evidence belongs here.
        tell_by_ms: here what was not told yet is told.
    """

    order: DispatchOrder
    count: int
    confidence: float
    sources: tuple[str, ...]
    weighty_revision: int
    members: dict[str, Member]
    first_event_ms: int
    last_event_ms: int
    tell_by_ms: int | None = None
    corrected: tuple[str, Priority] | None = None


class Meta(Struct):
    """The desk's own row.

    Attributes:
        clock_ms: highest `at_ms` so far.
        heard: highest (offset, n) of signals by partition of `obs`, as text: a signal that comes again is known by it.
        decided: seqs of decisions by outbox.
        loads: newest word of each person who has open cases; never changed in place.
    """

    applied_offset: int = -1
    clock_ms: int = 0
    heard: dict[str, tuple[int, int]] = {}
    decided: dict[str, SeqSet] = {}
    in_force: InForce = field(default_factory=InForce)
    loads: dict[str, Load] = {}

    def copy(self) -> Meta:
        """Return one that can be changed while this one stays."""
        return replace(
            self,
            heard=dict(self.heard),
            decided={outbox: SeqSet(seqs.floor, seqs.ranges) for outbox, seqs in self.decided.items()},
            in_force=InForce(dict(self.in_force.changes)),
        )


class CaseRow(Struct, frozen=True, kw_only=True):
    """A case as it is stored: with the value before it, so that a set of rows is written as one.

    The desk's own row is written last. A row that is newer than it belongs to a set that was not finished, and its
    `before` counts: the log is then applied again to the rows of one moment, not to a mixture.
    """

    applied_offset: int
    now: Case | None
    before: Case | None


class MetaRow(Struct, frozen=True, kw_only=True):
    """The desk's own row as it is stored."""

    applied_offset: int
    meta: Meta


def read_rows(rows: Mapping[str, CaseRow | MetaRow]) -> tuple[Meta, dict[str, Case], set[str]]:
    """Return what a set of stored rows says: the desk's own row, the open cases, and the keys of rows without one."""
    own = rows.get(META)
    meta = own.meta if isinstance(own, MetaRow) else Meta()
    cases: dict[str, Case] = {}
    gone: set[str] = set()
    for key, row in sorted(rows.items()):
        if isinstance(row, CaseRow):
            case = row.now if row.applied_offset <= meta.applied_offset else row.before
            if case is None:
                gone.add(key)
            else:
                cases[key] = case
    return meta, cases, gone
