"""The plain twin of the compiled chain: ids, objects and sorts, one question at a time, from the design's rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from models.catalogue import Category, Step, StepRule
from models.messages import Candidate, OrderStep, Priority
from models.people import Duty, Employment, May, Post, Role, Status, UnitKind
from models.people.duty import DAY_MS, HORIZON_DAYS
from models.people.loads import open_cases
from stream.locate import MAX_RADIUS_M, Whereabouts
from stream.rank import Question
from stream.world import World

URGENT = (Priority.P1, Priority.P2)
LINE_CHIEFS = (Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF)
OFFICE_STEP = 4


@dataclass(frozen=True)
class Slot:
    """A post that is asked."""

    post: Post
    why: str
    distance_m: int = 0


@dataclass(frozen=True)
class Place:
    """Somebody in the order of a step."""

    key: tuple[object, ...]
    post: Post
    is_deputy: bool
    may_lead: bool
    candidate: Candidate


@dataclass
class Chain:
    """What the twin says."""

    lead_post: str = ""
    steps: list[OrderStep] = field(default_factory=list)
    co_tellings: list[Candidate] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)


class Twin:
    """One question."""

    def __init__(self, question: Question, world: World) -> None:
        self.question, self.world, self.people = question, world, world.people
        self.where = world.locator.locate(*question.point)
        self.told: set[str] = set()
        self.asked: set[str] = set()
        self.found = Chain()

    def chain(self) -> Chain:
        """Return the chain."""
        self._explain()
        leads = self._climb()
        if not leads:
            self.found.reasons.add("LAST_RESORT")
            leads = self._last_resort()
        self.found.lead_post = leads[0] if leads else ""
        self.found.co_tellings = [candidate for step in self._beside() for candidate in step]
        everybody = [*(c for step in self.found.steps for c in step.candidates), *self.found.co_tellings]
        self.found.reasons |= {"LOAD_UNKNOWN" for candidate in everybody if "LOAD_UNKNOWN" in candidate.reasons}
        if self.question.is_late:
            self.found.reasons.add("LATE")
            self.found.co_tellings = []
            self.found.steps = [s for s in self.found.steps if s.seat and s.candidates] or self.found.steps
        return self.found

    # --- who may be asked --------------------------------------------------------------------------------------------

    def _places(self, slots: Iterable[Slot], roles: Sequence[str], offset_ms: int, step: int) -> list[Place]:
        due_ms = self._due_ms(offset_ms)
        places: list[Place] = []
        for slot in slots:
            self.asked.add(slot.post.id)
            chiefs = self._passing(slot, self.people.duties(slot.post.id, due_ms), due_ms, step)
            deputies = self._passing(slot, self.people.deputy_duties(slot.post.id, due_ms), due_ms, step)
            role = roles.index(slot.post.role)
            why = ("DEPUTY",) if chiefs else ("DEPUTY", "CHIEF_ABSENT")
            places += [self._place(slot, duty, (role, False, 0), (), due_ms, step) for duty in chiefs]
            places += [
                self._place(slot, duty, (role, bool(chiefs), turn), why, due_ms, step)
                for turn, duty in enumerate(deputies)
            ]
        once: dict[str, Place] = {}
        for place in sorted(places, key=lambda place: place.key):
            once.setdefault(place.candidate.person, place)
        self.told |= once.keys()
        return list(once.values())

    def _place(
        self, slot: Slot, duty: Duty, rank: tuple[int, bool, int], why: tuple[str, ...], due_ms: int, step: int
    ) -> Place:
        person = self.people.person_by_id[duty.person]
        is_qualified = set(self.question.category.qualifications) <= set(person.qualifications)
        reasons = {slot.why, *why}
        n_open, is_over = 0, False
        if not is_qualified and step < OFFICE_STEP:
            reasons.add("UNQUALIFIED")
        if self.question.priority not in URGENT:
            known = open_cases(self.question.loads.get(duty.person), self.question.at_ms)
            reasons |= {"LOAD_UNKNOWN"} if known is None else set()
            n_open = known or 0
            is_over = n_open > person.max_open
            reasons |= {"OVER_LOAD"} if is_over else set()
            reasons |= {"QUIET_HOURS"} if self.people.is_quiet(duty.person, due_ms) else set()
        candidate = Candidate(
            post=duty.post,
            person=duty.person,
            duty_from_ms=duty.from_ms,
            duty_until_ms=duty.until_ms,
            reasons=tuple(sorted(reasons)),
        )
        key = (*rank, not is_qualified, is_over, n_open, slot.distance_m, duty.person, slot.post.id)
        return Place(key, slot.post, rank[1], is_qualified and not self._is_volunteer(duty), candidate)

    def _passing(self, slot: Slot, duties: Iterable[Duty], due_ms: int, step: int) -> list[Duty]:
        passing = []
        for duty in duties:
            if duty.person in self.told:
                continue
            refused = self._refused(slot, duty, due_ms, step)
            if refused:
                self.found.reasons.add(refused)
            else:
                passing.append(duty)
        return passing

    def _refused(self, slot: Slot, duty: Duty, due_ms: int, step: int) -> str | None:
        if self.question.priority in URGENT and self._is_volunteer(duty):
            return "VOLUNTEER"
        if step >= OFFICE_STEP:
            return None
        reporters = self.question.reporters
        posts = [reporter for reporter in reporters if reporter in self.people.post_by_id]
        if duty.person in reporters or any(
            duty.person == held.person for post in posts for held in self.people.duties(post, self.question.at_ms)
        ):
            return "REPORTER"
        if not self.people.has_contract(self.people.post_by_id[duty.post].unit, due_ms):
            return "NO_CONTRACT"
        may = self.people.may(slot.post.role, self.question.category.key)
        return "NO_AUTHORITY" if may is None or may.rank < May.ASSIST.rank else None

    def _is_volunteer(self, duty: Duty) -> bool:
        unit = self.people.unit_by_id[self.people.post_by_id[duty.post].unit]
        employment = self.people.person_by_id[duty.person].employment
        return employment is Employment.VOLUNTEER or unit.kind is UnitKind.VOLUNTEER_GROUP

    # --- steps -------------------------------------------------------------------------------------------------------

    def _explain(self) -> None:
        self.exclusive = exclusive_of(self.where, self.question.category, self.world)
        said = {
            "INSIDE_EXCLUSIVE": self.exclusive is not None,
            "OUTSIDE": self.where.cell is None,
            "NEAREST_CELL": self.where.cell is not None and self.where.cell_m > 0,
            "POSITION_VAGUE": self._is_vague,
        }
        self.found.reasons |= {reason for reason, is_so in said.items() if is_so}

    @property
    def _is_vague(self) -> bool:
        return self.question.radius_m > MAX_RADIUS_M

    def _first_slots(self, roles: Sequence[str]) -> list[Slot]:
        def slots(code: str | None, why: str, distance_m: int = 0) -> list[Slot]:
            posts = self.people.posts_by_scope.get(code or "", ())
            return [Slot(post, why, distance_m) for post in posts if post.role in roles]

        where, away_m = self.where, int(self.where.cell_m + 0.5) if self.where.cell else 0
        cell = self.world.places.cell_by_code.get(where.cell or "")
        found = (
            slots(self.exclusive, "INSIDE_EXCLUSIVE")
            or slots(where.cell, "INSIDE_CELL", away_m)
            or slots(cell.line if cell else None, "LINE_OF_CELL", away_m)
        )
        if not self._is_vague:
            found += slots(where.micro, "INSIDE_MICRO") + slots(where.node, "INSIDE_NODE")
        return sorted(found, key=lambda slot: (roles.index(slot.post.role), slot.post.id))

    def _climb(self) -> list[str]:
        leads: list[str] = []
        slots: list[Slot] = []
        skipped_ms: int | None = None
        for row, rule in self.world.catalogue.steps_for(self.question.priority):
            own_ms = rule.after.nominal_ms
            if row.seat:
                places = self._places(self._station(row, "SEAT"), row.roles, own_ms, OFFICE_STEP)
                self._write(row, rule, places, own_ms)
                continue
            if row.step == 0:
                asked = slots = self._first_slots(row.roles)
            else:
                start = [*leads, *(slot.post.id for slot in slots)][:1]
                asked = self._above(row, self.people.parents(start[0]) if start else self._line_chiefs())
            offset_ms = own_ms if skipped_ms is None else min(own_ms, skipped_ms)
            places = self._places(asked, row.roles, offset_ms, row.step)
            if places:
                self._write_split(row, rule, places, offset_ms, () if skipped_ms is None else ("NO_POST",))
                skipped_ms = None
                if row.step < OFFICE_STEP:
                    leads += [place.post.id for place in places if place.may_lead]
            elif not self._has_told(asked, offset_ms):
                self.found.reasons.add("NOBODY" if asked else "NO_POST")
                skipped_ms = offset_ms
        return leads

    def _line_chiefs(self) -> tuple[Post, ...]:
        """Give the first chief of the line that serves the cell, and those above him."""
        cell = self.world.places.cell_by_code.get(self.where.cell or "")
        posts = self.people.posts_by_scope.get((cell.line if cell else None) or "", ())
        chiefs = sorted((post for post in posts if post.role in LINE_CHIEFS), key=lambda post: post.id)
        return (chiefs[0], *self.people.parents(chiefs[0].id)) if chiefs else ()

    def _above(self, row: Step, posts: Sequence[Post]) -> list[Slot]:
        for post in posts:
            if post.role in row.roles:
                return [Slot(post, "ABOVE_LEAD")]
        return self._station(row, "OFFICE") if row.step >= OFFICE_STEP else []

    def _station(self, row: Step, why: str) -> list[Slot]:
        """Give the seats, or the office, of the nearest area above the cell that has any; else all, or the first."""
        cell = self.world.places.cell_by_code.get(self.where.cell or "")
        order = [post for role in row.roles for post in self.people.posts_by_role.get(role, ())]
        order.sort(key=lambda post: (row.roles.index(post.role), post.id))
        code, seen = cell.parent if cell else None, set[str]()
        found = order
        while code and code not in seen:
            here = [post for post in order if code in post.scope]
            if here:
                found = here
                break
            seen.add(code)
            area = self.world.places.area_by_code.get(code)
            code = area.parent if area else None
        return [Slot(post, why) for post in (found if row.seat else found[:1])]

    def _due_ms(self, offset_ms: int) -> int:
        since_ms = self.question.at_ms if self.question.since_ms is None else self.question.since_ms
        return max(self.question.at_ms, since_ms + offset_ms)

    def _has_told(self, slots: Iterable[Slot], offset_ms: int) -> bool:
        due_ms = self._due_ms(offset_ms)
        return any(duty.person in self.told for slot in slots for duty in self.people.duties(slot.post.id, due_ms))

    def _write(
        self, row: Step, rule: StepRule, places: Sequence[Place], offset_ms: int, reasons: tuple[str, ...] = ()
    ) -> None:
        self.found.steps.append(
            OrderStep(
                step=row.step,
                offset_ms=offset_ms,
                mode=rule.mode,
                candidates=tuple(_chiefs_first(places)),
                at_once=rule.to == "all",
                seat=row.seat,
                reasons=reasons,
            )
        )

    def _write_split(
        self, row: Step, rule: StepRule, places: Sequence[Place], offset_ms: int, reasons: tuple[str, ...]
    ) -> None:
        chiefs, deputies = ([p for p in places if p.is_deputy is is_deputy] for is_deputy in (False, True))
        clock = self.world.catalogue.clocks.first_ack.get(self.question.priority)
        is_split = rule.to == "all" and chiefs and deputies and clock and self.question.priority is not Priority.P1
        if not is_split or not clock:
            self._write(row, rule, places, offset_ms, reasons)
            return
        self._write(row, rule, chiefs, offset_ms, reasons)
        self._write(row, rule, deputies, offset_ms + clock.nominal_ms, reasons)
        self.found.steps[-1] = replace(self.found.steps[-1], at_once=False)

    def _last_resort(self) -> list[str]:
        self.told.clear()
        self.found.steps.clear()
        leads: list[str] = []
        for row in sorted(self.world.catalogue.steps, key=lambda row: row.seat):
            if row.step != OFFICE_STEP and not row.seat:
                continue
            slots = self._station(row, "LAST_RESORT")
            on_duty = _chiefs_first(self._places(slots, row.roles, 0, OFFICE_STEP))
            self.found.steps.append(
                OrderStep(
                    step=row.step,
                    offset_ms=0,
                    mode="alert",
                    candidates=tuple(on_duty or self._off_duty(slots)),
                    at_once=True,
                    seat=row.seat,
                    reasons=("LAST_RESORT",),
                )
            )
            leads += [slot.post.id for slot in slots]
        return leads

    def _off_duty(self, slots: Iterable[Slot]) -> Iterator[Candidate]:
        at_ms = self.question.at_ms
        for slot in slots:
            for person in sorted(person for person, posts in self.people.posts_of.items() if slot.post in posts):
                if self.people.person_by_id[person].status is Status.ACTIVE and person not in self.told:
                    self.told.add(person)
                    yield Candidate(
                        post=slot.post.id,
                        person=person,
                        duty_from_ms=at_ms,
                        duty_until_ms=at_ms + HORIZON_DAYS * DAY_MS,
                        reasons=("LAST_RESORT", "OFF_DUTY"),
                    )

    def _beside(self) -> Iterator[list[Candidate]]:
        posts_at = self.people.posts_by_scope
        for post in sorted(posts_at.get(self.where.line or "", ()), key=lambda post: post.id):
            if post.role in LINE_CHIEFS:
                yield self._tell_too(Slot(post, "LINE_HIT"))
        if self.where.cell is None or self._is_vague:
            return
        around = self.world.locator.cells_within(*self.question.point, self.question.radius_m)
        for code in [owner.code for owner in around if owner.code != self.where.cell][:4]:
            for post in sorted(posts_at.get(code, ()), key=lambda post: post.id):
                if post.role is Role.GRID_OFFICER:
                    yield self._tell_too(Slot(post, "BORDER_RADIUS"))

    def _tell_too(self, slot: Slot) -> list[Candidate]:
        if slot.post.id in self.asked:
            return []
        return _chiefs_first(self._places([slot], [slot.post.role], 0, 0))


def _chiefs_first(places: Sequence[Place]) -> list[Candidate]:
    return [p.candidate for p in places if not p.is_deputy] + [p.candidate for p in places if p.is_deputy]


def exclusive_of(where: Whereabouts, category: Category, world: World) -> str | None:
    """Give the exclusive cell that answers for a category, of those at a point; of two the smaller code."""

    def answers(pattern: str) -> bool:
        prefix = pattern.removesuffix("*").removesuffix(".")
        is_prefix = pattern.endswith("*")
        return category.key == prefix or (is_prefix and (not prefix or category.key.startswith(f"{prefix}.")))

    cells = (world.places.cell_by_code[code] for code in sorted(where.exclusive, key=str.encode))
    return next((cell.code for cell in cells if any(map(answers, cell.categories))), None)
