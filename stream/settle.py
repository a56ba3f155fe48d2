"""Who of a chain may settle a matter on the spot, so that nobody else need come (`Category.settle_roles`)."""

from __future__ import annotations

import dataclasses
from typing import Final

from msgspec.structs import replace

from models.catalogue import Category
from models.messages import Candidate
from models.people import May, People
from stream.rank import Match

MAY_SETTLE: Final = "MAY_SETTLE"


def with_settlers(found: Match, category: Category, people: People) -> Match:
    """Return a match in which those candidates say so of whom catalogue and authority table both do."""
    roles = {role for role in category.settle_roles if people.may(role, category.key) is May.SETTLE}
    if not roles:
        return found

    def marked(one: Candidate) -> Candidate:
        post = people.post_by_id.get(one.post)
        return replace(one, reasons=(*one.reasons, MAY_SETTLE)) if post and post.role in roles else one

    steps = tuple(replace(step, candidates=tuple(map(marked, step.candidates))) for step in found.steps)
    return dataclasses.replace(found, steps=steps)
