from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import thresholds
from models.errors import ConfigError
from models.places import DeviceKind
from models.thresholds import LabelRule, Thresholds


def load(tmp_path: Path, text: str) -> Thresholds:
    path = tmp_path / "thresholds.toml"
    path.write_text(text, encoding="utf-8")
    return thresholds.load(path)


def test_an_empty_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")
    assert (loaded.min_hits, loaded.window_s, loaded.confirm_s) == (3, 10, 60)
    assert (loaded.verify_s, loaded.clear_s, loaded.hysteresis) == (90, 120, 0.1)
    assert loaded.single_ok == (DeviceKind.GAS, DeviceKind.CO, DeviceKind.BUTTON)
    assert loaded.clear_below(0.5) == pytest.approx(0.45)


def test_the_file_that_ships_states_the_same_defaults(tmp_path: Path) -> None:
    shipped, empty = thresholds.load(), load(tmp_path, "")
    names = [name for name in Thresholds.__struct_fields__ if name not in {"labels", "properties"}]
    assert [getattr(shipped, name) for name in names] == [getattr(empty, name) for name in names]
    assert shipped.properties["temperature"].unit == "Cel"


def test_the_detector_fills_in_what_the_file_leaves_open(tmp_path: Path) -> None:
    text = "min_hits = 4\n[labels.fire]\nalarm = 0.7\nwindow_s = 5\n[labels.smoke]\n"
    resolved = load(tmp_path, text).resolve({"fire": (0.3, 0.5), "smoke": (0.2, 0.4), "vendor": (0.5, 0.5)})
    assert resolved.labels == {
        "fire": LabelRule(hint=0.3, alarm=0.7, min_hits=4, window_s=5),
        "smoke": LabelRule(hint=0.2, alarm=0.4, min_hits=4, window_s=10),
        "vendor": LabelRule(hint=0.5, alarm=0.5, min_hits=4, window_s=10),
    }
    assert resolved.resolve({}) == resolved


def test_a_label_that_no_detector_knows_needs_its_own_scores(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[labels.fier]\n").resolve({"fire": (0.3, 0.5)})
    assert [problem.path for problem in caught.value.problems] == ["labels.fier.hint", "labels.fier.alarm"]


def test_a_hint_above_the_detectors_alarm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels\.fire\.hint: hint 0\.6 is above alarm 0\.5"):
        load(tmp_path, "[labels.fire]\nhint = 0.6\n").resolve({"fire": (0.3, 0.5)})


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        ("[labels.fire]\nhint = 1.2", "labels.fire.hint", "<= 1"),
        ("[labels.fire]\nalarm = -0.1", "labels.fire.alarm", ">= 0"),
        ("[labels.fire]\nalarm = nan", "$", "nan is not a finite number"),
        ("[labels.fire]\nalarm = 0.4\nhint = 0.5", "labels.fire.hint", "above alarm"),
        ("[labels.fire]\nalarn = 0.4", "labels.fire.alarn", "unknown key"),
        ("min_hit = 3", "min_hit", "unknown key"),
        ("min_hits = 0", "min_hits", ">= 1"),
        ("verify_s = 0", "verify_s", "> 0"),
        ("hysteresis = 1.0", "hysteresis", "< 1"),
        ('single_ok = ["laser"]', "single_ok[0]", "laser"),
        ('[properties.temperature]\nunit = "Cel"\nhint = 50', "properties.temperature.alarm", "missing"),
        ("min_hits = ", "$", "is not TOML"),
    ],
)
def test_each_mistake_is_named_with_its_path(tmp_path: Path, text: str, path: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert (problem.path, problem.file) == (path, tmp_path / "thresholds.toml")
    assert what in problem.what
    assert problem.remedy


def test_all_mistakes_are_named_in_one_run_with_the_likely_spelling(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "min_hit = 3\nverify_s = -1\n[labels.fire]\nhint = 7\nalrm = 0.5")
    assert {problem.path for problem in caught.value.problems} == {
        "min_hit",
        "verify_s",
        "labels.fire.hint",
        "labels.fire.alrm",
    }
    assert "did you mean `min_hits`?" in str(caught.value)


SCORES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair)))


@given(st.dictionaries(st.sampled_from(["fire", "smoke", "vendor"]), SCORES))
def test_the_canonical_form_is_read_back_under_its_hash(defaults: dict[str, tuple[float, float]]) -> None:
    resolved = Thresholds().resolve(defaults)
    again = Thresholds.from_bytes(resolved.to_bytes())
    assert (again, again.version, again.to_bytes()) == (resolved, resolved.version, resolved.to_bytes())


def test_a_form_of_an_earlier_release_keeps_its_hash() -> None:
    earlier = b'{"labels":{},"properties":{},"min_hits":5}'  # without the fields that came later
    read = Thresholds.from_bytes(earlier)
    assert read.min_hits == 5
    assert read.version != read.from_bytes(read.to_bytes()).version
