from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.messages import (
    VERSION,
    Ack,
    Candidate,
    DispatchOrder,
    Incident,
    OrderStep,
    Position,
    Priority,
    Response,
    Stage,
    Timeline,
    Versions,
    decode,
)
from models.seal import Keyring
from stream.egress import FIRST_RESEND_MS, LAST_RESEND_MS, Egress, Window, stamped
from stream.log.append import Appender
from stream.records import OrderRecord, encode

PAYLOAD = b"order"


def _window(*seqs: int) -> tuple[Window, list[int]]:
    window, done = Window(), list[int]()
    for seq in seqs:
        window.add(seq, f"orders/{seq}", PAYLOAD, functools.partial(done.append, seq), now_ms=0)
    return window, done


def test_an_order_is_sent_at_once_and_again_until_it_is_stored() -> None:
    window, done = _window(1)
    sent_ms = [now_ms for now_ms in range(0, 10_000, 10) if window.due(now_ms)]
    waits_ms = [after - before for before, after in itertools.pairwise(sent_ms)]
    assert sent_ms[0] == 0
    assert FIRST_RESEND_MS / 2 <= waits_ms[0] <= FIRST_RESEND_MS + 10
    assert all(FIRST_RESEND_MS / 2 <= wait_ms <= LAST_RESEND_MS + 10 for wait_ms in waits_ms)
    assert len(waits_ms) < 8  # it backs off
    window.stored([(1, 1)])
    assert done == [1]
    assert window.due(1_000_000) == []
    assert window.next_due_ms() is None


def test_the_broker_keeps_for_alerts_what_alerts_has_not_said_to_have_stored() -> None:
    window, _ = _window(1)
    assert [sending.qos for now_ms in range(0, 10_000, 10) for sending in window.due(now_ms)][:3] == [0, 1, 1]
    window.hurry()
    assert [sending.qos for sending in window.due(10_000)] == [1], "the connection is new, the order is not"


def test_what_is_committed_is_a_prefix_whatever_comes_back_first() -> None:
    window, done = _window(1, 2, 3, 4)
    window.stored([(2, 3)])
    assert done == []
    assert [sending.topic for sending in window.due(0)] == ["orders/1", "orders/4"]
    window.stored([(1, 1)])
    assert done == [1, 2, 3]
    assert len(window) == 1


def test_an_acknowledgement_that_comes_twice_or_for_nothing_does_nothing() -> None:
    window, done = _window(5)
    window.stored([(1, 4), (6, 9)])
    assert done == []
    window.stored([(5, 5)])
    window.stored([(5, 5)])
    assert done == [5]


def test_after_a_new_connection_everything_is_due() -> None:
    window, _ = _window(1, 2)
    assert len(window.due(0)) == 2
    assert window.due(1) == []
    window.hurry()
    assert len(window.due(1)) == 2


INCIDENT = Incident(
    incident_id="inc-1",
    category="fire.flame.single",
    family="fire",
    priority=Priority.P2,
    stage=Stage.PRE_ALARM,
    position=Position(lon_deg=106.5, lat_deg=29.5),
    areas={"cell": "\u5357\u5cb8"},
    opened_at_ms=1,
    updated_at_ms=2,
    label="fire",
    confidence=0.9,
    count=3,
    sources=("cam-01",),
)
ORDER = DispatchOrder(
    v=1,
    outbox_id="orders",
    seq=1,
    revision=1,
    incident=INCIDENT,
    lead_unit="emergency",
    lead_post="grid-1",
    co_units=(("fire", "mandatory"),),
    steps=(
        OrderStep(
            step=0,
            offset_ms=0,
            mode="alert",
            candidates=(Candidate(post="grid-1", person="p-1", duty_from_ms=0, duty_until_ms=9, reasons=("DEPUTY",)),),
        ),
    ),
    versions=Versions(places="a", people="b", catalogue="c"),
    ordered_at_ms=2,
)
ORDERS = st.builds(
    functools.partial(replace, ORDER),
    revision=st.integers(1, 9),
    reasons=st.lists(st.text(), max_size=2).map(tuple),
    basis=st.text(),
    incident=st.builds(
        functools.partial(replace, INCIDENT),
        timeline=st.builds(Timeline, captured_ms=st.none() | st.integers(0, 9), sent_ms=st.none() | st.integers(0, 9)),
        response=st.none() | st.sampled_from(Response),
        reporters=st.sampled_from([(), ("p-1", "grid-2")]),
        late=st.booleans(),
    ),
)


@given(order=ORDERS, times=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_an_order_goes_out_as_it_stands_in_the_log_with_its_place_and_its_last_times(
    order: DispatchOrder, times: tuple[int, int]
) -> None:
    at_ms, now_ms = times
    sent = stamped(encode(OrderRecord(at_ms=at_ms, order=order)), outbox_id="log", seq=7, now_ms=now_ms)
    timeline = order.incident.timeline
    assert (sent.incident_id, sent.ordered_at_ms, sent.captured_ms) == ("inc-1", now_ms, timeline.captured_ms)
    incident = replace(order.incident, timeline=replace(timeline, matched_ms=at_ms, ordered_ms=now_ms))
    assert decode(sent.line, DispatchOrder) == replace(
        order, outbox_id="log", seq=7, ordered_at_ms=now_ms, incident=incident
    )


class Orders:
    """So many orders, as Faust gives them to an agent."""

    def __init__(self, count: int) -> None:
        self.acknowledged: list[int] = []
        self._count = count

    def noack(self) -> Orders:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for n in range(self._count):
            order = replace(ORDER, incident=replace(INCIDENT, incident_id=f"inc-{n}"))
            message = SimpleNamespace(offset=n)
            ack = functools.partial(self.acknowledged.append, n)
            yield SimpleNamespace(message=message, value=encode(OrderRecord(at_ms=1, order=order)), ack=ack)


class NoLog:
    async def append(self, _records: object) -> list[int]:
        raise AssertionError("no order is set aside")


def test_no_more_than_256_orders_are_in_flight() -> None:
    sent: list[str] = []

    def publish(topic: str, payload: bytes, *, qos: int) -> bool:
        sent.append(topic)
        return qos == 0 and bool(payload)

    async def carry_on() -> None:
        for _ in range(9):
            await asyncio.sleep(0)

    async def scenario() -> None:
        orders = Orders(300)
        egress = Egress("t", Keyring({"stream": b"k" * 32}), "log", publish, Appender(NoLog()))
        carrying = asyncio.create_task(egress.carry(orders))  # type: ignore[arg-type]  # stands in for Faust's
        await carry_on()
        assert len(sent) == 256
        await egress.take_ack(Ack(v=VERSION, receiver="alerts", outbox_id="log", stored=((1, 10),)))
        await carry_on()
        assert (len(set(sent)), orders.acknowledged) == (266, list(range(10)))
        await egress.take_ack(Ack(v=VERSION, receiver="alerts", outbox_id="log", stored=((1, 300),)))
        await carrying
        assert len(set(sent)) == 300

    asyncio.run(scenario())
