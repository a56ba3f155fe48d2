"""`catalogue.toml`: what can happen, how urgent it is, and the tables of clocks and of the chain, all as data.

Keys, priorities and CAP tuples follow the city-management event lists; codes differ between cities, so a code never
stands without the list it comes from. A value that no list gives carries ``source = "proposal"``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from models.content import Content, Record, Text, convert, duplicates, read_toml
from models.errors import ConfigError, Problem
from models.messages import Id, Priority, Stage
from models.people import Role

DEFAULT = Path(__file__).parent / "data" / "catalogue.toml"
"""The catalogue that ships, and that `gridwarden city` copies."""

Key = Annotated[str, Meta(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=64)]
"""A category such as ``fire.smoke.single``."""


class LimitUnit(enum.StrEnum):
    """Units of time limits. Work hours and days need the calendar; the others run through nights and holidays."""

    SECOND = "second"
    MINUTE = "minute"
    URGENT_HOUR = "urgent_hour"
    WORK_HOUR = "work_hour"
    WORK_DAY = "work_day"
    NATURAL_DAY = "natural_day"


CONTINUOUS_MS: Mapping[LimitUnit, int] = {
    LimitUnit.SECOND: 1_000,
    LimitUnit.MINUTE: 60_000,
    LimitUnit.URGENT_HOUR: 3_600_000,
    LimitUnit.NATURAL_DAY: 86_400_000,
}
"""Milliseconds of the units that run continuously."""

NOMINAL_MS: Mapping[LimitUnit, int] = {
    **CONTINUOUS_MS,
    LimitUnit.WORK_HOUR: 3_600_000,
    LimitUnit.WORK_DAY: 8 * 3_600_000,
}
"""The same, with a work day as its 8 work hours: a lower bound where no calendar is at hand."""


class TimeLimit(Record, frozen=True, kw_only=True):
    """A length of time in a unit that a list names."""

    value: Annotated[float, Meta(ge=0)]
    unit: LimitUnit

    @property
    def is_continuous(self) -> bool:
        """Whether nights, weekends and holidays count."""
        return self.unit in CONTINUOUS_MS

    @property
    def nominal_ms(self) -> int:
        """The length in milliseconds, taken as if all time were working time."""
        return round(self.value * NOMINAL_MS[self.unit])


class Cap(Record, frozen=True, kw_only=True):
    """The tuple of a CAP 1.2 info block."""

    category: Literal[
        "Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE", "Other"
    ]
    urgency: Literal["Immediate", "Expected", "Future", "Past", "Unknown"]
    severity: Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"]
    certainty: Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"]


class Category(Record, frozen=True, kw_only=True):
    """One item of the event list.

    Attributes:
        code_list: the list that `code` belongs to; the pair is unique.
        priority: of the confirmed event.
        pre_alarm_priority: while it is a pre-alarm; None: P2, or `priority` where that is less urgent.
        family: incidents merge within a family only.
        cap: None for internal categories that no public message is made of.
        lead_unit: id of the unit that leads where no exclusive cell says otherwise.
        basis: the rule that gives the unit this duty.
        limit: the handling limit of the list; None: the clock `handling` of the priority.
        source: where limit and priority come from; ``proposal`` where no list gives them.
    """

    key: Key
    name: Text
    name_en: Text
    code_list: Text
    code: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.-]{1,16}$")]
    priority: Priority
    family: Key
    lead_unit: Id
    basis: Text
    source: Text
    pre_alarm_priority: Priority | None = None
    cap: Cap | None = None
    limit: TimeLimit | None = None

    def priority_at(self, stage: Stage) -> Priority:
        """Give the priority at a stage; what is restored keeps that of the alarm."""
        if stage is not Stage.PRE_ALARM:
            return self.priority
        return self.pre_alarm_priority or max(self.priority, Priority.P2)


class Signal(Record, frozen=True, kw_only=True):
    """What a label of a detector or a property of a sensor means, at each stage."""

    pre_alarm: Key
    alarm: Key

    def category_at(self, stage: Stage) -> str:
        """Give the category key at a stage."""
        return self.pre_alarm if stage is Stage.PRE_ALARM else self.alarm


class StepRule(Record, frozen=True, kw_only=True):
    """When and how a step of the chain is told, for one priority.

    Attributes:
        after: from the moment the order was stored.
        to: `all` of the step's candidates at once, or `one` after the other.
    """

    after: TimeLimit
    mode: Literal["alert", "digest", "list"]
    to: Literal["all", "one"] = "one"


class Step(Record, frozen=True, kw_only=True):
    """One row of the chain.

    Attributes:
        step: 0 to 5; two rows may share a step.
        seat: the command seat's own row beside step 0.
        roles: post roles asked at this step, in role order.
        rules: by priority; a priority that is missing is not told at this step.
    """

    step: Annotated[int, Meta(ge=0, le=5)]
    name: Text
    name_en: Text
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)]
    rules: dict[Priority, StepRule]
    seat: bool = False


class Clocks(Record, frozen=True, kw_only=True):
    """Default time limits by priority; a priority that is missing has none."""

    pre_alarm_decision: dict[Priority, TimeLimit]
    screening: dict[Priority, TimeLimit]
    field_check: dict[Priority, TimeLimit]
    dispatch: dict[Priority, TimeLimit]
    first_ack: dict[Priority, TimeLimit]
    department_response: dict[Priority, TimeLimit]
    arrival: dict[Priority, TimeLimit]
    handling: dict[Priority, TimeLimit]
    verification: dict[Priority, TimeLimit]


class Catalogue(Content, frozen=True, kw_only=True):
    """The event list with its tables.

    Attributes:
        merge_m: incidents of a family closer than this, in metres, and
        merge_s: within this many seconds are one.
        labels: detector label to category keys.
        properties: sensor property to category keys.
        static_labels: detector labels that only mean something as a static object in a drawn polygon.
    """

    name: Text
    clocks: Clocks
    categories: Annotated[tuple[Category, ...], Meta(min_length=1)]
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]
    labels: dict[str, Signal]
    properties: dict[str, Signal]
    static_labels: tuple[str, ...] = ()
    merge_m: Annotated[float, Meta(ge=0, le=1_000)] = 50.0
    merge_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0

    @cached_property
    def category_by_key(self) -> Mapping[str, Category]:
        """Categories by key."""
        return {category.key: category for category in self.categories}

    def handling_limit(self, key: str) -> TimeLimit | None:
        """Give the handling limit of a category: its list's, else its priority's clock.

        Raises:
            KeyError: no such category.
        """
        category = self.category_by_key[key]
        return category.limit or self.clocks.handling.get(category.priority)

    def steps_for(self, priority: Priority) -> tuple[tuple[Step, StepRule], ...]:
        """Give the rows that tell somebody at this priority, in order of step, the seat's row after step 0."""
        rows = sorted(self.steps, key=lambda step: (step.step, step.seat))
        return tuple((step, step.rules[priority]) for step in rows if priority in step.rules)


def load(path: Path = DEFAULT) -> Catalogue:
    """Read and validate `catalogue.toml`.

    Raises:
        ConfigError: with all mistakes of the file.
    """
    problems: list[Problem] = []
    catalogue = convert(read_toml(path), Catalogue, file=path, path="", problems=problems)
    if catalogue is not None:
        problems += _problems(catalogue, path)
    if catalogue is None or problems:
        raise ConfigError(problems)
    return catalogue


def label_problems(
    catalogue: Catalogue, labels: Mapping[str, str], *, file: Path | str = "catalogue.toml"
) -> list[Problem]:
    """Name the detector labels that the catalogue does not know.

    Args:
        catalogue: the catalogue.
        labels: label to the detector that has it.
        file: named in the problems.
    """
    known = catalogue.labels.keys() | set(catalogue.static_labels)
    return [
        Problem(
            file,
            f"labels.{label}",
            f"detector {detector} has a label without a category",
            "map it, or list it in static_labels",
        )
        for label, detector in labels.items()
        if label not in known
    ]


def _problems(catalogue: Catalogue, file: Path) -> Iterator[Problem]:
    for index, key in duplicates(category.key for category in catalogue.categories):
        yield Problem(file, f"categories[{index}].key", f"{key} stands twice", "keep one of them")
    codes = [f"{category.code_list} {category.code}" for category in catalogue.categories]
    for index, code in duplicates(codes):
        yield Problem(file, f"categories[{index}].code", f"{code} is used twice", "a code names one item of its list")
    for table in ("labels", "properties"):
        signals: dict[str, Signal] = getattr(catalogue, table)
        for name, signal in signals.items():
            for stage in ("pre_alarm", "alarm"):
                key = getattr(signal, stage)
                if key not in catalogue.category_by_key:
                    what = f"no category has the key {key}"
                    yield Problem(file, f"{table}.{name}.{stage}", what, "add the category, or correct the key")
    for index, name in duplicates(f"{step.step}{' (seat)' * step.seat}" for step in catalogue.steps):
        yield Problem(
            file, f"steps[{index}].step", f"step {name} stands twice", "keep one row a step, and one for the seat"
        )
    yield from _offset_problems(catalogue, file)


def _offset_problems(catalogue: Catalogue, file: Path) -> Iterator[Problem]:
    """A later step may not come before an earlier one: nobody is passed over upwards."""
    for priority in Priority:
        latest_ms = 0
        for step, rule in catalogue.steps_for(priority):
            if step.seat:
                continue
            if rule.after.nominal_ms < latest_ms:
                index = catalogue.steps.index(step)
                what = f"{priority} reaches step {step.step} before the step below it"
                yield Problem(file, f"steps[{index}].rules.{priority}.after", what, "give it a later offset")
            latest_ms = max(latest_ms, rule.after.nominal_ms)
