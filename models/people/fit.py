"""Whether people fit places and catalogue: what no one file shows by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

from models.catalogue import Catalogue
from models.content import covers, patterns_meet
from models.errors import Problem
from models.people import People, Profile
from models.people.check import named
from models.people.posts import DutyDomain, Role
from models.places import Cell, CellType, LineKind, NodeKind, Places
from models.places.sources import PlaceProblem

Namer = Callable[..., Problem]
"""`Problem` with its first arguments given: the file, and sometimes the path."""

LINE_ROLES = {Role.STREET_CHIEF: LineKind.STREET, Role.ROAD_CHIEF: LineKind.ROAD, Role.LANE_CHIEF: LineKind.LANE}
NODE_KINDS = {Role.BUILDING_CHIEF: {NodeKind.BUILDING, NodeKind.INSTITUTION}, Role.SHOP_CHIEF: {NodeKind.SHOP}}


def cross_problems(
    people: People,
    places: Places,
    catalogue: Catalogue,
    *,
    file: Path | str = "people.toml",
    places_file: Path | str = "places.geojson",
    catalogue_file: Path | str = "catalogue.toml",
    tables: Mapping[str, Path] | None = None,
) -> list[Problem]:
    """Name what fits in no one file: scopes without a place, units that nobody knows, cells without an officer.

    Args:
        people: checked by themselves.
        places: likewise.
        catalogue: likewise.
        file: of the people.
        places_file: of the places.
        catalogue_file: of the catalogue.
        tables: files of the tables of the people that stand in CSV.
    """
    in_people = partial(named, file, tables or {})
    in_places, in_catalogue = partial(Problem, places_file), partial(Problem, catalogue_file)
    return [
        *_scopes(people, places, in_people),
        *_lead_units(people, places, catalogue, in_places, in_catalogue),
        *_duties_of_leads(people, places, catalogue, in_places, in_catalogue),
        *_patterns(people, places, catalogue, in_people, in_places, in_catalogue),
        *_shared_ids(people, places, in_people),
        *_partners(people, places, in_people),
        *_cells_without_officer(people, places, partial(PlaceProblem, file=places_file)),
    ]


def _scopes(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    for index, post in enumerate(people.posts):
        for at, code in enumerate(post.scope):
            path = f"posts[{index}].scope[{at}]"
            if not _is_known(code, places):
                remedy = "add it to places.geojson, or correct the code"
                yield problem(path, f"no place has the code {code}", remedy)
            elif not _fits(post.role, code, places):
                yield problem(path, f"{code} is no place for a {post.role}", "correct the code or the role")


def _is_known(code: str, places: Places) -> bool:
    tables: tuple[Mapping[str, object], ...] = (
        places.cell_by_code,
        places.node_by_code,
        places.line_by_code,
        places.area_by_code,
    )
    return any(code in table for table in tables)


def _fits(role: Role, code: str, places: Places) -> bool:
    if role in LINE_ROLES:
        line = places.line_by_code.get(code)
        return line is not None and line.kind is LINE_ROLES[role]
    if role in NODE_KINDS:
        node = places.node_by_code.get(code)
        return node is not None and node.kind in NODE_KINDS[role]
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
    for index, row in enumerate(catalogue.leads):
        if row.unit not in people.unit_by_id:
            yield in_catalogue(f"leads[{index}].unit", f"no unit has the id {row.unit}", remedy)
        if not _is_known(row.area, places):
            what = f"no place has the code {row.area}"
            yield in_catalogue(f"leads[{index}].area", what, "add it to places.geojson, or correct the code")
        special = places.cell_by_code.get(row.area)
        is_its_own = special is not None and any(patterns_meet(row.category, key) for key in special.categories)
        own = special.lead_unit if special is not None and is_its_own else None
        if own not in {None, row.unit}:
            what = f"two leads for {row.category} in {row.area}: {row.unit}, and {own} by the exclusive cell"
            yield in_catalogue(f"leads[{index}].unit", what, "name the same unit in both, or remove the row")


def _duties_of_leads(
    people: People, places: Places, catalogue: Catalogue, in_places: Namer, in_catalogue: Namer
) -> Iterator[Problem]:
    """A unit leads for nothing that none of its posts looks after; one without posts is asked as a whole."""
    looked_after: dict[str, set[DutyDomain]] = {}
    for post in people.posts:
        if post.duties:
            looked_after.setdefault(post.unit, set()).update(post.duties)

    def missing(unit: str | None, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        for key in keys:
            domain = catalogue.category_by_key[key].domain
            if unit in looked_after and domain not in looked_after[unit]:
                what = f"{unit} leads for {key} ({domain}), which is no duty of any of its posts"
                yield what, f"add {domain} to the duties of one of them in people.toml, or let another unit lead"

    for index, category in enumerate(catalogue.categories):
        for what, remedy in missing(category.lead_unit, (category.key,)):
            yield in_catalogue(f"categories[{index}].lead_unit", what, remedy)
    for index, row in enumerate(catalogue.leads):
        for what, remedy in missing(row.unit, _matching(catalogue, (row.category,))):
            yield in_catalogue(f"leads[{index}].unit", what, remedy)
    for cell in places.cells:
        for what, remedy in missing(cell.lead_unit, _matching(catalogue, cell.categories)):
            yield in_places(f"cells[{cell.code}].lead_unit", what, remedy)


def _matching(catalogue: Catalogue, patterns: Iterable[str]) -> Iterator[str]:
    return (key for key in catalogue.category_by_key if any(covers(pattern, key) for pattern in patterns))


def cells_without_duty(
    people: People,
    places: Places,
    catalogue: Catalogue,
    *,
    file: Path | str = "people.toml",
    tables: Mapping[str, Path] | None = None,
) -> Iterator[Problem]:
    """Remark what nobody looks after: neither a post of the cell or of its line, nor the chiefs above them.

    The offices at the top do not count: what is theirs alone is nobody's at the place.
    """
    if not all(post.duties for post in people.posts):
        return  # a mistake of its own

    @cache
    def duties(post_id: str) -> frozenset[DutyDomain]:
        chiefs = (post for post in people.parents(post_id) if post.level > 0)
        return frozenset(duty for post in (people.post_by_id[post_id], *chiefs) for duty in post.duties)

    wanted = {category.domain for category in catalogue.categories}
    bare: dict[DutyDomain, list[str]] = {}
    for cell in places.cells:
        if cell.type is CellType.BASE:
            posts = (*people.posts_by_scope.get(cell.code, ()), *people.posts_by_scope.get(cell.line or "", ()))
            for domain in wanted.difference(*(duties(post.id) for post in posts)):
                bare.setdefault(domain, []).append(cell.code)
    for domain, codes in sorted(bare.items()):
        what = f"{len(codes):,} cells have no post that looks after {domain}, such as {', '.join(codes[:3])}"
        remedy = f"add {domain} to the duties of a post there, or of a chief above"
        yield named(file, tables or {}, "posts", what, remedy)


def _patterns(
    people: People, places: Places, catalogue: Catalogue, in_people: Namer, in_places: Namer, in_catalogue: Namer
) -> Iterator[Problem]:
    """A right or an exclusive cell for a category that does not exist is a slip of the pen."""
    rows = [(in_people, f"authority[{i}].category", row.category) for i, row in enumerate(people.authority)]
    rows += [
        (in_people, f"units[{i}].categories", key) for i, unit in enumerate(people.units) for key in unit.categories
    ]
    rows += [(in_places, f"cells[{cell.code}].categories", key) for cell in places.cells for key in cell.categories]
    rows += [(in_catalogue, f"leads[{index}].category", row.category) for index, row in enumerate(catalogue.leads)]
    for problem, path, pattern in rows:
        if not any(patterns_meet(pattern, key) for key in catalogue.category_by_key):
            yield problem(path, f"no category matches {pattern}", "correct it, or add the category")


def _shared_ids(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    """Devices and persons each have a key and a branch of the topic tree by their id."""
    for table, items in (("persons", people.person_by_id), ("posts", people.post_by_id)):
        for index, key in enumerate(items):
            if key in places.device_by_id:
                yield problem(f"{table}[{index}].id", f"{key} is also a device's id", "give it another id")


def _partners(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    for index, unit in enumerate(people.units):
        for at, code in enumerate(unit.scope):
            if not _is_known(code, places):
                remedy = "add it to places.geojson, or correct the code"
                yield problem(f"units[{index}].scope[{at}]", f"no place has the code {code}", remedy)


def _cells_without_officer(people: People, places: Places, problem: Namer) -> Iterator[Problem]:
    """Every base cell has who is asked first: its grid officer, or, without a grid tier, the chief of its line."""

    def vacant_cell(cell: Cell, what: str, remedy: str) -> Problem:
        path, codes = f"cells[{cell.code}]", (cell.code,)
        return problem(path=path, what=what, remedy=remedy, codes=codes, shape=cell.polygons)

    wanted = "grid officer" if people.profile is Profile.FIVE_CHIEFS_GRID else "chief of its line"
    for cell in places.cells:
        if cell.type is not CellType.BASE:
            continue
        posts = people.posts_by_scope.get(cell.code, ())
        has_officer = any(post.role is Role.GRID_OFFICER for post in posts)
        if people.profile is not Profile.FIVE_CHIEFS_GRID:
            has_officer |= any(post.role in LINE_ROLES for post in people.posts_by_scope.get(cell.line or "", ()))
        if not has_officer:
            remedy = "add a post with this cell in its scope to people.toml"
            if wanted != "grid officer":
                remedy = "name its line, and give that line a chief in people.toml"
            yield vacant_cell(cell, f"cell {cell.code} has no {wanted}", remedy)
        vacant = [seat for seat in people.team if not any(post.seat == seat for post in posts)]
        if vacant:
            what = f"the team of cell {cell.code} lacks: {', '.join(vacant)}"
            yield vacant_cell(cell, what, "add a post with this seat and the cell in its scope")
