from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from models.detectors.card import figures, with_figures
from models.detectors.manifest import (
    ZOO,
    Clip,
    Manifest,
    Reading,
    Score,
    Source,
    Threshold,
    read_manifest,
    thresholds_of,
)
from models.detectors.training.toml import to_toml
from models.errors import ConfigError

FULL = Manifest(
    name="own",
    version="1.2.3",
    file="own.onnx",
    sha256="0" * 64,
    family="anchors",
    labels=("fire", "smoke"),
    licence="Apache-2.0",
    thresholds={"fire": Threshold(hint=0.25, alarm=0.5), "smoke": Threshold(hint=0.5, alarm=0.75)},
    parameters=12,
    sources=(Source(name="s", repository='quoted "name" é', licence="CC BY 4.0", pictures=3),),
    splits={"val": "validation"},
    scores=(
        Score(
            split="val", label="fire", pictures=9, with_it=4, boxes=5, ap50_95=0.1, ap50=0.5, ap30=0.625, hit_ap=0.75
        ),
    ),
    readings=(
        Reading(split="test", label="fire", point="hint", truth="absent", seen=2, pictures=76),
        Reading(split="test", label="fire", point="alarm", truth="absent", seen=1, pictures=76),
    ),
    clips=(
        Clip(clip="pan", label="fire", point="hint", fps=4.0, seconds=1.5),
        Clip(clip="pan", label="fire", point="alarm", fps=4.0),
    ),
)


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(to_toml(FULL), encoding="utf-8")
    assert read_manifest(path) == FULL


def test_a_name_nobody_ships_is_told_which_are() -> None:
    with pytest.raises(ConfigError, match=r"there is no detector nothing; use a shipped detector \(.*fire_smoke"):
        read_manifest("nothing")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ('wieght = "x"', "wieght: unknown key"),
        ('version = "1"', "version"),
        ('sha256 = "abc"', "sha256"),
        ('file = "../elsewhere.onnx"', "file"),
    ],
)
def test_every_mistake_is_named(tmp_path: Path, change: str, named: str) -> None:
    path = tmp_path / "own.toml"
    key = change.partition(" = ")[0]
    kept = "\n".join(line for line in to_toml(FULL).splitlines() if not line.startswith(f"{key} = "))
    path.write_text(f"{change}\n{kept}", encoding="utf-8")
    with pytest.raises(ConfigError, match=named):
        read_manifest(path)


def test_a_hint_above_the_alarm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    wrong = msgspec.structs.replace(FULL, thresholds={**FULL.thresholds, "fire": Threshold(hint=0.6, alarm=0.5)})
    path.write_text(to_toml(wrong), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"thresholds\.fire\.hint: hint 0\.6 is above alarm 0\.5"):
        read_manifest(path)


def test_labels_and_thresholds_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(to_toml(msgspec.structs.replace(FULL, labels=("fire", "fog"))), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"thresholds\.fog(.|\n)*thresholds\.smoke"):
        read_manifest(path)


def test_a_card_is_rendered_between_its_marks_only() -> None:
    card = f"before\n{with_marks('old')}\nafter\n"
    new = with_figures(card, FULL)
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert "| pan | fire | 1.5 | never |" in new
    assert "| test | all | fire | absent | 76 | 2 | 1 |" in new
    assert with_figures(new, FULL) == new


def with_marks(text: str) -> str:
    from models.detectors.card import BEGIN, END

    return f"{BEGIN}\n{text}\n{END}"


def test_the_shipped_card_says_what_the_shipped_manifest_says() -> None:
    card = (ZOO / "fire_smoke.md").read_text(encoding="utf-8")
    assert figures(read_manifest("fire_smoke")) in card


def test_the_shipped_points_stand_above_what_the_edge_drops() -> None:
    for hint, alarm in thresholds_of("fire_smoke").values():
        assert 0.17 < hint < alarm < 0.95


def test_reading_thresholds_loads_neither_network_nor_opencv() -> None:
    program = (
        "import sys; from models.detectors import thresholds_of; thresholds_of('fire_smoke');"
        "sys.exit(bool({'cv2', 'onnxruntime', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
