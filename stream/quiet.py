"""When whom a chain names is not to be called for what can wait: P1 and P2 cannot."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from models.messages import Candidate, Priority
from models.people import People
from stream.rank import Match, Question


def with_quiet_hours(found: Match, question: Question, people: People) -> Match:
    """Return a match in which candidates carry the quiet hours that run at their step, or come next.

    The seat has none: who sits there is awake.
    """
    if question.priority <= Priority.P2 or not people.has_quiet_hours:
        return found

    def at_rest(one: Candidate, due_ms: int) -> Candidate:
        span = people.quiet_span(one.person, max(question.at_ms, due_ms))
        return replace(one, quiet_from_ms=span[0], quiet_until_ms=span[1]) if span else one

    steps = tuple(
        step
        if step.seat
        else replace(
            step, candidates=tuple(at_rest(one, question.began_ms + step.offset_ms) for one in step.candidates)
        )
        for step in found.steps
    )
    co_tellings = tuple(at_rest(one, question.began_ms) for one in found.co_tellings)
    return dataclasses.replace(found, steps=steps, co_tellings=co_tellings)
