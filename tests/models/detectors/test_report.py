from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from models.detectors.card import BEGIN, END, figures, summary, with_figures
from models.detectors.evaluation.writing import write
from models.detectors.manifest import Gate, Input, Manifest, Precision, Score, Threshold, Variant, read_manifest
from models.detectors.report import (
    Alarms,
    Clip,
    Foreign,
    ForeignCount,
    Reading,
    Report,
    SeenBox,
    check_points,
    read_report,
    report_path,
)
from models.errors import ConfigError

PRECISIONS: tuple[tuple[Precision, float], ...] = (("fp32", 0.5), ("int8", 0.49))
SCORES = tuple(
    Score(
        precision=precision,
        split="val",
        label="fire",
        pictures=9,
        with_it=4,
        boxes=5,
        ap50_95=0.1,
        ap50=ap50,
        ap30=0.625,
        hit_ap=0.75,
        area_ratio=0.5,
        ap50_interval=(0.4, 0.6),
        hit_ap_interval=(0.7, 0.8),
    )
    for precision, ap50 in PRECISIONS
)
MANIFEST = Manifest(
    name="own",
    version="1.2.3",
    file="own.onnx",
    sha256="0" * 64,
    int8=Variant(file="own.int8.onnx", sha256="1" * 64),
    precision="int8",
    family="anchors",
    labels=("fire",),
    licence="Apache-2.0",
    thresholds={"fire": Threshold(hint=0.25, alarm=0.5)},
)
SEALED = replace(MANIFEST, points_sha256=MANIFEST.seal)
READING = Reading(
    precision="fp32",
    split="test_neg",
    source="pothole",
    label="fire",
    truth="absent",
    pictures=76,
    hint=2,
    alarm=1,
    hint_bounds=(0.0032, 0.0918),
    alarm_bounds=(0.0003, 0.0711),
)
REPORT = Report(
    name="own",
    version="1.2.3",
    networks={"fp32": "0" * 64, "int8": "1" * 64},
    points_sha256=SEALED.seal,
    splits={"val": "validation"},
    scores=SCORES,
    readings=(READING, replace(READING, precision="int8", hint=3)),
    clips=(Clip(precision="int8", clip="pan", label="fire", length=8.0, frame=1.0, hint=1.5, alarm=None),),
    alarms=(
        Alarms(
            precision="int8",
            gate="3 in 10 s",
            label="fire",
            point="hint",
            minutes=57.5,
            frames=100,
            false_frames=9,
            events=2,
            per_hour=2.09,
            per_hour_bounds=(0.25, 7.54),
            clips=2,
            found=1,
            lost_s=0.5,
        ),
        Alarms(precision="int8", gate="flicker: not measurable", label="fire", point="hint", minutes=57.5, frames=100),
    ),
    foreign_counts=(ForeignCount(precision="int8", source="nepal", pictures=483, seen=1),),
    foreign=(Foreign(precision="int8", source="nepal", sha256="2" * 64, seen=("fire",), verdict="real"),),
    pictures={"2" * 64: (SeenBox("fire", 0.5, 0.1, 0.2, 0.3, 0.4),)},
)


def test_points_that_were_edited_after_sealing_are_refused() -> None:
    check_points(SEALED, Path("own.toml"), REPORT)
    for edited in (
        replace(SEALED, thresholds={"fire": Threshold(hint=0.2, alarm=0.5)}),
        replace(SEALED, gate=Gate(min_hits=2)),
        replace(SEALED, overlap=0.5),
        replace(SEALED, int8=None, precision="fp32"),
        replace(SEALED, activation="sigmoid"),
        replace(SEALED, input=Input(dtype="float32", scale=2.0)),
    ):
        with pytest.raises(ConfigError, match=r"points_sha256: .* edited after the points were sealed; restore"):
            check_points(edited, Path("own.toml"), None)


def test_points_that_were_sealed_anew_after_scoring_are_refused() -> None:
    edited = replace(SEALED, thresholds={"fire": Threshold(hint=0.2, alarm=0.5)})
    edited = replace(edited, points_sha256=edited.seal)
    check_points(edited, Path("own.toml"), None)
    with pytest.raises(ConfigError, match=r"read with other points for this very network; restore .*own\.scores\.json"):
        check_points(edited, Path("own.toml"), REPORT)
    trained_again = replace(edited, sha256="3" * 64)
    check_points(replace(trained_again, points_sha256=trained_again.seal), Path("own.toml"), REPORT)


def test_a_scored_manifest_without_its_seal_or_its_report_is_refused() -> None:
    scored = replace(SEALED, scores=SCORES)
    check_points(scored, Path("own.toml"), REPORT)
    with pytest.raises(ConfigError, match="edited after the points were sealed"):
        check_points(replace(scored, points_sha256=None), Path("own.toml"), REPORT)
    with pytest.raises(ConfigError, match=r"scores: it was scored, .*; restore own\.scores\.json"):
        check_points(scored, Path("own.toml"), None)


def test_a_report_is_written_beside_the_manifest_into_it_and_its_card(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.with_suffix(".md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    scored = write(SEALED, REPORT, path)
    assert read_manifest(path) == scored
    assert scored.scores == SCORES
    assert read_report(report_path(path)) == REPORT
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert card.startswith("before\n")
    assert card.endswith("\nafter\n")
    assert "old" not in card
    assert figures(scored, REPORT) in card
    assert write(SEALED, REPORT, path) == scored
    assert path.with_suffix(".md").read_text(encoding="utf-8") == card


def test_integers_that_lose_more_than_a_point_anywhere_are_not_what_opens(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    worse = tuple(replace(one, ap50=one.ap50 - 0.02) if one.precision == "int8" else one for one in SCORES)
    integers = replace(SEALED, precision="int8")
    assert write(integers, REPORT, path).precision == "int8"
    assert write(integers, replace(REPORT, scores=worse), path).precision == "fp32"
    assert read_manifest(path).precision == "fp32"


def test_both_precisions_stand_side_by_side() -> None:
    text = figures(SEALED, REPORT)
    assert "| val | fire | 9 (4) / 5 | 0.500 / 0.490 | 0.100 / 0.100 |" in text
    assert "| val | fire | fp32 | 0.400 to 0.600 | 0.700 to 0.800 |" in text
    assert "| test_neg | pothole | fire | absent | 76 | 2 / 3 (0.3-9.2) | 1 / 1 (0.0-7.1) |" in text
    assert "| pan | 8 | fire | 1 | 1.5 | never |" in text
    assert "| fire | hint | 3 in 10 s | 9 of 100 | 2 | 2.09 (0.25-7.54) | 1 of 2 | 0.5 |" in text
    assert "| fire | hint | flicker: not measurable | - | - | - | - | - |" in text
    assert "| nepal | int8 | 483 | 1 | 0 | 1 | 0 |" in text


def test_the_readme_gets_the_scores_and_the_readings_of_the_tests() -> None:
    text = summary([REPORT])
    assert "| own | val | fire | 9 (4) / 5 | 0.500 / 0.490 |" in text
    assert "| test_neg | pothole | fire | absent | 76 | 2 / 3 | 1 / 1 |" in text


def test_a_card_without_marks_and_a_damaged_report_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"own\.md: .*put the two lines"):
        with_figures("nothing", "", "own.md")
    path = tmp_path / "own.scores.json"
    assert read_report(path) is None
    path.write_bytes(msgspec.json.encode({"name": "own"}))
    with pytest.raises(ConfigError, match=r"is no report: .*; score the detector again"):
        read_report(path)


def test_a_precision_that_is_not_shipped_is_refused() -> None:
    assert MANIFEST.network().file == "own.int8.onnx"
    assert MANIFEST.network("fp32").file == "own.onnx"
    with pytest.raises(ConfigError, match=r"own has no int8 network; use precision = \"fp32\""):
        replace(MANIFEST, int8=None).network("int8")


def test_reading_thresholds_loads_neither_network_nor_opencv() -> None:
    program = (
        "import sys; from models.detectors import thresholds_of; thresholds_of('fire_smoke');"
        "sys.exit(bool({'cv2', 'onnxruntime', 'torch', 'pycocotools'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
