from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.detectors.manifest import Input, Manifest, Score, Source, Threshold, Variant, read_manifest
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
    scores=(
        Score(
            precision="fp32",
            split="val",
            label="fire",
            pictures=9,
            with_it=4,
            boxes=5,
            ap50_95=0.1,
            ap50=0.5,
            ap30=0.625,
            hit_ap=0.75,
            ap50_interval=(0.4, 0.6),
        ),
    ),
    int8=Variant(file="own.int8.onnx", sha256="1" * 64),
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


def test_integers_by_default_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(to_toml(msgspec.structs.replace(FULL, int8=None, precision="int8")), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"precision: there is no int8 network; name it under \[int8\]"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"height_px": 180}, r"input\.height_px: 180 is no multiple of 32; correct it, or set multiple_px = 0"),
        ({"fit": "stretch"}, r"input\.multiple_px: .*stretched fills all of the input; use fit = \"letterbox\""),
    ],
)
def test_an_input_that_cannot_be_cut_says_so(tmp_path: Path, wanted: dict[str, Any], said: str) -> None:
    path = tmp_path / "own.toml"
    changed = msgspec.structs.replace(FULL, input=Input(**wanted, multiple_px=32))
    path.write_text(to_toml(changed), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_manifest(path)


def test_an_input_that_is_cut_is_sealed_as_another_one() -> None:
    assert msgspec.structs.replace(FULL, input=Input(multiple_px=32)).seal != FULL.seal
