"""Who leads, who is told, in which order, and why: a pure function of a place, a category, a time and the roster.

The search runs in compiled loops over numbers (`stream.matcher`, `stream.chain`); here its answer becomes the steps and
candidates of an order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from models.catalogue import Category
from models.geo import PointE7
from models.messages import Candidate, Load, OrderStep, Priority
from models.people.loads import open_cases
from stream import layout
from stream.days import PRIORITIES
from stream.kernels import NONE, Ints
from stream.layout import CO_TELLING, Cases, Reason
from stream.locate import millimetres
from stream.matcher import NO_LOADS, Answers

if TYPE_CHECKING:
    from stream.world import World

__all__ = ["Match", "Question", "Reason", "match", "match_many"]

STEPS_KEPT: Final = 4_096
MODES: Final[tuple[Literal["alert", "digest", "list"], ...]] = ("alert", "digest", "list")


@dataclass(frozen=True, slots=True)
class Question:
    """Who would get this?

    Attributes:
        reporters: ids of persons or posts that reported it: they are not asked to handle it.
        is_late: all evidence is too old to alarm: for the command seat alone.
        loads: newest word of open cases by person id; only P3 and P4 look at it.
        since_ms: when the clocks of an earlier chain began, if this one takes its place: None, they begin at `at_ms`.
    """

    point: PointE7
    radius_m: float
    category: Category
    priority: Priority
    at_ms: int
    reporters: frozenset[str] = frozenset()
    is_late: bool = False
    loads: Mapping[str, Load] = field(default_factory=lambda: MappingProxyType({}))
    since_ms: int | None = None

    @property
    def began_ms(self) -> int:
        """When the clocks of its steps begin."""
        return self.at_ms if self.since_ms is None else self.since_ms


@dataclass(frozen=True, slots=True)
class Match:
    """The answer. `steps` is never empty, and one person stands in it once.

    Attributes:
        basis: the rule that makes `lead_unit` lead.
    """

    lead_unit: str
    lead_post: str
    co_units: tuple[tuple[str, Literal["mandatory", "informed"]], ...]
    steps: tuple[OrderStep, ...]
    co_tellings: tuple[Candidate, ...]
    areas: dict[str, str]
    reasons: tuple[str, ...]
    basis: str = ""


def match(question: Question, world: World) -> Match:
    """Find owners and chain for a question, from the roster in force."""
    return match_many((question,), world)[0]


def match_many(questions: Sequence[Question], world: World) -> list[Match]:
    """Find owners and chain for each of `questions`, which are asked at one time and know the same loads."""
    if not questions:
        return []
    answers = _asked(questions, world)
    areas = _areas(answers, world)
    chains = _chains(answers, questions, world)
    heads = answers.chains.heads[: len(questions), (layout.LEAD, layout.REASONS)].tolist()
    return [
        _match(question, there, chain, lead, _names(why), world)
        for question, there, chain, (lead, why) in zip(questions, areas, chains, heads, strict=True)
    ]


def _match(
    question: Question, areas: dict[str, str], chain: _Chain, lead: int, reasons: tuple[str, ...], world: World
) -> Match:
    steps, co_tellings = chain
    if question.is_late:
        reasons = (*reasons, Reason.LATE.name)
        steps, co_tellings = tuple(step for step in steps if step.seat and step.candidates) or steps, ()
    above = world.areas_above({"cell": areas["cell"]} if "cell" in areas else {})
    ordinary, basis = _ordinary_lead(question, above, world)
    lead_unit = (world.places.cell_by_code[areas["exclusive"]].lead_unit if "exclusive" in areas else None) or ordinary
    codes = (*areas.values(), *above)
    partners = world.people.partners(codes, question.category.key, question.priority, question.at_ms)
    informed = [unit for unit in partners if unit not in {lead_unit, ordinary}]
    mandatory: tuple[tuple[str, Literal["mandatory", "informed"]], ...] = ((ordinary, "mandatory"),)
    return Match(
        lead_unit=lead_unit,
        lead_post=_id(world.people.columns.post_ids, lead),
        co_units=(*(mandatory if lead_unit != ordinary else ()), *((unit, "informed") for unit in informed)),
        steps=steps,
        co_tellings=co_tellings,
        areas=areas,
        reasons=(*reasons, Reason.PARTNER.name) if informed else reasons,
        basis=basis,
    )


def _asked(questions: Sequence[Question], world: World) -> Answers:
    rows = np.empty((len(questions), 9), dtype=np.int64)
    reporters: list[int] = []
    for row, question in zip(rows, questions, strict=True):
        first = len(reporters)
        reporters += _reporters(question, world)
        row[:] = (
            world.matcher.category_index[question.category.key],
            PRIORITIES.index(question.priority),
            question.at_ms,
            question.began_ms,
            millimetres(question.radius_m),
            first,
            len(reporters),
            *question.point,
        )
    lon, lat = rows[:, 7:].T.copy()
    cases = Cases(rows[:, :7].copy(), np.array(reporters, dtype=np.int32), NO_LOADS)
    answers = world.matcher.match(lon, lat, cases)
    known: set[int] = set()
    # Only loads of those who may be asked count. Who leads depends on them, and who is asked on who leads.
    while questions[0].loads and (new := _persons(answers) - known):
        known |= new
        cases = cases._replace(loads=_loads(questions[0], sorted(known), world))
        answers = Answers(answers.owners, world.matcher.rank(answers.owners, cases))
    return answers


def _persons(answers: Answers) -> set[int]:
    steps_end = int(answers.chains.heads[len(answers.owners.cell) - 1, layout.STEPS_END])
    end = int(answers.chains.steps[steps_end - 1, layout.CANDIDATES_END]) if steps_end else 0
    return set(answers.chains.candidates[:end, layout.PERSON].tolist())


def _loads(question: Question, persons: list[int], world: World) -> Ints:
    ids = world.people.columns.person_ids
    rows = [(person, question.loads[ids[person]]) for person in persons if ids[person] in question.loads]
    found = [(person, open_cases(load, question.at_ms)) for person, load in rows]
    return (
        np.array([(p, NONE if n is None else n) for p, n in found], dtype=np.int64).reshape(-1, 2)
        if found
        else NO_LOADS
    )


def _reporters(question: Question, world: World) -> list[int]:
    """Give the persons who reported, themselves or by the posts that they hold now."""
    if not question.reporters:
        return []
    people = world.people
    posts = [reporter for reporter in question.reporters if reporter in people.post_by_id]
    holders = {duty.person for post in posts for duty in people.duties(post, question.at_ms)}
    known = (question.reporters | holders) & people.person_by_id.keys()
    return sorted(world.person_number[person] for person in known)


# --- numbers into names ----------------------------------------------------------------------------------------------


_Chain = tuple[tuple[OrderStep, ...], tuple[Candidate, ...]]
"""The steps, and who is told beside them."""


def _chains(answers: Answers, questions: Sequence[Question], world: World) -> Iterator[_Chain]:
    """Give the chain of each question. Steps that many have in common, such as those above a lane, are made once."""
    ends = answers.chains.heads[: len(questions), layout.STEPS_END].tolist()
    rows = answers.chains.steps[: ends[-1]].tolist()
    people = answers.chains.candidates[: rows[-1][layout.CANDIDATES_END] if rows else 0]
    packed, width = people.tobytes(), people.strides[0]
    made = world.steps_made
    if len(made) > STEPS_KEPT:
        made.clear()
    first = first_row = 0
    for question, end_row in zip(questions, ends, strict=True):
        steps: list[OrderStep] = []
        co_tellings: tuple[Candidate, ...] = ()
        for row in rows[first_row:end_row]:
            end = row[layout.CANDIDATES_END]
            if row[layout.STEP_ROW] == CO_TELLING:
                co_tellings += _candidates(people[first:end], world)
            else:
                key = question.priority, *row[: layout.CANDIDATES_END], packed[first * width : end * width]
                if (step := made.get(key)) is None:
                    step = made[key] = _step(row, question.priority, _candidates(people[first:end], world), world)
                steps.append(step)
            first = end
        first_row = end_row
        yield tuple(steps), co_tellings


def _step(row: Sequence[int], priority: Priority, candidates: tuple[Candidate, ...], world: World) -> OrderStep:
    number, offset_ms, at_once, reasons, _ = row
    said = world.catalogue.steps[number]
    return OrderStep(
        step=said.step,
        offset_ms=offset_ms,
        mode="alert" if reasons & layout.LAST_RESORT else said.rules[priority].mode,
        candidates=candidates,
        at_once=bool(at_once),
        seat=said.seat,
        reasons=_names(reasons),
    )


def _candidates(people: Ints, world: World) -> tuple[Candidate, ...]:
    columns = world.people.columns
    return tuple(
        Candidate(
            post=columns.post_ids[own],
            person=columns.person_ids[person],
            duty_from_ms=from_ms,
            duty_until_ms=until_ms,
            reasons=_names(why),
        )
        for person, _, own, why, from_ms, until_ms in people.tolist()
    )


def _areas(answers: Answers, world: World) -> list[dict[str, str]]:
    found = [
        (layer, getattr(world.locator.codes, layer), getattr(answers.owners, layer).tolist())
        for layer in ("cell", "micro", "node", "line", "exclusive")
    ]
    return [
        {layer: names[numbers[n]] for layer, names, numbers in found if numbers[n] != NONE}
        for n in range(len(answers.owners.cell))
    ]


def _ordinary_lead(question: Question, codes: tuple[str, ...], world: World) -> tuple[str, str]:
    """Give the unit that leads where no exclusive cell says otherwise, and its rule: by category and area."""
    key = question.category.key
    if key not in world.catalogue.category_by_key:
        return question.category.lead_unit, question.category.basis
    unit, basis = world.catalogue.lead(key, codes)
    return unit, basis


@functools.cache
def _names(mask: int) -> tuple[str, ...]:
    return tuple(reason.name for reason in Reason if mask >> reason & 1)


def _id(ids: tuple[str, ...], number: int) -> str:
    return ids[number] if number != NONE else ""
