"""Who leads, who is told, in which order, and why: a pure function of a place, a category, a time and the roster.

The search runs in compiled loops over numbers (`stream.matcher`, `stream.chain`); here its answer becomes the steps and
candidates of an order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from models.catalogue import Category
from models.geo import PointE7
from models.messages import Candidate, Load, OrderStep, Priority
from models.people.loads import open_cases
from stream import layout
from stream.days import PRIORITIES
from stream.kernels import NONE, Indices, Ints
from stream.layout import CO_TELLING, Reason
from stream.locate import millimetres
from stream.matcher import NO_LOADS, NO_REPORTERS, Answers, cases_of

if TYPE_CHECKING:
    from stream.world import World

__all__ = ["Match", "Question", "Reason", "match"]

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
    answers = _asked(question, world)
    steps, co_tellings = _steps(answers, question, world)
    areas = _areas(answers, world)
    reasons = _names(int(answers.chains.heads[0, layout.REASONS]))
    if question.is_late:
        reasons = (*reasons, Reason.LATE.name)
        steps, co_tellings = tuple(step for step in steps if step.seat and step.candidates) or steps, ()
    ordinary, basis = _ordinary_lead(question, areas, world)
    lead_unit = (world.places.cell_by_code[areas["exclusive"]].lead_unit if "exclusive" in areas else None) or ordinary
    partners = world.people.partners(world.areas_above(areas), question.category.key, question.priority, question.at_ms)
    informed = [unit for unit in partners if unit not in {lead_unit, ordinary}]
    mandatory: tuple[tuple[str, Literal["mandatory", "informed"]], ...] = ((ordinary, "mandatory"),)
    return Match(
        lead_unit=lead_unit,
        lead_post=_id(world.people.columns.post_ids, int(answers.chains.heads[0, layout.LEAD])),
        co_units=(*(mandatory if lead_unit != ordinary else ()), *((unit, "informed") for unit in informed)),
        steps=steps,
        co_tellings=co_tellings,
        areas=areas,
        reasons=(*reasons, Reason.PARTNER.name) if informed else reasons,
        basis=basis,
    )


def _asked(question: Question, world: World) -> Answers:
    lon, lat = (np.array([value], dtype=np.int64) for value in question.point)
    cases = cases_of(
        np.array([world.matcher.category_index[question.category.key]]),
        np.array([PRIORITIES.index(question.priority)]),
        np.array([question.at_ms]),
        np.array([millimetres(question.radius_m)]),
        since_ms=np.array([question.at_ms if question.since_ms is None else question.since_ms]),
        reporters=_reporters(question, world),
    )
    answers = world.matcher.match(lon, lat, cases)
    known: set[int] = set()
    # Only loads of those who may be asked count. Who leads depends on them, and who is asked on who leads.
    while question.loads and (new := _persons(answers) - known):
        known |= new
        cases = cases._replace(loads=_loads(question, sorted(known), world))
        answers = Answers(answers.owners, world.matcher.rank(answers.owners, cases))
    return answers


def _persons(answers: Answers) -> set[int]:
    steps_end = int(answers.chains.heads[0, layout.STEPS_END])
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


def _reporters(question: Question, world: World) -> Indices:
    """Give the persons who reported, themselves or by the posts that they hold now."""
    if not question.reporters:
        return NO_REPORTERS
    people = world.people
    posts = [reporter for reporter in question.reporters if reporter in people.post_by_id]
    holders = {duty.person for post in posts for duty in people.duties(post, question.at_ms)}
    known = (question.reporters | holders) & people.person_by_id.keys()
    return np.array(sorted(world.person_number[person] for person in known), dtype=np.int32)


# --- numbers into names ----------------------------------------------------------------------------------------------


class _Told(NamedTuple):
    step: OrderStep | None
    candidates: tuple[Candidate, ...]


def _steps(answers: Answers, question: Question, world: World) -> tuple[tuple[OrderStep, ...], tuple[Candidate, ...]]:
    told = list(_rows(answers, question, world))
    steps = tuple(one.step for one in told if one.step)
    return steps, tuple(candidate for one in told if not one.step for candidate in one.candidates)


def _rows(answers: Answers, question: Question, world: World) -> Iterator[_Told]:
    chains, catalogue, columns = answers.chains, world.catalogue, world.people.columns
    steps = chains.steps[: int(chains.heads[0, layout.STEPS_END])].tolist()
    people = chains.candidates[: steps[-1][layout.CANDIDATES_END] if steps else 0].tolist()
    first = 0
    for row, offset_ms, at_once, reasons, end in steps:
        candidates = tuple(
            Candidate(
                post=columns.post_ids[own],
                person=columns.person_ids[person],
                duty_from_ms=from_ms,
                duty_until_ms=until_ms,
                reasons=_names(why),
            )
            for person, _, own, why, from_ms, until_ms in people[first:end]
        )
        first = end
        if row == CO_TELLING:
            yield _Told(None, candidates)
            continue
        is_last_resort = bool(reasons & layout.LAST_RESORT)
        step = OrderStep(
            step=catalogue.steps[row].step,
            offset_ms=offset_ms,
            mode="alert" if is_last_resort else catalogue.steps[row].rules[question.priority].mode,
            candidates=candidates,
            at_once=bool(at_once),
            seat=catalogue.steps[row].seat,
            reasons=_names(reasons),
        )
        yield _Told(step, candidates)


def _areas(answers: Answers, world: World) -> dict[str, str]:
    owners, codes = answers.owners, world.locator.codes
    found = (
        (layer, getattr(codes, layer), int(getattr(owners, layer)[0]))
        for layer in ("cell", "micro", "node", "line", "exclusive")
    )
    return {layer: names[index] for layer, names, index in found if index != NONE}


def _ordinary_lead(question: Question, areas: Mapping[str, str], world: World) -> tuple[str, str]:
    """Give the unit that leads where no exclusive cell says otherwise, and its rule: by category and area."""
    key = question.category.key
    if key not in world.catalogue.category_by_key:
        return question.category.lead_unit, question.category.basis
    unit, basis = world.catalogue.lead(key, world.areas_above({"cell": areas["cell"]} if "cell" in areas else {}))
    return unit, basis


@functools.cache
def _names(mask: int) -> tuple[str, ...]:
    return tuple(reason.name for reason in Reason if mask >> reason & 1)


def _id(ids: tuple[str, ...], number: int) -> str:
    return ids[number] if number != NONE else ""
