from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from models.detectors import Detector, commands, read_manifest
from models.detectors.card import BEGIN, END
from models.detectors.evaluation import evaluate as evaluation
from models.detectors.evaluation import events
from models.detectors.evaluation.bounds import poisson
from models.detectors.evaluation.evaluate import evaluate
from models.detectors.evaluation.events import SHOWN
from models.detectors.evaluation.gate import Sighting
from models.detectors.evaluation.writing import write
from models.detectors.manifest import Gate, Threshold, Variant
from models.detectors.report import Report, read_report, report_path
from models.detectors.training.recipes import FIRE_SMOKE, STREET
from models.detectors.training.toml import to_toml
from models.errors import ConfigError, SourceError
from tests.models.detectors.test_watch import write_clip
from tests.models.detectors.tiny_data import burning, pack, street, write_tiny_data
from tests.models.detectors.tiny_onnx import network, write_detector


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The tiny data folder with test pictures and clips: three fires of another source, twelve quiet streets."""
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    write_tiny_data(folder)
    cctv = {f"c{i}": (burning(90 + i), "0 .5 .55 .4 .8\n" if i < 3 else "") for i in range(5)}
    quiet = {f"q{i}": (street(100 + i), "") for i in range(12)}
    pack(folder / "fire_smoke_test_cctv.tar", cctv)
    pack(folder / "fire_smoke_test_neg.tar", quiet)
    roads = {f"t{i}": (street(120 + i), "3 .5 .5 .2 .2\n" if i % 2 else "0 .5 .5 .5 .5\n") for i in range(4)}
    pack(folder / "street_test.tar", roads)
    with (folder / "fire_smoke_manifest.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"\n{name}.jpg,test_cctv,fire8,r,CC BY 4.0,1,0,96,72,yes,g" for name in cctv)
        for index, name in enumerate(quiet):
            file.write(f"\n{name}.jpg,test_neg,{('nepal', 'pothole')[index % 2]},r,CC BY 4.0,0,0,96,72,neg,g")
    labelled = {0: "garbage|garbage_bin|overflow", 1: "motor_vehicle|two_wheeler|three_wheeler"}
    with (folder / "street_manifest.csv").open("a", encoding="utf-8") as file:
        names = {0: "garbage111", 1: "nepal"}
        file.writelines(f"\nt{i}.jpg,test,{names[i % 2]},r,CC BY 4.0,{labelled[i % 2]},0" for i in range(4))
    for name in {clip for clips in SHOWN.values() for clip in clips} | {"street_pan_0"}:
        write_clip(folder / "clips" / f"{name}.mp4")
    return folder


def detector(folder: Path, labels: tuple[str, ...], found: dict[str, float]) -> Path:
    """A network that sees the same everywhere, somebody's own, sealed; returns its manifest."""
    boxes = np.tile(np.array([96, 50, 224, 220], np.float32), (1, len(found), 1))
    scores = np.zeros((1, len(found), len(labels)), np.float32)
    for row, (label, score) in enumerate(found.items()):
        scores[0, row, labels.index(label)] = score
    path = write_detector(folder, network(boxes, scores), labels=labels)
    manifest = read_manifest(path)
    path.write_text(to_toml(replace(manifest, points_sha256=manifest.seal)), encoding="utf-8")
    return path


def test_a_network_that_sees_fire_everywhere_is_measured_as_that(data: Path, tmp_path: Path) -> None:
    report = evaluate(detector(tmp_path, FIRE_SMOKE, {"fire": 0.7, "smoke": 0.4}), data)
    readings = {(r.split, r.source, r.label, r.truth): (r.hint, r.alarm, r.pictures) for r in report.readings}
    assert readings["test_cctv", "all", "fire", "present"] == (3, 3, 3)
    assert readings["test_neg", "all", "fire", "absent"] == (12, 12, 12)
    assert readings["test_neg", "pothole", "fire", "absent"] == (6, 6, 6)
    assert readings["test_neg", "nepal", "smoke", "absent"] == (6, 0, 6)
    scores = {(s.split, s.label): s for s in report.scores}
    assert (scores["test_cctv", "fire"].pictures, scores["test_cctv", "fire"].boxes) == (5, 3)
    assert scores["test_cctv", "fire"].hit_ap_interval is not None
    assert scores["val", "fire"].ap50_interval is None
    clips = {(c.clip, c.label): (c.frame, c.hint, c.alarm) for c in report.clips}
    # Three frames that the edge publishes of one track: 0, .5 and 1 s, at five frames a second .6 and 1.2.
    assert clips["house_fire", "fire"] == (0.0, 1.2, 1.2)
    assert clips["street_pan_0", "smoke"] == (0.0, 1.2, None)
    alarms = {(a.label, a.point, a.gate): (a.false_frames, a.events, a.found) for a in report.alarms}
    assert alarms["fire", "hint", "3 in 10 s"] == (480, 12, 2)
    assert alarms["smoke", "alarm", "3 in 10 s"] == (0, 0, 0)
    assert alarms["fire", "hint", "one camera over all pans, with hysteresis"][1] == 1
    assert [a.events for a in report.alarms if a.gate.startswith("flicker")] == [None] * 4
    assert len(report.pictures) == 19


def test_each_part_of_the_gate_has_its_row_with_what_it_spares_and_costs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[float] = []

    def count(_seen: Sighting, _threshold: Threshold, gate: Gate, **_: float) -> int:
        ended.append(gate.hysteresis)
        return 1

    monkeypatch.setattr(events, "count_alarms", count)
    report = evaluate(detector(tmp_path, FIRE_SMOKE, {"fire": 0.7}), data)
    rows = {a.gate: a for a in report.alarms if (a.label, a.point) == ("fire", "hint")}
    assert [gate.partition(":")[0] for gate in rows] == [
        "single frame",
        "3 in 10 s",
        "3 in 10 s, growth counts",
        "one camera over all pans, without hysteresis",
        "one camera over all pans, with hysteresis",
        "flicker",
    ]
    assert ended == [0.0, Gate().hysteresis] * 2
    gate = rows["3 in 10 s"]
    # Twelve pans of eight seconds, an event on each.
    assert (gate.minutes, gate.frames, gate.per_hour) == (1.6, 480, 450)
    assert gate.per_hour_bounds == pytest.approx([bound / (1.6 / 60) for bound in poisson(12)], abs=0.1)
    assert (rows["single frame"].lost_s, gate.lost_s) == (0.0, 1.2)


def test_integers_are_scored_once_more_with_sums_that_cannot_saturate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[object, object]] = []

    class Spy(Detector):
        def __init__(self, path: Path, **how: Any) -> None:
            opened.append((how["precision"], how["is_exact"]))
            super().__init__(path, **how)

    monkeypatch.setattr(evaluation, "Detector", Spy)
    monkeypatch.setattr(evaluation, "operators", lambda _: {})  # of a network that is constant none are left
    path = detector(tmp_path, STREET, {"garbage": 0.9, "overflow": 0.03})
    manifest = read_manifest(path)
    both = replace(manifest, int8=Variant(file=manifest.file, sha256=manifest.sha256))
    path.write_text(to_toml(replace(both, points_sha256=both.seal)), encoding="utf-8")
    report = evaluate(path, data)
    assert opened == [("int8", True)]
    assert {box.label for seen in report.pictures.values() for box in seen} == {"garbage"}, "nothing below .05 is kept"
    assert report.exact == tuple(score for score in report.scores if score.precision == "int8")


def test_what_only_the_other_source_draws_is_listed_with_what_a_person_found(data: Path, tmp_path: Path) -> None:
    path = detector(tmp_path, STREET, {"garbage": 0.9, "three_wheeler": 0.45})
    report = evaluate(path, data)
    assert {row.split for row in report.readings} == {"val", "test"}
    assert {(c.source, c.pictures, c.seen) for c in report.foreign_counts} == {("garbage111", 2, 0), ("nepal", 2, 2)}
    assert {(row.source, row.seen, row.verdict) for row in report.foreign} == {("nepal", ("garbage",), "not looked at")}
    looked_at = replace(report, foreign=tuple(replace(row, verdict="real") for row in report.foreign))
    write(read_manifest(path), looked_at, path)
    assert {row.verdict for row in evaluate(path, data).foreign} == {"real"}


def test_edited_points_are_refused_before_a_test_is_read(data: Path, tmp_path: Path) -> None:
    path = detector(tmp_path, FIRE_SMOKE, {"fire": 0.7})
    manifest = read_manifest(path)
    edited = replace(manifest, thresholds=manifest.thresholds | {"fire": Threshold(hint=0.2, alarm=0.9)})
    path.write_text(to_toml(edited), encoding="utf-8")
    for tar in data.glob("*test*.tar"):
        tar.unlink()
    with pytest.raises(ConfigError, match="edited after the points were sealed"):
        evaluate(path, data)
    path.write_text(to_toml(manifest), encoding="utf-8")
    with pytest.raises(SourceError, match="no fire_smoke_test_cctv"):
        evaluate(path, data)


def test_the_command_prints_and_writes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = detector(tmp_path, STREET, {"garbage": 0.9})
    path.with_suffix(".md").write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    words = ["eval", str(path), "--data", str(data), "--cache", str(tmp_path / "cache")]
    args = parser.parse_args(words)
    assert args.run(args) == 0
    assert "| test | garbage | 2 (2) / 2 |" in capsys.readouterr().out
    assert not report_path(path).exists()
    args = parser.parse_args([*words, "--json", "--write"])
    assert args.run(args) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["name"] == "tiny"
    report = read_report(report_path(path))
    assert isinstance(report, Report)
    assert read_manifest(path).scores == report.scores
    assert "| test | garbage | 2 (2) / 2 |" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_a_missing_clip_is_named(data: Path, tmp_path: Path) -> None:
    (data / "clips" / "wildfire.mp4").unlink()
    with pytest.raises(SourceError, match=r"clips: wildfire missing; give the folder with --data"):
        evaluate(detector(tmp_path, FIRE_SMOKE, {"fire": 0.7}), data)


def test_labels_of_ones_own_are_scored_where_they_are_drawn(data: Path, tmp_path: Path) -> None:
    report = evaluate(detector(tmp_path, ("smoke", "cat", "fire"), {"fire": 0.7}), data)
    pictures = {(score.split, score.label): score.pictures for score in report.scores}
    assert pictures["test_cctv", "fire"] == pictures["test_cctv", "smoke"] == 5
    assert pictures["test_cctv", "cat"] == 0
    nothing = detector(tmp_path, ("cat",), {"cat": 0.7})
    with pytest.raises(ConfigError, match=r"labels: none of cat is drawn there; label fire, smoke, garbage, "):
        evaluate(nothing, data)
