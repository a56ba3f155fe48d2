"""What stands in a catalogue: items, lists of codes, leads, and the rows of clocks and of the chain."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from msgspec import Meta

from models.catalogue.limits import TimeLimit
from models.content import Pattern, Record, Text
from models.messages import Id, Priority, Stage
from models.people.posts import DutyDomain, Role

Key = Annotated[str, Meta(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=64)]
"""A category such as ``fire.smoke.single``."""
Code = Annotated[str, Meta(pattern=r"^[0-9A-Za-z.-]{1,16}$")]
"""The code of an item in a list: two digits of class, two or three of item."""


class Phase(enum.StrEnum):
    """When a picture was taken that a case needs as evidence."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class CodeOrder(enum.StrEnum):
    """Which class is 04: `newer` lists say street order and put sudden events at 05, `older` ones swap the two."""

    NEWER = "newer"
    OLDER = "older"


class CodeList(Record, frozen=True, kw_only=True):
    """A list that codes come from."""

    name: Text
    order: CodeOrder
    source: Text


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
        codes: code by list; a code without its list means nothing.
        domain: which duty of the posts it falls under.
        priority: of the confirmed event.
        pre_alarm_priority: while it is a pre-alarm; None: P2, or `priority` where that is less urgent.
        family: incidents merge within a family only.
        cap: None for internal categories that no public message is made of.
        lead_unit: id of the unit that leads where no exclusive cell says otherwise.
        basis: the rule that gives the unit this duty; `basis_en`: its name in English.
        limit: the handling limit of the list; None: the clock `handling` of the priority.
        evidence: pictures without which it is not closed.
        neighbours_m: how far around the owners of cells and nodes are told of a general alarm; None: they are not.
        settle_roles: roles that may settle it on the spot, as far as the authority table lets them.
        qualifications: who leads must have all of these.
        filing: what must be so for it to be filed, as the list says.
        closing: what must be so for it to be closed.
        source: where limit and priority come from; ``proposal`` where no list gives them.
    """

    key: Key
    name: Text
    name_en: Text
    codes: Annotated[dict[Text, Code], Meta(min_length=1)]
    domain: DutyDomain
    priority: Priority
    family: Key
    lead_unit: Id
    basis: Text
    source: Text
    basis_en: Text | None = None
    pre_alarm_priority: Priority | None = None
    cap: Cap | None = None
    limit: TimeLimit | None = None
    evidence: tuple[Phase, ...] = (Phase.BEFORE, Phase.AFTER)
    neighbours_m: Annotated[float, Meta(gt=0, le=150)] | None = None
    settle_roles: tuple[Role, ...] = ()
    qualifications: tuple[Text, ...] = ()
    filing: Text | None = None
    closing: Text | None = None

    def priority_at(self, stage: Stage) -> Priority:
        """Give the priority at a stage; what is restored keeps that of the alarm."""
        if stage is not Stage.PRE_ALARM:
            return self.priority
        return self.pre_alarm_priority or max(self.priority, Priority.P2)


class Lead(Record, frozen=True, kw_only=True):
    """A row of the responsibility matrix: which unit leads for some categories in an area, and by what rule.

    Attributes:
        area: code of a cell, community, street or district; the narrowest area decides, then the narrowest pattern.
    """

    category: Pattern
    area: Text
    unit: Id
    basis: Text
    source: Text


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
