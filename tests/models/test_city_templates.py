"""What the sources say of each model of grid governance, asked of the city that its template makes."""

from __future__ import annotations

from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pytest

from models.catalogue import Catalogue
from models.city import City, files, generate, template
from models.geo import ring_area_m2
from models.people import DutyDomain, Employment, May, Post, Role, UnitKind
from models.people.check import problems as check_people
from models.people.fit import cells_without_duty, cross_problems
from models.places import AreaKind, CellType

FIELD = {Role.GRID_OFFICER, Role.HANDLER, Role.COLLECTOR}


@cache
def made(name: str) -> City:
    return generate(template=name)


def teams(city: City) -> list[tuple[Post, ...]]:
    """Give the posts of each base cell."""
    cells = [cell for cell in city.places.cells if cell.type is CellType.BASE]
    return [city.people.posts_by_scope[cell.code] for cell in cells]


@pytest.mark.parametrize("name", template.names())
def test_everything_that_officers_read_is_chinese_and_english(name: str) -> None:
    city = made(name)
    names = [(post.name, post.name_en) for post in city.people.posts]
    names += [(unit.name, unit.name_en) for unit in city.people.units]
    names += [(cell.name, cell.name_en) for cell in city.places.cells]
    names += [(line.name, line.name_en) for line in city.places.lines]
    names += [(node.name, node.name_en) for node in city.places.nodes]
    for name_zh, name_en in names:
        assert not name_zh.isascii(), name_zh
        assert name_en.isascii(), name_en
    assert len({post.name for post in city.people.posts}) == len(city.people.posts), "two posts have one name"


@pytest.mark.parametrize("name", template.names())
def test_every_post_has_duties_and_every_cell_somebody_for_each(name: str) -> None:
    city = made(name)
    assert all(post.duties for post in city.people.posts)
    listed = msgspec.toml.decode(files(city)["catalogue.toml"], type=Catalogue)
    assert list(cells_without_duty(city.people, city.places, listed)) == []


def test_the_five_chiefs_look_after_the_four_of_their_source_and_safety() -> None:
    """§4.1.2 (1) names greening, sanitation, facilities and order; the chain asks them about fire too."""
    chiefs = [post for post in made("five_chiefs").people.posts if post.level > 0]
    assert {post.duties for post in chiefs} == {tuple(DutyDomain)}


@pytest.mark.parametrize("name", template.names())
def test_volunteers_who_are_spared_the_urgent_ones_have_no_duty_of_safety(name: str) -> None:
    people = made(name).people
    spared = {person.id for person in people.persons if person.employment is Employment.VOLUNTEER}
    posts = {shift.post for shift in people.shifts if shift.person in spared}
    assert all(DutyDomain.SAFETY not in people.post_by_id[post].duties for post in posts)


def test_rongchang_has_street_chiefs_who_hold_two_sub_districts_each() -> None:
    people = made("street_chief").people
    chiefs = people.posts_by_role[Role.STREET_CHIEF]
    assert len(chiefs) == 2
    assert not set(chiefs[0].scope) & set(chiefs[1].scope)
    holders = {shift.person for shift in people.shifts if shift.post == chiefs[0].id}
    assert all(people.posts_of[person] == chiefs for person in holders)
    assert Role.GRID_OFFICER in people.posts_by_role
    assert not people.posts_by_role.keys() & {Role.ROAD_CHIEF, Role.LANE_CHIEF, Role.BUILDING_CHIEF}


def test_five_chiefs_have_four_levels_and_report_up_all_the_way() -> None:
    people = made("five_chiefs").people
    assert {post.level for post in people.posts} == {0, 1, 2, 3, 4}
    building = people.posts_by_role[Role.BUILDING_CHIEF][0]
    above = [post.role for post in people.parents(building.id)]
    assert above[:3] == [Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF]
    assert building in people.subtree(people.parents(building.id)[2].id), "it stands in the vertical chain"
    assert Role.GRID_OFFICER not in people.posts_by_role


def test_yangjiaping_has_135_units_with_named_managers_whose_every_post_reaches_a_street_chief() -> None:
    city = made("five_chiefs_grid")
    assert len(teams(city)) == 135
    for team in teams(city):
        assert [post.role for post in team] == [Role.GRID_OFFICER]
        assert Role.STREET_CHIEF in {post.role for post in city.people.parents(team[0].id)}
    chief = city.people.posts_by_role[Role.BUILDING_CHIEF][0]
    assert chief not in city.people.subtree(city.people.parents(chief.id)[0].id), "it stands beside the chain"


def test_yichang_has_over_100_communities_and_1_000_grids_with_one_member_each() -> None:
    city = made("yichang")
    assert sum(area.kind is AreaKind.COMMUNITY for area in city.places.areas) > 100
    members = [post for post in city.people.posts if post.id.startswith("grid-")]
    holders = [shift.person for shift in city.people.shifts if shift.post.startswith("grid-")]
    assert len(members) == len(holders) == len(set(holders)) == len(teams(city)) == 1_000
    kinds = {person.employment for person in city.people.persons}
    assert kinds == {Employment.FULL_TIME, Employment.OFFICIAL, Employment.VOLUNTEER}


def test_dawukou_fills_all_seats_of_its_team_in_every_grid() -> None:
    city = made("dawukou")
    for team in teams(city):
        assert Counter(post.seat for post in team) == Counter(city.people.team)
    volunteers = {person.id for person in city.people.persons if person.employment is Employment.VOLUNTEER}
    residents = {shift.post.partition("-")[0] for shift in city.people.shifts if shift.person in volunteers}
    assert residents == {"veteran", "reemployed", "low_income", "public_spirited"}


def test_dongcheng_has_unit_grids_of_about_10_000_square_metres_whose_supervisors_never_handle() -> None:
    city = made("dongcheng")
    cells = [cell for cell in city.places.cells if cell.type is CellType.BASE]
    assert {len(cell.code) for cell in cells} == {15}
    areas_m2 = [ring_area_m2(cell.polygons.array[: cell.polygons.rings[0]]) for cell in cells]
    assert np.median(areas_m2) == pytest.approx(10_000, rel=0.1)
    may = {city.people.may(Role.GRID_OFFICER, key) for key in ("order.vendor", "waste.exposed", "fire.manual")}
    assert may == {May.ASSIST}


def test_shanghai_has_several_partner_groups_in_every_grid() -> None:
    city = made("shanghai")
    partners = Counter(code for unit in city.people.units for code in unit.scope)
    kinds = {unit.kind for unit in city.people.units if unit.scope}
    assert all(partners[cell.code] == 3 for cell in city.places.cells)
    assert kinds == {UnitKind.PROPERTY_COMPANY, UnitKind.SERVICE_GROUP, UnitKind.VOLUNTEER_GROUP}


def test_taoyuan_has_three_members_in_every_grid_and_somebody_there_at_any_hour() -> None:
    city = made("taoyuan")
    start_ms = 1_795_392_000_000  # Monday, 2026-11-23, UTC
    for team in teams(city):
        assert {post.seat for post in team} == set(city.people.team)
        for hour in range(0, 7 * 24, 4):
            assert any(city.people.on_duty(post.id, start_ms + hour * 3_600_000) for post in team)


def test_zhoushan_binds_a_service_group_of_several_to_every_grid() -> None:
    city = made("zhoushan")
    for team in teams(city):
        group = next(post for post in team if post.role is Role.HANDLER)
        assert city.people.unit_by_id[group.unit].kind is UnitKind.SERVICE_GROUP
        assert len({shift.person for shift in city.people.shifts if shift.post == group.id}) > 3


def test_hangzhou_lets_culture_and_tourism_lead_in_the_old_quarter_and_one_team_in_the_street() -> None:
    city = made("hangzhou")
    (quarter,) = [cell for cell in city.places.cells if cell.type is CellType.EXCLUSIVE]
    assert quarter.lead_unit == "culture_tourism"
    assert city.people.unit_by_id["enforcement"].kind is UnitKind.ENFORCEMENT_TEAM
    assert {lead.category for lead in city.template.leads if lead.unit == "enforcement"} >= {"order.*"}


def test_chongqing_has_one_center_four_sections_and_a_team_of_1_3_and_n_in_every_grid() -> None:
    city = made("chongqing_141")
    assert len(city.people.posts_by_role[Role.STREET_OFFICE]) == 1
    assert sum(unit.id.endswith("_section") for unit in city.people.units) == 4
    for team in teams(city):
        assert Counter(post.id.partition("-")[0] for post in team) == Counter(
            ["leader", "officer", "part_timer", "helper"]
        )
        officer = next(post for post in team if post.id.startswith("officer-"))
        assert [post.id.partition("-")[0] for post in city.people.parents(officer.id)][:3] == [
            "leader", "instructor", "center",
        ]  # fmt: skip


def test_haidian_unites_the_bodies_of_an_area_by_community() -> None:
    city = made("haidian")
    communities = {area.code for area in city.places.areas if area.kind is AreaKind.COMMUNITY}
    bodies = [unit for unit in city.people.units if unit.kind is UnitKind.INSTITUTION]
    assert {code for unit in bodies for code in unit.scope} == communities
    assert city.people.posts_by_role.keys() >= FIELD - {Role.GRID_OFFICER}


@pytest.mark.parametrize("name", template.names())
@pytest.mark.parametrize("units", [4, 90])
def test_a_template_fits_a_city_of_any_size(name: str, units: int) -> None:
    city = generate(units, seed=units, template=name)
    contents = files(city)
    assert len(contents["cases.toml"]) > 100
    listed = msgspec.toml.decode(contents["catalogue.toml"], type=Catalogue)
    assert cross_problems(city.people, city.places, listed) == []
    assert check_people(city.people, "people.toml") == []
