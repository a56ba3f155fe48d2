"""What may be wrong with `People` beyond its shape, alone and against places and catalogue."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from functools import partial
from pathlib import Path

from models import topics
from models.catalogue import Catalogue
from models.content import duplicates, patterns_meet
from models.errors import Problem
from models.people import People, Post, Role
from models.people.duty import Shift
from models.places import CellType, LineKind, NodeKind, Places

Namer = Callable[..., Problem]
"""`Problem` with its first arguments given: the file, and sometimes the path."""

LINE_ROLES = {Role.STREET_CHIEF: LineKind.STREET, Role.ROAD_CHIEF: LineKind.ROAD, Role.LANE_CHIEF: LineKind.LANE}
NODE_ROLES = {Role.BUILDING_CHIEF: {NodeKind.BUILDING, NodeKind.INSTITUTION}, Role.SHOP_CHIEF: {NodeKind.SHOP}}
LEVELS = {
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


def problems(people: People, file: Path | str) -> list[Problem]:
    """Name every mistake that the file shows by itself."""
    checks = (_ids, _posts, _cycles, _shifts, _vacancies, _tables)
    return [problem for check in checks for problem in check(people, partial(Problem, file))]


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
        yield from _above(people, post, partial(problem, f"{path}.supervisor"))
        for at, deputy in enumerate(post.deputies):
            if deputy not in people.post_by_id and deputy not in people.person_by_id:
                what = f"no post or person has the id {deputy}"
                yield problem(f"{path}.deputies[{at}]", what, "add it, or correct the id")


def _above(people: People, post: Post, problem: Namer) -> Iterator[Problem]:
    """A missing level is allowed, a missing or lower supervisor is not."""
    above = people.post_by_id.get(post.supervisor or "")
    if post.supervisor is None and post.level > 0:
        remedy = "name its supervisor: an alert that it leaves unanswered goes there"
        yield problem(f"post {post.id} has nobody above it", remedy)
    elif post.supervisor is not None and above is None:
        yield problem(f"no post has the id {post.supervisor}", "add the post, or correct the id")
    elif above is not None and above.level >= max(post.level, 1):
        what = f"{above.id} (level {above.level}) is not above level {post.level}"
        yield problem(what, "name a post of a higher level (a smaller number)")


def _cycles(people: People, problem: Namer) -> Iterator[Problem]:
    up = {post.id: [post.supervisor] if post.supervisor else [] for post in people.posts}
    aside = {post.id: [d for d in post.deputies if d in people.post_by_id] for post in people.posts}
    for name, edges in (("supervisor", up), ("deputies", aside)):
        candidates = _without_dead_ends(edges)
        for index, post in enumerate(people.posts):
            if post.id in candidates and _comes_back(post.id, candidates):
                what = f"post {post.id} comes back to itself over {name}"
                yield problem(f"posts[{index}].{name}", what, "break the circle at one of its posts")


def _without_dead_ends(edges: dict[str, list[str]]) -> dict[str, list[str]]:
    """Take away posts that lead nowhere until none is left: of a sound file, everything."""
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
            for name, key, known in (
                ("post", shift.post, people.post_by_id),
                ("person", shift.person, people.person_by_id),
            ):
                if key not in known:
                    what, remedy = f"no {name} has the id {key}", f"add the {name}, or correct the id"
                    yield problem(f"{table}[{index}].{name}", what, remedy)
    for index, once in enumerate(people.dated_shifts):
        start, end = (
            moment if moment.tzinfo else moment.replace(tzinfo=zone or UTC) for moment in (once.start, once.end)
        )
        if end <= start:
            remedy = "correct the times; give the date of the next day if it runs over midnight"
            yield problem(f"dated_shifts[{index}].end", f"the shift ends at {once.end} before it starts", remedy)


def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _vacancies(people: People, problem: Namer) -> Iterator[Problem]:
    held, busy = {shift.post for shift in people.shifts}, {shift.person for shift in people.shifts}
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
    for index, unit in enumerate(people.units):
        if unit.contract and unit.contract.last_day < unit.contract.first_day:
            path = f"units[{index}].contract.last_day"
            yield problem(path, "the contract ends before it starts", "correct the days")


def cross_problems(
    people: People,
    places: Places,
    catalogue: Catalogue,
    *,
    file: Path | str = "people.toml",
    places_file: Path | str = "places.geojson",
    catalogue_file: Path | str = "catalogue.toml",
) -> list[Problem]:
    """Name what fits in no one file: scopes without a place, units that nobody knows, cells without an officer."""
    in_people, in_places, in_catalogue = (partial(Problem, name) for name in (file, places_file, catalogue_file))
    return [
        *_scopes(people, places, in_people),
        *_lead_units(people, places, catalogue, in_places, in_catalogue),
        *_patterns(people, places, catalogue, in_people, in_places),
        *_shared_ids(people, places, in_people),
        *_cells_without_officer(people, places, in_places),
    ]


def _scopes(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    tables: tuple[Mapping[str, object], ...] = (
        places.area_by_code,
        places.cell_by_code,
        places.line_by_code,
        places.node_by_code,
    )
    for index, post in enumerate(people.posts):
        for at, code in enumerate(post.scope):
            path = f"posts[{index}].scope[{at}]"
            if not any(code in table for table in tables):
                remedy = "add it to places.geojson, or correct the code"
                yield problem(path, f"no place has the code {code}", remedy)
            elif not _fits(post.role, code, places):
                yield problem(path, f"{code} is no place for a {post.role}", "correct the code or the role")


def _fits(role: Role, code: str, places: Places) -> bool:
    if role in LINE_ROLES:
        line = places.line_by_code.get(code)
        return line is not None and line.kind is LINE_ROLES[role]
    if role in NODE_ROLES:
        node = places.node_by_code.get(code)
        return node is not None and node.kind in NODE_ROLES[role]
    cell = places.cell_by_code.get(code)
    if role is Role.GRID_OFFICER:
        return cell is not None and cell.type is not CellType.MICRO
    return role is not Role.MICRO_GRID_OFFICER or (cell is not None and cell.type is CellType.MICRO)


def _lead_units(
    people: People, places: Places, catalogue: Catalogue, in_places: Namer, in_catalogue: Namer
) -> Iterator[Problem]:
    remedy = "add the unit to people.toml, or correct the id"
    for index, category in enumerate(catalogue.categories):
        if category.lead_unit not in people.unit_by_id:
            what = f"no unit has the id {category.lead_unit}"
            yield in_catalogue(f"categories[{index}].lead_unit", what, remedy)
    for cell in places.cells:
        if cell.lead_unit is not None and cell.lead_unit not in people.unit_by_id:
            yield in_places(f"cells[{cell.code}].lead_unit", f"no unit has the id {cell.lead_unit}", remedy)


def _patterns(
    people: People, places: Places, catalogue: Catalogue, in_people: Namer, in_places: Namer
) -> Iterator[Problem]:
    """A right or an exclusive cell for a category that does not exist is a slip of the pen."""
    rows = [(in_people, f"authority[{i}].category", row.category) for i, row in enumerate(people.authority)]
    rows += [(in_places, f"cells[{cell.code}].categories", key) for cell in places.cells for key in cell.categories]
    for problem, path, pattern in rows:
        if not any(patterns_meet(pattern, key) for key in catalogue.category_by_key):
            yield problem(path, f"no category matches {pattern}", "correct it, or add the category")


def _shared_ids(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    """Devices and persons each have a key and a branch of the topic tree by their id."""
    for table, items in (("persons", people.person_by_id), ("posts", people.post_by_id)):
        for index, key in enumerate(items):
            if key in places.device_by_id:
                yield problem(f"{table}[{index}].id", f"{key} is also a device's id", "give it another id")


def _cells_without_officer(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    for cell in places.cells:
        posts = people.posts_by_scope.get(cell.code, ())
        if cell.type is CellType.BASE and not any(post.role is Role.GRID_OFFICER for post in posts):
            remedy = "add a post with this cell in its scope to people.toml"
            yield problem(f"cells[{cell.code}]", f"cell {cell.code} has no grid officer", remedy)
