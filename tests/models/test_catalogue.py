from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models import catalogue
from models.catalogue import Catalogue, CodeOrder, Lead, LimitUnit, TimeLimit
from models.catalogue.check import label_problems
from models.detectors.manifest import ZOO, thresholds_of
from models.errors import ConfigError
from models.messages import Priority, Stage
from models.people import DutyDomain, Role

P1, P2, P3, P4 = Priority


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return catalogue.load()


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = catalogue.DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "catalogue.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_a_pre_alarm_is_p2_and_the_alarm_raises_it_to_p1(shipped: Catalogue) -> None:
    for label in ("fire", "smoke"):
        before, after = (
            shipped.category_by_key[shipped.labels[label].category_at(s)] for s in (Stage.PRE_ALARM, Stage.ALARM)
        )
        assert (before.priority_at(Stage.PRE_ALARM), after.priority_at(Stage.ALARM)) == (P2, P1)
        assert before.family == after.family == "fire"
    heat = shipped.category_by_key["fire.heat"]
    assert (heat.priority_at(Stage.PRE_ALARM), heat.priority_at(Stage.RESTORED)) == (P2, P1)


def test_a_pre_alarm_of_street_order_is_not_more_urgent_than_the_matter_itself(shipped: Catalogue) -> None:
    assert shipped.category_by_key["order.bike"].priority_at(Stage.PRE_ALARM) is P4


def test_a_manual_call_is_p1_at_once(shipped: Catalogue) -> None:
    assert shipped.category_by_key["fire.manual"].priority_at(Stage.PRE_ALARM) is P1


def test_the_chain_reaches_each_tier_when_the_table_says(shipped: Catalogue) -> None:
    offsets_s = {
        priority: [rule.after.nominal_ms // 1000 for step, rule in shipped.steps_for(priority) if not step.seat]
        for priority in (P1, P2)
    }
    assert offsets_s == {P1: [0, 0, 60, 120, 180, 300], P2: [0, 180, 360, 900, 1200, 3600]}
    assert [step.roles[0] for step, _ in shipped.steps_for(P1)] == [
        Role.GRID_OFFICER,
        Role.SEAT_OPERATOR,
        Role.LANE_CHIEF,
        Role.ROAD_CHIEF,
        Role.STREET_CHIEF,
        Role.STREET_OFFICE,
        Role.DISTRICT_OFFICE,
    ]
    assert {rule.to for _, rule in shipped.steps_for(P1)} == {"all"}
    assert [rule.mode for _, rule in shipped.steps_for(P4)][:2] == ["digest", "list"]


def test_the_clocks_are_those_of_the_table(shipped: Catalogue) -> None:
    assert shipped.clocks.first_ack[P1].nominal_ms == 60_000
    assert shipped.clocks.pre_alarm_decision[P1].nominal_ms == 90_000
    assert P4 not in shipped.clocks.arrival
    assert (shipped.merge_m, shipped.merge_s) == (50, 600)


def test_a_list_limit_goes_before_the_clock(shipped: Catalogue) -> None:
    assert shipped.handling_limit("gas.leak") == TimeLimit(value=1, unit=LimitUnit.URGENT_HOUR)
    assert shipped.handling_limit("fire.manual") == shipped.clocks.handling[P1]
    with pytest.raises(KeyError):
        shipped.handling_limit("no.such")


def test_work_time_is_told_from_continuous_time() -> None:
    day = TimeLimit(value=2, unit=LimitUnit.WORK_DAY)
    assert (day.is_continuous, day.nominal_ms) == (False, 16 * 3_600_000)
    assert TimeLimit(value=1.5, unit=LimitUnit.MINUTE).is_continuous


@pytest.mark.parametrize(
    ("old", "new", "path", "what"),
    [
        ('lead_unit = "emergency"\n', "", "categories[0].lead_unit", "missing"),
        ('basis = "样例责任清单：应急处置"\n', "", "categories[0].basis", "missing"),
        ('basis = "样例责任清单：应急处置"', 'basis = ""', "categories[0].basis", "length"),
        ('basis = "样例责任清单：应急处置"', 'basis = "  "', "categories[0].basis", "regex"),
        ('source = "proposal"\n\n', 'source = "hearsay"\n\n', "categories[0].source", "hearsay"),
        (
            'codes = { gridwarden-ext = "0599"',
            'codes = { elsewhere = "0599"',
            "categories[0].codes.elsewhere",
            "no code list",
        ),
        ('domain = "safety"', 'domain = "fire"', "categories[0].domain", "fire"),
        ('evidence = ["before"', 'evidence = ["dawn"', "categories[0].evidence[0]", "dawn"),
        ('settle_roles = ["grid_officer"', 'settle_roles = ["boss"', "categories[20].settle_roles[0]", "boss"),
        ('value = 1, unit = "urgent_hour"', 'value = 1, unit = "hour"', "clocks.handling.P1.unit", "hour"),
        ('= "0598"', '= "0599"', "categories[1].codes.gridwarden-ext", "is used twice"),
        ('key = "fire.flame.single"', 'key = "fire.flame.confirmed"', "categories[1].key", "stands twice"),
        (
            'smoke = { pre_alarm = "fire.smoke.single"',
            'smoke = { pre_alarm = "fire.smog"',
            "labels.smoke.pre_alarm",
            "smog",
        ),
        ('roles = ["lane_chief"]', 'roles = ["lane_boss"]', "steps[2].roles[0]", "lane_boss"),
        ("step = 2\n", "step = 1\n", "steps[3].step", "stands twice"),
        ("value = 6, unit", "value = 2, unit", "steps[3].rules.P2.after", "before the step below"),
        ('certainty = "Observed"', 'certainty = "Sure"', "categories[0].cap.certainty", "Sure"),
        ("merge_m = 50", "merge_km = 50", "merge_km", "unknown key"),
        ("P1 = { value = 90", "P0 = { value = 90", "clocks.pre_alarm_decision.P0", "P0"),
    ],
)
def test_each_mistake_is_named_with_its_path(tmp_path: Path, old: str, new: str, path: str, what: str) -> None:
    file = edited(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        catalogue.load(file)
    assert any(p.path == path and what in p.what for p in caught.value.problems), caught.value
    assert all(problem.file == file for problem in caught.value.problems)


def test_every_item_has_what_a_list_must_say(shipped: Catalogue) -> None:
    """Codes of both orders, a unit, a basis, evidence; and a limit of its own or that of its priority."""
    for category in shipped.categories:
        orders = {shipped.code_lists[name].order for name in category.codes}
        swapped = {code[:2] for code in category.codes.values()} & {"04", "05"}
        assert orders == set(CodeOrder) or not swapped, category.key
        assert len(swapped) in {0, 2} or "cjt214-sample" in category.codes, category.key
        assert category.lead_unit, category.key
        assert category.basis, category.key
        assert bool(category.evidence) is (category.cap is not None), category.key
        assert shipped.handling_limit(category.key) is not None, category.key


def test_every_duty_of_the_chiefs_has_events(shipped: Catalogue) -> None:
    assert {category.domain for category in shipped.categories} == set(DutyDomain)
    assert shipped.category_by_key["green.tree_down"].domain is DutyDomain.LANDSCAPE


def test_the_two_orders_swap_street_order_and_sudden_events(shipped: Catalogue) -> None:
    codes = {key: shipped.category_by_key[key].codes for key in ("gas.leak", "order.vendor", "fire.manual")}
    assert codes["gas.leak"] == {"yuncheng-sample": "0502", "cjt214-sample": "0403"}
    assert codes["order.vendor"] == {"yuncheng-sample": "0401", "cjt214-sample": "0501"}
    assert [code[:2] for code in codes["fire.manual"].values()] == ["05", "04"]


def test_every_label_of_the_detectors_means_something(shipped: Catalogue) -> None:
    labels = ["fire", "smoke", "garbage", "garbage_bin", "overflow", "motor_vehicle", "two_wheeler", "three_wheeler"]
    assert label_problems(shipped, dict.fromkeys(labels, "detector")) == []
    assert {label: shipped.labels[label].alarm for label in ("garbage", "overflow")} == {
        "garbage": "waste.exposed",
        "overflow": "waste.overflow",
    }
    for manifest in sorted(ZOO.glob("*.toml")):
        known = thresholds_of(manifest.stem)
        assert label_problems(shipped, dict.fromkeys(known, manifest.stem)) == []


def _lead(category: str, area: str, unit: str) -> Lead:
    return Lead(category=category, area=area, unit=unit, basis=f"{unit} in {area}", source="proposal")


def test_the_narrowest_area_and_then_the_narrowest_category_leads(shipped: Catalogue) -> None:
    rows = (_lead("order.*", "street", "s"), _lead("*", "cell", "c"), _lead("order.bike", "cell", "b"))
    matrix = msgspec.structs.replace(shipped, leads=rows)
    asked = [("order.bike", ["cell", "street"]), ("order.car", ["cell", "street"]), ("order.car", ["other", "street"])]
    assert [matrix.lead(key, codes).unit for key, codes in asked] == ["b", "c", "s"]
    assert matrix.lead("order.car", ["street"]).basis == "s in street"
    assert matrix.lead("gas.leak", ["street"]) == ("gas_company", shipped.category_by_key["gas.leak"].basis)


def test_two_leads_for_one_category_and_area_are_refused(tmp_path: Path) -> None:
    row = '{ category = "order.*", area = "a", unit = "%s", basis = "b", source = "proposal" },'
    file = edited(tmp_path, "merge_m = 50", f"leads = [{row % 'one'}{row % 'other'}]\nmerge_m = 50")
    with pytest.raises(ConfigError, match=r"leads\[1\]: two leads for order\.\* in a"):
        catalogue.load(file)


def test_a_label_without_a_category_is_named(shipped: Catalogue) -> None:
    (problem,) = label_problems(shipped, {"fire": "fire_smoke", "goat": "fire_smoke"})
    assert (problem.path, "fire_smoke" in problem.what) == ("labels.goat", True)


def test_the_canonical_form_is_read_back_under_its_hash(shipped: Catalogue) -> None:
    again = Catalogue.from_bytes(shipped.to_bytes())
    assert (again, again.version, again.to_bytes()) == (shipped, shipped.version, shipped.to_bytes())
