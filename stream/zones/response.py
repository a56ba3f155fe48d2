"""The answer to an urgent alarm (S6 to S8): may it be looked into before everybody around is told, and for how long?

Only an alarm of one source alone may, and never one of gas, CO or a call point. Whatever happens then makes it general
or leaves it as it is: nothing here lowers an alarm.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from models.messages import HELD, Response
from models.thresholds import MAX_STAGED_MS, Staged
from stream.zones.family import ActiveSignal
from stream.zones.rules import Rules

_UNCONFIRMED: Final = frozenset({"VERIFY_EXPIRED", "STILL_ABOVE"})
"""Reasons of an alarm that neither a second source nor a person has made."""


def begin(signal: ActiveSignal, family: str, reason: str, sources: Collection[str], rules: Rules, now_ms: int) -> None:
    """Start the answer to what has just become an alarm: the command seat's time to acknowledge it, or none.

    Args:
        signal: is changed.
        family: of it.
        reason: why it became one.
        sources: devices that had enough hits, and persons who reported it.
        rules: in force.
        now_ms: the zone's time.
    """
    if signal.response is not None or not rules.is_urgent(signal.meaning):
        return
    is_alone = reason in _UNCONFIRMED and len(sources) <= 1
    if is_alone and rules.may_be_staged(family, signal.sources):
        signal.response, signal.alarm_ms = Response.AWAITED, now_ms
        signal.general_by_ms = now_ms + _ms(rules.thresholds.staged.ack_s)
    else:
        make_general(signal)


def acknowledge(signal: ActiveSignal, staged: Staged) -> bool:
    """Give the seat time to choose; return whether that is news."""
    if signal.response is not Response.AWAITED:
        return False
    signal.response, signal.general_by_ms = Response.ACKNOWLEDGED, signal.alarm_ms + _ms(staged.choose_s)
    return True


def investigate(signal: ActiveSignal, staged: Staged, now_ms: int) -> bool:
    """Give somebody time to look into it; return whether that is news."""
    if signal.response not in HELD - {Response.INVESTIGATING}:
        return False
    signal.response = Response.INVESTIGATING
    signal.general_by_ms = min(now_ms + _ms(staged.investigate_s), signal.alarm_ms + MAX_STAGED_MS)
    return True


def make_general(signal: ActiveSignal) -> None:
    """Hold the alarm back no longer."""
    signal.response, signal.general_by_ms = Response.GENERAL, None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
