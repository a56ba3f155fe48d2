from __future__ import annotations

import functools
import itertools

from stream.egress import FIRST_RESEND_MS, LAST_RESEND_MS, Window

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


def test_what_is_committed_is_a_prefix_whatever_comes_back_first() -> None:
    window, done = _window(1, 2, 3, 4)
    window.stored([(2, 3)])
    assert done == []
    assert [topic for topic, _ in window.due(0)] == ["orders/1", "orders/4"]
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
