"""Lengths of time in the units that event lists use."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from models.content import Record


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
