"""Days as a roster and a rule name them: weekdays, public holidays, and the Saturdays that are worked in return."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Final

from models.content import Record


class Weekday(enum.StrEnum):
    """Days of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEK: Final = tuple(Weekday)


class Day(enum.StrEnum):
    """A weekday, or a sort of day by the calendar."""

    _ignore_ = "weekday"
    for weekday in Weekday:
        vars()[weekday.name] = weekday.value
    WORKDAY = "workday"
    HOLIDAY = "holiday"


class Calendar(Record, frozen=True, kw_only=True):
    """Which days are worked: Monday to Friday but for `holidays`, and `workdays` besides.

    Attributes:
        holidays: days off, weekdays among them.
        workdays: weekend days that are worked in return for a holiday.
    """

    holidays: frozenset[dt.date] = frozenset()
    workdays: frozenset[dt.date] = frozenset()

    def is_workday(self, date: dt.date) -> bool:
        """Whether `date` is worked."""
        return date in self.workdays or (date.weekday() < 5 and date not in self.holidays)

    def kinds_of(self, date: dt.date) -> frozenset[Day]:
        """Give the names under which a rule may mean `date`: its weekday, and workday or holiday."""
        return frozenset({Day(WEEK[date.weekday()]), Day.WORKDAY if self.is_workday(date) else Day.HOLIDAY})
