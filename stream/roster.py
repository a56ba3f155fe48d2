"""Who may be asked at a step of the chain: duty, deputies and the hard filters.

Loads do not reach the stream yet: everybody counts as free, and an order that would ask for them says `LOAD_UNKNOWN`.
The people know no required qualification either, so none is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from models.catalogue import Category
from models.geo import PointE7
from models.messages import Candidate, Priority
from models.people import Duty, Employment, May, People, Post, Status, UnitKind
from models.people.duty import DAY_MS, HORIZON_DAYS

URGENT: Final = (Priority.P1, Priority.P2)
FIELD_STEPS: Final = range(4)
"""Steps 0 to 3: here the hard filters are never waived."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who would get this?

    Attributes:
        reporters: ids of persons or posts that reported it: they are not asked to handle it.
        is_late: all evidence is too old to alarm: for the command seat alone.
    """

    point: PointE7
    radius_m: float
    category: Category
    priority: Priority
    at_ms: int
    reporters: frozenset[str] = frozenset()
    is_late: bool = False


class Slot(NamedTuple):
    """A post that is asked, and why."""

    post: Post
    reason: str


class Place(NamedTuple):
    """Somebody in the order of a step: the fields compare as the order says.

    Attributes:
        role: index in the step's role order.
        is_deputy: stands behind a chief who is there himself.
        turn: among the deputies of his chief.
    """

    role: int
    is_deputy: bool
    turn: int
    person: str
    post_id: str
    candidate: Candidate


class Roster:
    """The people, as one question sees them. Nobody is given twice.

    Attributes:
        told: persons given so far.
        asked: posts asked so far, filled or not.
        reasons: why somebody was refused, as codes.
    """

    def __init__(self, question: Question, people: People) -> None:
        self.question, self.people = question, people
        self.told: set[str] = set()
        self.asked: set[str] = set()
        self.reasons: list[str] = []

    def places(self, slots: Iterable[Slot], roles: Sequence[str], offset_ms: int, step: int) -> list[Place]:
        """Give who may be asked at a step, in order: by role, deputies after chiefs in their own order, by person.

        A chief who is off duty or excluded hands over to his deputies, who then stand where he would.
        """
        due_ms = self.question.at_ms + offset_ms
        places: list[Place] = []
        for slot in slots:
            self.asked.add(slot.post.id)
            role = roles.index(slot.post.role)
            chiefs = self._passing(slot, self.people.duties(slot.post.id, due_ms), due_ms, step)
            deputies = self._passing(slot, self.people.deputy_duties(slot.post.id, due_ms), due_ms, step)
            why = (slot.reason, "DEPUTY") if chiefs else (slot.reason, "DEPUTY", "CHIEF_ABSENT")
            candidates = [(False, 0, self._candidate(duty, due_ms, (slot.reason,))) for duty in chiefs]
            candidates += [
                (bool(chiefs), turn, self._candidate(duty, due_ms, why)) for turn, duty in enumerate(deputies)
            ]
            places += [Place(role, behind, turn, one.person, slot.post.id, one) for behind, turn, one in candidates]
        places.sort(key=lambda place: place[:5])
        first = {place.person: place for place in reversed(places)}
        self.told.update(first)
        return [place for place in places if first[place.person] is place]

    def has_told(self, slots: Iterable[Slot], offset_ms: int) -> bool:
        """Whether somebody who holds one of the posts then was given at an earlier step."""
        due_ms = self.question.at_ms + offset_ms
        return any(duty.person in self.told for slot in slots for duty in self.people.duties(slot.post.id, due_ms))

    def off_duty(self, post: Post) -> Iterator[Candidate]:
        """Give everybody who ever holds a post: better called from bed than nobody."""
        at_ms = self.question.at_ms
        for person in sorted(person for person, posts in self.people.posts_of.items() if post in posts):
            if self.people.person_by_id[person].status is Status.ACTIVE and person not in self.told:
                self.told.add(person)
                yield Candidate(
                    post=post.id,
                    person=person,
                    duty_from_ms=at_ms,
                    duty_until_ms=at_ms + HORIZON_DAYS * DAY_MS,
                    reasons=("LAST_RESORT", "OFF_DUTY"),
                )

    def is_volunteer(self, person_id: str, post_id: str) -> bool:
        """Whether somebody serves as a volunteer, himself or by the post's unit: he never leads."""
        unit = self.people.unit_by_id[self.people.post_by_id[post_id].unit]
        employment = self.people.person_by_id[person_id].employment
        return employment is Employment.VOLUNTEER or unit.kind is UnitKind.VOLUNTEER_GROUP

    def _candidate(self, duty: Duty, due_ms: int, reasons: tuple[str, ...]) -> Candidate:
        if self.question.priority not in URGENT and self.people.is_quiet(duty.person, due_ms):
            reasons = (*reasons, "QUIET_HOURS")
        return Candidate(
            post=duty.post,
            person=duty.person,
            duty_from_ms=duty.from_ms,
            duty_until_ms=duty.until_ms,
            reasons=reasons,
        )

    def _passing(self, slot: Slot, duties: Iterable[Duty], due_ms: int, step: int) -> list[Duty]:
        passing = []
        for duty in duties:
            if duty.person in self.told:
                continue
            refused = self._refused(slot, duty, due_ms, step)
            if refused:
                self.reasons.append(refused)
            else:
                passing.append(duty)
        return passing

    def _refused(self, slot: Slot, duty: Duty, due_ms: int, step: int) -> str | None:
        """Return why somebody on duty is not asked: the hard filters of the steps in the field."""
        if self.question.priority in URGENT and self.is_volunteer(duty.person, duty.post):
            return "VOLUNTEER"
        if step not in FIELD_STEPS:
            return None
        if duty.person in self._reporters:
            return "REPORTER"
        if not self.people.has_contract(self.people.post_by_id[duty.post].unit, due_ms):
            return "NO_CONTRACT"
        may = self.people.may(slot.post.role, self.question.category.key)
        return "NO_AUTHORITY" if may is None or may.rank < May.ASSIST.rank else None

    @cached_property
    def _reporters(self) -> frozenset[str]:
        """The persons who reported, themselves or by the posts that they hold now."""
        question = self.question
        posts = [reporter for reporter in question.reporters if reporter in self.people.post_by_id]
        holders = {duty.person for post in posts for duty in self.people.duties(post, question.at_ms)}
        return question.reporters | holders
