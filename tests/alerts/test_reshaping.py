"""Merge, split, correction and assignment: what a person may say here, and what comes back from the stream."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from alerts.admission import Wish, admit
from alerts.casebook import Case
from models.errors import MessageError
from models.messages import Decision, DecisionKind
from tests.alerts.test_escalation import T0, Desk, step
from tests.alerts.town import incident, order


def two() -> Desk:
    """Two open incidents, `inc-1` and `inc-2`."""
    desk = Desk()
    for n, name in ((1, "anna"), (2, "ben")):
        desk.submit(order(incident(n, now_ms=T0, incident_id=f"inc-{n}"), steps=(step(0, name),), seq=n))
    return desk


def wish(kind: DecisionKind, **fields: object) -> Wish:
    return Wish(incident_id="inc-1", kind=kind, by="seat", **({"reason": "because"} | fields))  # type: ignore[arg-type]


def made(desk: Desk, asked: Wish) -> Decision:
    (draft,) = admit(desk.book, asked, now_ms=T0)
    assert isinstance(draft.body, Decision)
    return draft.body


def test_what_the_person_named_stands_in_the_decision() -> None:
    desk = two()
    assert made(desk, wish(DecisionKind.MERGE, into="inc-2")).into == "inc-2"
    assert made(desk, wish(DecisionKind.CORRECT, category="burning.rubbish")).category == "burning.rubbish"
    assert made(desk, wish(DecisionKind.ASSIGN, post="grid-2")).post == "grid-2"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (wish(DecisionKind.MERGE), "None is no other open incident"),
        (wish(DecisionKind.MERGE, into="inc-1"), "inc-1 is no other open incident"),
        (wish(DecisionKind.MERGE, into="inc-404"), "inc-404 is no other open incident"),
        (wish(DecisionKind.MERGE, into="inc-2", reason=" "), "merge needs a reason"),
        (wish(DecisionKind.SPLIT), "nothing named"),
        (wish(DecisionKind.SPLIT, signals=("sig-9",)), "not merged into inc-1: sig-9"),
        (wish(DecisionKind.CORRECT), "names a `category`, a `priority` or both"),
        (wish(DecisionKind.ASSIGN), "names a `post`"),
    ],
)
def test_what_cannot_be_is_refused_while_the_person_is_still_at_the_page(asked: Wish, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        admit(two().book, asked, now_ms=T0)


def test_a_case_that_was_split_off_again_is_its_own_again() -> None:
    desk = two()

    def case(name: str) -> Case:
        return desk.book.cases[name]

    merged = replace(case("inc-1").order.incident, aliases=("inc-2",))
    desk.submit(order(merged, revision=2, steps=(step(0, "anna"),), seq=3))
    assert (case("inc-2").state, case("inc-2").is_open) == ("merged", False)
    desk.submit(order(replace(merged, aliases=()), revision=3, steps=(step(0, "anna"),), reasons=("SPLIT",), seq=4))
    again = replace(merged, incident_id="inc-2", aliases=())
    desk.submit(order(again, revision=3, steps=(step(0, "ben"),), reasons=("SPLIT", "OPENED"), seq=5))
    assert (case("inc-2").merged_into, case("inc-2").is_open) == (None, True)
    assert case("inc-1").is_open
