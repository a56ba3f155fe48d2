"""A dry run as an operator reads it: every code and id with its name, in Chinese and English."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from models.catalogue import Category
from models.messages import Candidate, OrderStep, Stage
from models.words import DUTIES, REASONS
from stream.assistance import urgency
from stream.rank import Match, Reason
from stream.settle import MAY_SETTLE
from stream.world import World

UNITS_MS: Final = {"h": 3_600_000, "min": 60_000}
FLAGGED: Final = "assistance"
"""The layer of the place whose flag has made an answer more urgent."""
SHOWN: Final = 12
"""Digits of a version."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def name_en(self) -> str: ...


def lines(found: Match, category: str, at_ms: int, world: World) -> Iterator[str]:
    """Yield the answer to what an alarm of `category` would do then, as `found`; `legend` says what its codes mean."""
    item = world.catalogue.category_by_key[category]
    at = f"{_local(at_ms, world):%a %Y-%m-%d %H:%M} {world.people.time_zone}"
    yield f"{_with(category, item)}  {urgency(item.priority_at(Stage.ALARM), found.areas.get(FLAGGED))}  {at}"
    unit, post = world.people.unit_by_id.get(found.lead_unit), world.people.post_by_id.get(found.lead_post)
    yield f"lead: {_with(found.lead_unit, unit)}; {_with(found.lead_post, post)}"
    english = f" {item.basis_en}" if item.basis_en and found.basis == item.basis else ""
    yield f"basis: {found.basis or '-'}{english}"
    yield f"duty: {item.domain} {DUTIES[item.domain].zh} {DUTIES[item.domain].en}"
    for layer, code in found.areas.items():
        yield f"{layer}: {_with(code, _place(layer, code, world))}"
    for unit_id, how in found.co_units:
        yield f"told beside ({how}): {_with(unit_id, world.people.unit_by_id.get(unit_id))}"
    yield f"why: {' '.join(found.reasons) or '-'}"
    settlers = dict.fromkeys(one.post for step in found.steps for one in step.candidates if MAY_SETTLE in one.reasons)
    yield f"may settle it on the spot: {' '.join(settlers) or '-'}"
    for step in found.steps:
        yield f"{_step(step, world)}  {' '.join(step.reasons)}".rstrip()
        for candidate in step.candidates:
            yield f"    {_person(candidate, item, world)}"
    for candidate in found.co_tellings:
        yield f"told beside: {_person(candidate, item, world)}"


def legend(answers: Iterable[Match], world: World) -> Iterator[str]:
    """Yield what the reasons in some answers mean, and the versions that have decided them."""
    codes: dict[str, None] = {}
    for found in answers:
        codes |= dict.fromkeys(found.reasons)
        for step in found.steps:
            codes |= dict.fromkeys(step.reasons)
        for one in (*(one for step in found.steps for one in step.candidates), *found.co_tellings):
            codes |= dict.fromkeys(one.reasons)
    yield ""
    for code in codes:
        yield f"{code}: {REASONS[code].zh} {REASONS[code].en}"
    versions = world.versions
    kinds = ("places", "people", "catalogue", "roster")
    yield "decided by: " + ", ".join(f"{kind} {getattr(versions, kind)[:SHOWN]}" for kind in kinds)


def _with(key: str, item: _Named | None) -> str:
    return f"{key} {item.name} {item.name_en}" if item else key


def _place(layer: str, code: str, world: World) -> _Named | None:
    places = world.places
    tables: Mapping[str, Mapping[str, _Named]] = {"node": places.node_by_code, "line": places.line_by_code}
    named = tables.get(layer, places.cell_by_code).get(code)
    return places.node_by_code.get(code) if named is None and layer == FLAGGED else named


def _step(step: OrderStep, world: World) -> str:
    rows = world.catalogue.steps
    row = next((row for row in rows if (row.step, row.seat) == (step.step, step.seat)), None)
    how = "all at once" if step.at_once else "one after the other"
    name = _with("seat" if step.seat else f"step {step.step}", row)
    return f"{name}  {_after(step.offset_ms)}  {step.mode}, {how}"


def _after(offset_ms: int) -> str:
    unit, length_ms = next((u for u in UNITS_MS.items() if offset_ms and offset_ms % u[1] == 0), ("s", 1_000))
    return f"+{offset_ms / length_ms:g} {unit}"


def _person(candidate: Candidate, item: Category, world: World) -> str:
    person = world.people.person_by_id[candidate.person]
    name = f"{person.display_name} {person.name_en} ({candidate.person})"
    duty = f"on duty until {_local(candidate.duty_until_ms, world):%a %m-%d %H:%M}"
    if Reason.OFF_DUTY.name in candidate.reasons:
        duty = "off duty"
    if Reason.QUIET_HOURS.name in candidate.reasons and candidate.quiet_until_ms:  # the seat's are not deferred
        duty += f", not called before {_local(candidate.quiet_until_ms, world):%a %H:%M}"
    post = world.people.post_by_id.get(candidate.post)
    if post and not post.looks_after(item.domain):
        duty += f", {item.domain} is no duty of the post"
    return f"{_with(candidate.post, post)}: {name}, {duty}  {' '.join(candidate.reasons)}"


def _local(at_ms: int, world: World) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(world.people.time_zone))
