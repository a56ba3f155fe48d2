from __future__ import annotations

import logging

from stream.log.seldom import EVERY_S, Seldom


def record(name: str, message: str, at_s: float, *blanks: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, blanks, None)
    made.created = at_s
    return made


def test_a_library_that_says_the_same_with_every_try_is_heard_once_a_minute() -> None:
    seldom = Seldom("aiokafka")
    tries = [record("aiokafka.client", "cannot connect to %s", n / 10, n) for n in range(3 * round(EVERY_S) * 10)]
    assert [one.created for one in tries if seldom.filter(one)] == [0.0, EVERY_S, 2 * EVERY_S]


def test_another_message_of_it_and_all_of_ours_are_heard() -> None:
    seldom = Seldom("aiokafka")
    assert seldom.filter(record("aiokafka.client", "cannot connect", 0.0))
    assert seldom.filter(record("aiokafka.client", "marking coordinator dead", 0.1))
    assert seldom.filter(record("aiokafka.consumer", "cannot connect", 0.1))
    assert all(seldom.filter(record("stream.log.append", "stores nothing", n / 10)) for n in range(5))
