"""Who leads, who is told, in which order, and why: a pure function of a place, a category, a time and the roster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from msgspec.structs import replace

from models.catalogue import Step, StepRule
from models.messages import Candidate, OrderStep, Priority
from models.people import Role
from models.places import Cell
from stream.locate import MAX_RADIUS_M, Whereabouts
from stream.roster import FIELD_STEPS, URGENT, Place, Question, Roster, Slot
from stream.world import World

__all__ = ["Match", "Question", "match"]

OFFICE_STEP: Final = 4
MAX_NEIGHBOURS: Final = 4
LINE_CHIEFS: Final = (Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF)


@dataclass(frozen=True, slots=True)
class Match:
    """The answer. `steps` is never empty, and one person stands in it once."""

    lead_unit: str
    lead_post: str
    co_units: tuple[tuple[str, Literal["mandatory", "informed"]], ...]
    steps: tuple[OrderStep, ...]
    co_tellings: tuple[Candidate, ...]
    areas: dict[str, str]
    reasons: tuple[str, ...]


def match(question: Question, world: World) -> Match:
    """Find owners and chain for a question, from the roster in force."""
    return _Matching(question, world).run()


class _Matching:
    def __init__(self, question: Question, world: World) -> None:
        self.question, self.world = question, world
        self.roster = Roster(question, world.people)
        self.reasons = self.roster.reasons

    def run(self) -> Match:
        question, world = self.question, self.world
        where = world.locator.locate(*question.point)
        exclusive = world.exclusive(where.exclusive, question.category.key)
        self._explain_place(where, exclusive)
        slots = self._first_slots(where, exclusive)
        steps, leads = self._chain(slots)
        if not leads:
            steps, leads = self._last_resort()
        co_tellings = list(self._co_tellings(where))
        if question.is_late:
            self.reasons.append("LATE")
            steps, co_tellings = [step for step in steps if step.seat and step.candidates] or steps, []
        unit = question.category.lead_unit
        lead_unit = (exclusive.lead_unit if exclusive else None) or unit
        return Match(
            lead_unit=lead_unit,
            lead_post=leads[0],
            co_units=((unit, "mandatory"),) if lead_unit != unit else (),
            steps=tuple(steps),
            co_tellings=tuple(co_tellings),
            areas=where.areas | ({"exclusive": exclusive.code} if exclusive else {}),
            reasons=tuple(dict.fromkeys(self.reasons)),
        )

    # --- places ----------------------------------------------------------------------------------------------------

    def _explain_place(self, where: Whereabouts, exclusive: Cell | None) -> None:
        if exclusive:
            self.reasons.append("INSIDE_EXCLUSIVE")
        if where.cell is None:
            self.reasons.append("OUTSIDE")
        elif where.cell_m > 0:
            self.reasons.append("NEAREST_CELL")
        if self._is_vague:
            self.reasons.append("POSITION_VAGUE")
        if self.question.priority not in URGENT:
            self.reasons.append("LOAD_UNKNOWN")

    @property
    def _is_vague(self) -> bool:
        """Whether the position tells a cell at best, and neither a building nor who is near."""
        return self.question.radius_m > MAX_RADIUS_M

    def _first_slots(self, where: Whereabouts, exclusive: Cell | None) -> list[Slot]:
        """Give the posts of step 0: of the exclusive cell, or else of the cell, then of micro cell and node."""
        roles, posts_of = self._roles(0), self.world.people.posts_by_scope

        def slots(code: str | None, reason: str) -> list[Slot]:
            return [Slot(post, reason) for post in posts_of.get(code or "", ()) if post.role in roles]

        found = slots(exclusive.code, "INSIDE_EXCLUSIVE") if exclusive else []
        found = found or slots(where.cell, "INSIDE_CELL")
        if not self._is_vague:
            found += slots(where.micro, "INSIDE_MICRO") + slots(where.node, "INSIDE_NODE")
        return sorted(found, key=lambda slot: (roles.index(slot.post.role), slot.post.id))

    def _roles(self, step: int) -> list[str]:
        rows = (row for row in self.world.catalogue.steps if row.step == step and not row.seat)
        return [role for row in rows for role in row.roles]

    # --- the chain -------------------------------------------------------------------------------------------------

    def _chain(self, slots: Sequence[Slot]) -> tuple[list[OrderStep], list[str]]:
        """Give the steps, and the posts that may lead, first-ranked first; above 0 they follow its parents."""
        steps: list[OrderStep] = []
        leads: list[str] = []
        vacant = [slot.post.id for slot in slots]
        skipped_ms: int | None = None
        for row, rule in self.world.catalogue.steps_for(self.question.priority):
            if row.seat:
                steps.append(self._seat(row, rule))
                continue
            asked = slots if row.step == 0 else self._above(row, [*leads, *vacant][:1])
            own_ms = rule.after.nominal_ms
            offset_ms = own_ms if skipped_ms is None else min(own_ms, skipped_ms)
            places = self.roster.places(asked, row.roles, offset_ms, row.step)
            if not places and self.roster.has_told(asked, offset_ms):
                continue
            if not places:
                self.reasons.append("NOBODY" if asked else "NO_POST")
                skipped_ms = offset_ms
                continue
            reasons = () if skipped_ms is None else ("NO_POST",)
            steps += self._order_steps(row, rule, places, offset_ms, reasons)
            skipped_ms = None
            if row.step in FIELD_STEPS:
                leads += [p.post_id for p in places if not self.roster.is_volunteer(p.person, p.candidate.post)]
        return steps, leads

    def _above(self, row: Step, lead: Sequence[str]) -> list[Slot]:
        for post in self.world.people.parents(lead[0]) if lead else ():
            if post.role in row.roles:
                return [Slot(post, "ABOVE_LEAD")]
        return self._offices(row, "OFFICE") if row.step >= OFFICE_STEP else []

    def _offices(self, row: Step, reason: str) -> list[Slot]:
        """Give the office of a place that has no chief: any will do, so it is always the same one."""
        return sorted(self._posts(row, reason), key=lambda slot: slot.post.id)[:1]

    def _posts(self, row: Step, reason: str) -> list[Slot]:
        posts_of = self.world.people.posts_by_role
        return [Slot(post, reason) for role in row.roles for post in posts_of.get(Role(role), ())]

    def _order_steps(
        self, row: Step, rule: StepRule, places: Sequence[Place], offset_ms: int, reasons: tuple[str, ...]
    ) -> list[OrderStep]:
        """Give a row's step; if chiefs are told at once and it is not P1, their deputies follow after the clock."""
        chiefs = [place.candidate for place in places if not place.is_deputy]
        deputies = [place.candidate for place in places if place.is_deputy]
        at_once = rule.to == "all"
        step = OrderStep(
            step=row.step,
            offset_ms=offset_ms,
            mode=rule.mode,
            candidates=tuple(chiefs + deputies),
            at_once=at_once,
            reasons=reasons,
        )
        clock = self.world.catalogue.clocks.first_ack.get(self.question.priority)
        if not at_once or not chiefs or not deputies or clock is None or self.question.priority is Priority.P1:
            return [step]
        later_ms = offset_ms + clock.nominal_ms
        return [
            replace(step, candidates=tuple(chiefs)),
            replace(step, candidates=tuple(deputies), offset_ms=later_ms, at_once=False),
        ]

    def _seat(self, row: Step, rule: StepRule) -> OrderStep:
        places = self.roster.places(self._posts(row, "SEAT"), row.roles, rule.after.nominal_ms, OFFICE_STEP)
        return OrderStep(
            step=row.step,
            offset_ms=rule.after.nominal_ms,
            mode=rule.mode,
            candidates=tuple(place.candidate for place in places),
            at_once=rule.to == "all",
            seat=True,
        )

    def _last_resort(self) -> tuple[list[OrderStep], list[str]]:
        """Nobody in the field may be asked: the office leads and the seat is alarmed, at once, on duty or not."""
        self.reasons.append("LAST_RESORT")
        self.roster.told.clear()
        steps: list[OrderStep] = []
        leads: list[str] = []
        for row in sorted(self.world.catalogue.steps, key=lambda row: row.seat):
            if row.step != OFFICE_STEP and not row.seat:
                continue
            slots = self._posts(row, "LAST_RESORT") if row.seat else self._offices(row, "LAST_RESORT")
            places = self.roster.places(slots, row.roles, 0, OFFICE_STEP)
            on_duty = [place.candidate for place in places]
            step = OrderStep(
                step=row.step,
                offset_ms=0,
                mode="alert",
                candidates=tuple(on_duty or [one for slot in slots for one in self.roster.off_duty(slot.post)]),
                at_once=True,
                seat=row.seat,
                reasons=("LAST_RESORT",),
            )
            steps.append(step)
            leads += [slot.post.id for slot in slots]
        return steps, leads or [""]

    # --- who else --------------------------------------------------------------------------------------------------

    def _co_tellings(self, where: Whereabouts) -> Iterator[Candidate]:
        """Give the chief of a line that is hit and stands in another chain, and the officers of the cells around."""
        people = self.world.people
        line = [Slot(post, "LINE_HIT") for post in people.posts_by_scope.get(where.line or "", ())]
        yield from self._told_too([slot for slot in line if slot.post.role in LINE_CHIEFS])
        if where.cell is None or self._is_vague:
            return
        around = self.world.locator.cells_within(*self.question.point, self.question.radius_m)
        others = [owner.code for owner in around if owner.code != where.cell][:MAX_NEIGHBOURS]
        border = [Slot(post, "BORDER_RADIUS") for code in others for post in people.posts_by_scope.get(code, ())]
        yield from self._told_too([slot for slot in border if slot.post.role is Role.GRID_OFFICER])

    def _told_too(self, slots: Iterable[Slot]) -> Iterator[Candidate]:
        for slot in slots:
            if slot.post.id not in self.roster.asked:
                yield from (place.candidate for place in self.roster.places([slot], [slot.post.role], 0, 0))
