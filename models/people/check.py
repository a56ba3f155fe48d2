"""What may be wrong with `People` beyond its shape; against places and catalogue see `models.people.fit`."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from models import topics
from models.content import duplicates
from models.errors import Problem
from models.people import People
from models.people.duty import Shift, Swap
from models.people.posts import APPOINTED, Contract, DutyDomain, Person, Post, Role

Namer = Callable[..., Problem]
"""`Problem` with its first arguments given: the file, and sometimes the path."""

MAX_QUALIFICATIONS: Final = 64
MAX_NAMED: Final = 20
"""Posts without duties that are named: a column that a large roster lacks is one mistake."""
LEVELS: Final[Mapping[Role, int]] = {
    Role.STREET_CHIEF: 1,
    Role.ROAD_CHIEF: 2,
    Role.LANE_CHIEF: 3,
    Role.BUILDING_CHIEF: 4,
    Role.SHOP_CHIEF: 4,
    Role.GRID_OFFICER: 4,
    Role.MICRO_GRID_OFFICER: 4,
    Role.STREET_OFFICE: 0,
    Role.DISTRICT_OFFICE: 0,
}


def problems(people: People, file: Path | str, tables: Mapping[str, Path] | None = None) -> list[Problem]:
    """Name every mistake that the file shows by itself.

    Args:
        people: all of it.
        file: its `people.toml`.
        tables: files of the tables that stand in CSV.
    """
    checks = (_ids, _posts, _duties, _cycles, _shifts, _swaps, _vacancies, _terms, _tables)
    namer = partial(named, file, tables or {})
    return [problem for check in checks for problem in check(people, namer)]


def named(file: Path | str, tables: Mapping[str, Path], path: str, what: str, remedy: str) -> Problem:
    """Return a problem with its file: where the table stands in CSV that, with line and column."""
    table, _, rest = path.partition("[")
    if table not in tables:
        return Problem(file, path, what, remedy)
    if not rest:
        return Problem(tables[table], "$", what, remedy)
    index, _, field = rest.partition("]")
    column = re.sub(r"^\.", "", field)
    return Problem(tables[table], f"line {int(index) + 2}" + (f", {column}" if column else ""), what, remedy)


def _ids(people: People, problem: Namer) -> Iterator[Problem]:
    tables = {
        "units": [unit.id for unit in people.units],
        "persons": [person.id for person in people.persons],
        "posts": [post.id for post in people.posts],
    }
    for table, ids in tables.items():
        for index, key in duplicates(ids):
            yield problem(f"{table}[{index}].id", f"id {key} is used twice", "give it an id of its own")
        for index, key in enumerate(ids):
            if table != "units" and key in topics.RESERVED:
                yield problem(f"{table}[{index}].id", f"id {key} is reserved", "choose another")
    for index, post in enumerate(people.posts):
        if post.id in people.person_by_id:
            yield problem(f"posts[{index}].id", f"{post.id} is also a person's id", "give the post another id")


def _posts(people: People, problem: Namer) -> Iterator[Problem]:
    for index, post in enumerate(people.posts):
        path = f"posts[{index}]"
        if post.unit not in people.unit_by_id:
            yield problem(f"{path}.unit", f"no unit has the id {post.unit}", "add the unit, or correct the id")
        if post.level != LEVELS.get(post.role, post.level):
            what = f"a {post.role} has level {LEVELS[post.role]}, not {post.level}"
            yield problem(f"{path}.level", what, "correct the level or the role")
        yield from _above(people, post, f"{path}.supervisor", problem)
        lines = APPOINTED.get(post.role)
        if post.appointed_from and lines and post.appointed_from not in lines:
            what = f"a {post.role} is not appointed from {post.appointed_from}"
            yield problem(f"{path}.appointed_from", what, f"use one of: {', '.join(sorted(lines))}")
        if post.seat and post.seat not in people.team:
            yield problem(f"{path}.seat", f"the team has no seat {post.seat!r}", "add it to `team`, or correct it")
        for at, deputy in enumerate(post.deputies):
            if deputy not in people.post_by_id and deputy not in people.person_by_id:
                what = f"no post or person has the id {deputy}"
                yield problem(f"{path}.deputies[{at}]", what, "add it, or correct the id")


def _duties(people: People, problem: Namer) -> Iterator[Problem]:
    """Everybody holds a post by some shift (`_vacancies`), so no officer is without duties where no post is."""
    sample = 'duties = ["order", "safety"] (in CSV a column duties with order;safety)'
    remedy = f"say what it looks after, such as {sample}: one at least of {', '.join(DutyDomain)}"
    bare = [index for index, post in enumerate(people.posts) if not post.duties]
    for index in bare[:MAX_NAMED]:
        yield problem(f"posts[{index}].duties", f"post {people.posts[index].id} has no duties", remedy)
    if len(bare) > MAX_NAMED:
        yield problem("posts", f"{len(bare) - MAX_NAMED:,} more posts have no duties", remedy)
    for index, post in enumerate(people.posts):
        if len(set(post.duties)) < len(post.duties):
            yield problem(f"posts[{index}].duties", f"post {post.id} has a duty twice", "name it once")


def _above(people: People, post: Post, path: str, problem: Namer) -> Iterator[Problem]:
    """A missing level is allowed, a missing or lower supervisor is not."""
    above = people.post_by_id.get(post.supervisor or "")
    if post.supervisor is None and post.level > 0:
        remedy = "name its supervisor: an alert that it leaves unanswered goes there"
        yield problem(path, f"post {post.id} has nobody above it", remedy)
    elif post.supervisor is not None and above is None:
        yield problem(path, f"no post has the id {post.supervisor}", "add the post, or correct the id")
    elif above is not None and above.level >= max(post.level, 1):
        what = f"{above.id} (level {above.level}) is not above level {post.level}"
        yield problem(path, what, "name a post of a higher level (a smaller number)")


def _cycles(people: People, problem: Namer) -> Iterator[Problem]:
    known = people.post_by_id
    up = {post.id: [post.supervisor] for post in people.posts if post.supervisor}
    aside = {post.id: [d for d in post.deputies if d in known] for post in people.posts if post.deputies}
    for name, edges in (("supervisor", up), ("deputies", aside)):
        candidates = _without_dead_ends(edges)
        for index, post in enumerate(people.posts if candidates else ()):
            if post.id in candidates and _comes_back(post.id, candidates):
                what = f"post {post.id} comes back to itself over {name}"
                yield problem(f"posts[{index}].{name}", what, "break the circle at one of its posts")


def _without_dead_ends(edges: dict[str, list[str]]) -> dict[str, list[str]]:
    """Take away posts to which nothing leads, then those that lead nowhere until none is left: if sound, everything."""
    named = {target for targets in edges.values() for target in targets}
    edges = {node: targets for node, targets in edges.items() if targets and node in named}
    incoming: dict[str, list[str]] = {}
    for node, targets in edges.items():
        for target in targets:
            incoming.setdefault(target, []).append(node)
    open_ends = {node: sum(target in edges for target in targets) for node, targets in edges.items()}
    ended = [node for node, count in open_ends.items() if not count]
    for node in ended:
        for before in incoming.get(node, ()):
            open_ends[before] -= 1
            if not open_ends[before]:
                ended.append(before)
    return {node: [t for t in edges[node] if open_ends.get(t)] for node, count in open_ends.items() if count}


def _comes_back(start: str, edges: dict[str, list[str]]) -> bool:
    seen, ahead = set(edges[start]), list(edges[start])
    for node in ahead:
        fresh = set(edges[node]) - seen
        seen |= fresh
        ahead += fresh
    return start in seen


def _shifts(people: People, problem: Namer) -> Iterator[Problem]:
    zone = _zone(people.time_zone)
    if zone is None:
        remedy = "use an IANA name such as Asia/Shanghai; if that is refused, install the package tzdata"
        yield problem("time_zone", f"unknown time zone {people.time_zone}", remedy)
    tables: dict[str, Sequence[Shift]] = {"weekly_shifts": people.weekly_shifts, "dated_shifts": people.dated_shifts}
    for table, shifts in tables.items():
        for index, shift in enumerate(shifts):
            if shift.post in people.post_by_id and shift.person in people.person_by_id:
                continue
            for name, key, known in (
                ("post", shift.post, people.post_by_id),
                ("person", shift.person, people.person_by_id),
            ):
                if key not in known:
                    what, remedy = f"no {name} has the id {key}", f"add the {name}, or correct the id"
                    yield problem(f"{table}[{index}].{name}", what, remedy)
    for index, once in enumerate(people.dated_shifts):
        if not _is_forward(once.start, once.end, zone):
            remedy = "correct the times; give the date of the next day if it runs over midnight"
            yield problem(f"dated_shifts[{index}].end", f"the shift ends at {once.end} before it starts", remedy)


def _is_forward(start: dt.datetime, end: dt.datetime, zone: zoneinfo.ZoneInfo | None) -> bool:
    one, other = (moment if moment.tzinfo else moment.replace(tzinfo=zone or dt.UTC) for moment in (start, end))
    return one < other


def _swaps(people: People, problem: Namer) -> Iterator[Problem]:
    """A swap that changes nothing is a slip of the pen, and would leave somebody waiting for the other."""
    zone = _zone(people.time_zone)
    earlier: dict[str, list[Swap]] = {}
    for index, swap in enumerate(people.swaps):
        path = f"swaps[{index}]"
        before = earlier.setdefault(swap.post, [])
        unknown = [
            (name, key)
            for name, key, known in (
                ("post", swap.post, people.post_by_id),
                ("person", swap.person, people.person_by_id),
                ("substitute", swap.substitute, people.person_by_id),
            )
            if key not in known
        ]
        for name, key in unknown:
            yield problem(f"{path}.{name}", f"no such id: {key}", "add it, or correct the id")
        if swap.person == swap.substitute:
            yield problem(f"{path}.substitute", f"{swap.person} swaps with himself", "name who takes over")
        if not _is_forward(swap.start, swap.end, zone):
            yield problem(f"{path}.end", f"the swap ends at {swap.end} before it starts", "correct the times")
        elif zone and not unknown:
            yield from _gift(people, swap, before, partial(problem, path))
        before.append(swap)


def _gift(people: People, swap: Swap, before: Sequence[Swap], problem: Namer) -> Iterator[Problem]:
    """Look at what a swap gives away, given those before it at its post."""
    to_ms = people.plan.to_ms
    start, end = to_ms(swap.start), to_ms(swap.end)
    if any(one.person == swap.person and to_ms(one.start) < end and start < to_ms(one.end) for one in before):
        what = f"{swap.person} has given away a part of this time before"
        yield problem(what, "let the swaps touch, not overlap")
    elif not any(span.person == swap.person for span in people.plan.spans(swap.post, start, end, swaps=before)):
        what = f"{swap.person} is not on duty at {swap.post} in this time"
        yield problem(what, "correct the times or the person")


def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _vacancies(people: People, problem: Namer) -> Iterator[Problem]:
    held = {shift.post for shift in people.shifts}
    busy = {shift.person for shift in people.shifts} | {swap.substitute for swap in people.swaps}
    for index, post in enumerate(people.posts):
        if post.id not in held:
            what = f"post {post.id} has no person: no shift names it"
            yield problem(f"posts[{index}]", what, "add a shift for it, or remove the post")
    for index, person in enumerate(people.persons):
        if person.id not in busy:
            remedy = "add a shift (a deputy too is asked only while on duty), or remove the person"
            yield problem(f"persons[{index}]", f"officer {person.id} has no post: no shift names him", remedy)


def _tables(people: People, problem: Namer) -> Iterator[Problem]:
    for index, key in duplicates(f"{row.role} and {row.category}" for row in people.authority):
        yield problem(f"authority[{index}]", f"two rows for {key}", "keep one of them")
    names = {name for person in people.persons for name in person.qualifications}
    if len(names) > MAX_QUALIFICATIONS:
        what = f"{len(names)} different qualifications, at most {MAX_QUALIFICATIONS} are told apart"
        yield problem("persons", what, "use the same word for the same thing")


def _terms(people: People, problem: Namer) -> Iterator[Problem]:
    contracts = [unit.contract for unit in people.units]
    tables: tuple[tuple[str, str, Sequence[Post | Person | Contract | None]], ...] = (
        ("posts", "last_day", people.posts),
        ("persons", "last_day", people.persons),
        ("units", "contract.last_day", contracts),
    )
    for table, field, terms in tables:
        for index, term in enumerate(terms):
            if term and term.first_day and term.last_day and term.last_day < term.first_day:
                name = "the contract" if isinstance(term, Contract) else "the term"
                yield problem(f"{table}[{index}].{field}", f"{name} ends before it starts", "correct the days")
