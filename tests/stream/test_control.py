from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models import catalogue, thresholds
from models.config import Mqtt
from models.content import Content
from models.detectors.manifest import thresholds_of
from models.errors import ConfigError, StorageError
from models.messages import Versions
from models.people import People
from models.places import Places
from models.thresholds import LabelRule, Thresholds
from stream.control import INCIDENTS, OBS, Contents, Settings, What, control_records, load, with_scores
from stream.inforce import InForce
from stream.records import ControlRecord, decode_obs
from tests.stream.rig import make_folder

SETTINGS = Settings(tenant="t", late_alarm_s=60.0)
CONTENTS: dict[What, Content] = {
    "places": Places(),
    "people": People(time_zone="Asia/Shanghai"),
    "catalogue": catalogue.load(),
    "thresholds": thresholds.load().resolve({"fire": (0.3, 0.6), "smoke": (0.3, 0.6)}),
    "settings": SETTINGS,
}
STORED = {content.version: content.to_bytes() for content in CONTENTS.values()}


def _in_force(*whats: What) -> InForce:
    in_force = InForce()
    for offset, what in enumerate(whats):
        in_force.put(what, CONTENTS[what].version, offset)
    return in_force


def test_rules_are_those_in_force_at_the_offset_read_back_from_the_log() -> None:
    in_force = _in_force(*OBS)
    changed = Settings(tenant="t", late_alarm_s=5.0)
    in_force.put("settings", changed.version, 10)
    contents = Contents((STORED | {changed.version: changed.to_bytes()}).get)
    assert contents.rules(in_force, 10).late_alarm_s == 60.0
    assert contents.rules(in_force, 11).late_alarm_s == 5.0
    assert contents.rules(in_force, 11).version == CONTENTS["thresholds"].version
    assert contents.rules(in_force, 11) is contents.rules(in_force, 12)


def test_a_world_is_there_once_everything_is_in_force() -> None:
    contents = Contents(STORED.get)
    in_force = _in_force(*INCIDENTS)
    assert contents.world(in_force, len(INCIDENTS) - 1) is None
    world = contents.world(in_force, len(INCIDENTS))
    assert world is not None
    roster = world.versions.roster
    assert roster
    assert world.versions == Versions(
        places=CONTENTS["places"].version,
        people=CONTENTS["people"].version,
        catalogue=CONTENTS["catalogue"].version,
        thresholds=CONTENTS["thresholds"].version,
        roster=roster,
    )


def test_a_version_that_the_log_does_not_hold_is_an_error_not_a_guess() -> None:
    with pytest.raises(StorageError, match="not in the log"):
        Contents(lambda _version: None).rules(_in_force(*OBS), 10)
    with pytest.raises(StorageError, match="in force yet"):
        Contents(STORED.get).rules(InForce(), 10)


def test_only_what_changed_is_put_in_force() -> None:
    in_force = {what: content.version for what, content in CONTENTS.items()} | {"people": "another", "settings": None}
    records = list(control_records("obs", 3, CONTENTS, in_force.get, now_ms=7))
    assert [(record.topic, record.partition, record.at_ms) for record in records] == [("obs", 3, 7)] * 2
    decoded = [decode_obs(record.value or b"") for record in records]
    assert decoded == [
        ControlRecord(at_ms=7, what="people", version=CONTENTS["people"].version),
        ControlRecord(at_ms=7, what="settings", version=SETTINGS.version),
    ]


def test_what_a_detector_finds_alarms_though_the_thresholds_do_not_name_it() -> None:
    points = thresholds_of("fire_smoke")
    assert points.keys() == {"fire", "smoke"}
    shipped = with_scores(thresholds.load(), "fire_smoke").labels
    assert {label: (rule.hint, rule.alarm) for label, rule in shipped.items()} == points
    named = with_scores(Thresholds(labels={"fire": LabelRule(hint=0.3, alarm=0.5)}), "fire_smoke").labels
    assert (named["fire"].hint, named["smoke"].hint) == (0.3, points["smoke"][0])


def test_a_detector_is_needed_only_where_the_thresholds_are_silent() -> None:
    spoken = Thresholds(labels={"fire": LabelRule(hint=0.3, alarm=0.5)})
    assert with_scores(spoken, "no_such_detector").labels["fire"].hint == 0.3
    silent = Thresholds(labels={"fire": LabelRule(hint=0.3)})
    for needed in (silent, Thresholds()):
        with pytest.raises(ConfigError, match="no_such_detector"):
            with_scores(needed, "no_such_detector")


def test_a_folder_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "city", Mqtt())
    loaded = load(tmp_path / "city")
    assert loaded.config.tenant == config.tenant
    assert set(loaded.contents) == set(INCIDENTS)
    (tmp_path / "city" / "people.toml").write_text("time_zone = 7")
    (tmp_path / "city" / "thresholds.toml").write_text("min_hit = 3")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "city")
    files = {Path(problem.file).name for problem in caught.value.problems}
    assert files == {"people.toml", "thresholds.toml"}


def test_other_thresholds_need_no_other_indexes() -> None:
    """A world of 62,000 cells takes seconds to index; an operator who moves a slider must not wait for that."""
    contents = Contents(STORED.get)
    versions = {what: content.version for what, content in CONTENTS.items()}
    first = contents.prepare(versions, now_ms=0)
    moved = msgspec.structs.replace(CONTENTS["thresholds"], verify_s=7.0)
    contents.put(moved)
    second = contents.prepare(versions | {"thresholds": moved.version}, now_ms=0)
    assert second.thresholds_version == moved.version
    assert second.matcher is first.matcher
