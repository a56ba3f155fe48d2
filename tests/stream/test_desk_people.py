"""What the desk knows of people: who reported something, and how much each has on his hands."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import msgspec
import pytest

from models.calendar import Weekday
from models.messages import DecisionKind, DispatchOrder, Load, Priority, Stage
from models.people import QuietHours
from models.people.duty import WeeklyShift
from models.people.loads import FRESH_MS
from stream.desk.desk import Desk
from stream.desk.row import MetaRow
from stream.records import LoadRecord
from tests.stream import builders as b
from tests.stream import test_desk
from tests.stream.builders import POSTS
from tests.stream.test_desk import ESCALATED, EVIDENCE, Log

TWO_OFFICERS = b.people(shifts=[*((post.id, f"p-{post.id}") for post in POSTS), ("grid-1", "p-other")])
ORDER: dict[str, Any] = {"category": "order.vendor", "family": "order", "stage": Stage.ALARM}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The desk with two officers on duty in the first cell."""
    monkeypatch.setattr(test_desk, "WORLD", b.world(people=TWO_OFFICERS))
    return Log()


def say(log: Log, person: str, *, at_ms: int | None = None, **cases: int) -> None:
    """Let `alerts` say how much somebody has on his hands."""
    counts = {Priority(key): n for key, n in cases.items()}
    load = Load(v=1, person=person, open=counts, at_ms=log.now if at_ms is None else at_ms)
    assert log.put(LoadRecord(at_ms=log.now, loads=(load,))) == []


def asked(order: DispatchOrder) -> list[str]:
    """Give who is asked at step 0, in order."""
    return [one.person for step in order.steps if step.step == 0 and not step.seat for one in step.candidates]


def loads(log: Log) -> dict[str, int]:
    return {person: sum(load.open.values()) for person, load in log.desk._meta.loads.items()}


def test_who_has_too_much_on_his_hands_is_asked_last(log: Log) -> None:
    say(log, "p-grid-1", P3=5, P4=20)
    (order,) = log.signal(**ORDER)
    assert asked(order)[:2] == ["p-other", "p-grid-1"]
    assert "OVER_LOAD" in order.steps[0].candidates[1].reasons
    assert "LOAD_UNKNOWN" not in order.reasons


def test_an_order_says_when_whom_it_names_is_not_to_be_called_unless_it_is_urgent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    night = QuietHours(start=dt.time(22), end=dt.time(7))
    roster = b.people()
    people = msgspec.structs.replace(
        roster, persons=tuple(msgspec.structs.replace(one, quiet_hours=night) for one in roster.persons)
    )
    monkeypatch.setattr(test_desk, "WORLD", b.world(people=people))
    (order,) = Log().signal(**ORDER)
    for step in order.steps:
        for one in step.candidates:
            due_ms = order.ordered_at_ms + step.offset_ms
            wanted = (0, 0) if step.seat else people.quiet_span(one.person, due_ms)
            assert (one.quiet_from_ms, one.quiet_until_ms) == wanted
    (urgent,) = Log().signal(stage=Stage.ALARM)
    assert urgent.incident.priority is Priority.P1
    assert not any(one.quiet_until_ms for step in urgent.steps for one in step.candidates)


def test_a_load_counts_for_nothing_where_it_is_urgent(log: Log) -> None:
    say(log, "p-grid-1", P3=5, P4=20)
    (order,) = log.signal(stage=Stage.ALARM)
    assert asked(order)[:2] == ["p-grid-1", "p-other"]


def test_a_load_of_five_minutes_ago_counts_as_none_and_says_so(log: Log) -> None:
    say(log, "p-grid-1", P4=20)
    (order,) = log.signal(after_ms=FRESH_MS + 1, **ORDER)
    assert asked(order)[:2] == ["p-grid-1", "p-other"]
    assert "LOAD_UNKNOWN" in order.reasons
    say(log, "p-grid-1", P4=20)
    (order,) = log.decide(DecisionKind.REMATCH)
    assert asked(order)[:2] == ["p-other", "p-grid-1"]
    assert "LOAD_UNKNOWN" not in order.reasons


def test_the_newest_word_counts_and_who_has_nothing_is_forgotten(log: Log) -> None:
    say(log, "p-grid-1", P3=2)
    say(log, "p-other", P3=1)
    say(log, "p-grid-1", P3=9, at_ms=log.now - 1)
    assert loads(log) == {"p-grid-1": 2, "p-other": 1}
    say(log, "p-other", at_ms=log.now + 1)
    assert loads(log) == {"p-grid-1": 2}


def test_a_clock_that_runs_ahead_keeps_no_word_fresh(log: Log) -> None:
    say(log, "p-grid-1", P4=20, at_ms=log.now + 86_400_000)
    (order,) = log.signal(after_ms=FRESH_MS + 1, **ORDER)
    assert "LOAD_UNKNOWN" in order.reasons


def test_loads_survive_a_restart(log: Log) -> None:
    say(log, "p-grid-1", P3=2)
    rows = {key: row for key, row in log.desk.changes() if row is not None}
    again = Desk.load(msgspec.msgpack.decode(msgspec.msgpack.encode(rows), type=dict[str, MetaRow]))
    assert again._meta.loads == log.desk._meta.loads


def test_a_rematch_asks_who_is_on_duty_when_the_clocks_of_the_first_chain_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """At T0 it is 4:26:40; the step of the lane chief is due at 4:29:40, and by the rematch at 4:36:40 long past."""
    clocks = [dt.time(0), dt.time(4, 30), dt.time(4, 38), dt.time(0)]
    lanes = [
        WeeklyShift(post="lane", person=f"lane-{n}", days=tuple(Weekday), start=start, end=end)
        for n, (start, end) in enumerate(itertools.pairwise(clocks))
    ]
    usual = [(post.id, f"p-{post.id}") for post in POSTS if post.id != "lane"]
    people = b.people(shifts=[*usual, *(("lane", shift.person) for shift in lanes)])
    shifts = (*(b.always(*one) for one in usual), *lanes)
    world = b.world(people=msgspec.structs.replace(people, weekly_shifts=shifts))
    monkeypatch.setattr(test_desk, "WORLD", world)
    log = Log()
    (first,) = log.signal()
    log.now += 600_000
    (second,) = log.decide(DecisionKind.REMATCH)
    chiefs = [
        [one.person for step in order.steps if step.step == 1 for one in step.candidates] for order in (first, second)
    ]
    assert chiefs == [["lane-0"], ["lane-1"]]


def test_who_reported_it_is_not_asked_to_handle_it(log: Log) -> None:
    (order,) = log.signal(reporters=("p-grid-1",), **ORDER)
    assert order.incident.reporters == ("p-grid-1",)
    assert asked(order)[0] == "p-other"
    everybody = [one.person for step in order.steps if not step.seat for one in step.candidates]
    assert "p-grid-1" not in everybody


def test_a_report_that_comes_later_makes_a_new_chain_at_once(log: Log) -> None:
    (first,) = log.signal(**ORDER)
    assert asked(first)[0] == "p-grid-1"
    (order,) = log.signal(kind=EVIDENCE, reporters=("p-grid-1",), **ORDER)
    assert ("REPORTED" in order.reasons, asked(order)[0]) == (True, "p-other")
    assert log.signal(kind=EVIDENCE, reporters=("p-grid-1",), **ORDER) == [], "the same again is no news"


def test_a_merged_report_counts_and_a_split_takes_it_away_again(log: Log) -> None:
    log.signal()
    (order,) = log.signal("inc-2", reporters=("p-grid-1",))
    assert order.incident.reporters == ("p-grid-1",)
    orders = log.decide(DecisionKind.SPLIT, signals=("inc-2",))
    assert {one.incident.incident_id: one.incident.reporters for one in orders} == {
        "inc-1": (),
        "inc-2": ("p-grid-1",),
    }
    (raised,) = log.signal("inc-2", ESCALATED, Stage.ALARM)
    assert raised.incident.reporters == ("p-grid-1",), "a word that names no reporter takes none away"
