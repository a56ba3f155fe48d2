"""What ships: networks, manifest, scores, card and README say the same, and whoever has the pictures can check it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.detectors import load, read_manifest, thresholds_of
from models.detectors.card import figures, summary
from models.detectors.evaluation.integers import float_convolutions, operators
from models.detectors.manifest import ZOO, Manifest
from models.detectors.report import Report, SeenBox, check_points, read_report, report_path

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
SHIPPED = sorted(path.stem for path in ZOO.glob("*.toml"))
MOST_LOST = 0.01
MOST_APART = 0.003


def shipped(name: str) -> tuple[Manifest, Report]:
    report = read_report(report_path(ZOO / f"{name}.toml"))
    assert report is not None
    return read_manifest(name), report


@pytest.mark.parametrize("name", SHIPPED)
def test_the_scores_are_those_of_the_networks_and_points_that_ship(name: str) -> None:
    manifest, report = shipped(name)
    check_points(manifest, ZOO / f"{name}.toml", report)
    assert manifest.points_sha256 == manifest.seal == report.points_sha256
    assert (manifest.version, manifest.scores) == (report.version, report.scores)
    for precision in manifest.precisions:
        network = manifest.network(precision)
        assert hashlib.sha256((ZOO / network.file).read_bytes()).hexdigest() == network.sha256
        assert report.networks[precision] == network.sha256
    assert len(report.pictures) == 50


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_was_measured(name: str) -> None:
    manifest, report = shipped(name)
    card = (ZOO / f"{name}.md").read_text(encoding="utf-8")
    assert figures(manifest, report) in card
    assert "ccuracy and speed on the Pi not measured" in card


def test_the_readme_says_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [line for line in summary(shipped(name)[1] for name in SHIPPED).splitlines() if line not in readme]
    assert missing == [], "paste what models.detectors.card.summary renders"


FIRE_CARD = """\
of the {fires.pictures} `test_cctv` pictures with fire the hint finds {fires.hint} and the alarm {fires.alarm},
with {quiet.hint} and {quiet.alarm} false pictures of {quiet.pictures};
On validation it is {own.hint} and {own.alarm} of {own.pictures}.
Of smoke it finds {smoke.hint} and {smoke.alarm} of {smoke.pictures}.
{unseen.hint} of {unseen.pictures} for fire at the hint and {unseen.alarm} at the alarm
{hazy.hint} and {hazy.alarm} for smoke;
`house_fire` is reported after {house_smoke.hint:.1f} s by its smoke, as fire after {house.hint:.1f} s
and at the alarm point after {house.alarm:.1f} s;
A single frame shows fire at the hint after {house.frame:.1f} s:
Validation AP50 of fire ({ap50[val_fire]}) is below
smoke ({ap50[val_smoke]}) is above both
On `test_cctv` smoke is {ap50[test_cctv_smoke]}, below both
fire hit-AP {hit_ap[test_cctv_fire]}, above
"""
STREET_CARD = """\
it sees a vehicle on {bins[garbage111].seen} of the {bins[garbage111].pictures} garbage pictures,
and a bin or garbage on {bins[nepal].seen} of the {bins[nepal].pictures} vehicle pictures
at the alarm it finds them on {two.alarm} of {two.pictures} test pictures.
on {motor.hint} of {motor.pictures} test pictures without a motor vehicle it sees one.
"""
README = """\
finds {fires.hint} of {fires.pictures} unseen CCTV fires at the hint
with {quiet.hint} false of {quiet.pictures} street pictures, and {fires.alarm} with {quiet.alarm} at the alarm
{precision} is what opens by default;
"""


def test_what_is_told_beside_the_tables_is_what_was_measured() -> None:
    fire, street = (of_default(name) for name in ("fire_smoke", "street_order"))
    for path, sentences, said in (
        (ZOO / "fire_smoke.md", FIRE_CARD, fire),
        (ZOO / "street_order.md", STREET_CARD, street),
        (ROOT / "README.md", README, fire),
    ):
        text = " ".join(path.read_text(encoding="utf-8").split())
        for part in sentences.splitlines():
            assert part.format_map(said) in text, path.name


def of_default(name: str) -> dict[str, object]:
    """What the network that opens by default does, under the names of the sentences above."""
    manifest, report = shipped(name)
    counts = {(r.split, r.source, r.label, r.truth): r for r in report.readings if r.precision == manifest.precision}
    clips = {(clip.clip, clip.label): clip for clip in report.clips}
    scores = {f"{s.split}_{s.label}": s for s in report.scores if s.precision == manifest.precision}
    return {
        "ap50": {key: f"{score.ap50:.3f}".lstrip("0") for key, score in scores.items()},
        "hit_ap": {key: f"{score.hit_ap:.3f}".lstrip("0") for key, score in scores.items()},
        "fires": counts.get(("test_cctv", "all", "fire", "present")),
        "quiet": counts.get(("test_neg", "all", "fire", "absent")),
        "own": counts.get(("val", "all", "fire", "present")),
        "smoke": counts.get(("test_cctv", "all", "smoke", "present")),
        "unseen": counts.get(("test_neg", "pothole", "fire", "absent")),
        "hazy": counts.get(("test_neg", "pothole", "smoke", "absent")),
        "house": clips.get(("house_fire", "fire")),
        "house_smoke": clips.get(("house_fire", "smoke")),
        "bins": {count.source: count for count in report.foreign_counts if count.precision == manifest.precision},
        "two": counts.get(("test", "all", "two_wheeler", "present")),
        "motor": counts.get(("test", "all", "motor_vehicle", "absent")),
        "precision": manifest.precision.upper(),
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_no_convolution_that_ships_in_integers_is_computed_in_float(name: str) -> None:
    manifest, report = shipped(name)
    found = operators(ZOO / manifest.network("int8").file)
    assert float_convolutions(found) == float_convolutions(report.int8_operators) == 0
    assert found.get("QLinearConv") == report.int8_operators["QLinearConv"] > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_integers_lose_nothing_where_sums_cannot_saturate(name: str) -> None:
    _, report = shipped(name)
    usual = {(score.split, score.label): score.ap50 for score in report.scores if score.precision == "int8"}
    assert {(score.split, score.label) for score in report.exact} == usual.keys()
    assert all(abs(score.ap50 - usual[score.split, score.label]) <= MOST_APART for score in report.exact)


@pytest.mark.parametrize("name", SHIPPED)
def test_integers_are_opened_by_default_only_where_they_lose_little(name: str) -> None:
    manifest, report = shipped(name)
    ap50 = {(score.split, score.label, score.precision): score.ap50 for score in report.scores}
    if manifest.precision == "int8":
        for (split, label, precision), value in ap50.items():
            assert precision == "fp32" or ap50[split, label, "fp32"] - value <= MOST_LOST + 1e-9, (split, label)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_points_stand_above_what_the_edge_drops(name: str) -> None:
    for label, (hint, alarm) in thresholds_of(name).items():
        assert 0.17 < hint <= alarm < 1, label


@pytest.mark.parametrize("name", SHIPPED)
def test_no_foreign_detection_is_left_unseen(name: str) -> None:
    assert [row for row in shipped(name)[1].foreign if row.verdict == "not looked at"] == []


@pytest.mark.data
@pytest.mark.parametrize("name", SHIPPED)
def test_whoever_has_the_pictures_sees_the_same_on_fifty_of_them(name: str) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the pictures are not beside the checkout: {DATA} is missing")
    _, report = shipped(name)
    detector = load(name, precision="fp32")
    left = dict(report.pictures)
    for sha256, image in images():
        if sha256 in left:
            assert_alike(
                left.pop(sha256),
                [SeenBox(b.label, b.confidence, b.x1, b.y1, b.x2, b.y2) for b in detector.detect(image)],
            )
    assert left == {}


def images() -> Iterator[tuple[str, np.ndarray]]:
    from models.detectors.training.data import decode, members

    for tar in sorted([*DATA.glob("*val.tar"), *DATA.glob("*test*.tar")]):
        for name, content, _ in members(tar):
            yield hashlib.sha256(content).hexdigest(), decode(content, name)


def assert_alike(before: tuple[SeenBox, ...], now: list[SeenBox]) -> None:
    """Box by box, to a thousandth; one that stands at the floor of what was kept may come or go."""
    for seen, others in ((before, now), (now, before)):
        for box in seen:
            gaps = [gap(box, other) for other in others if other.label == box.label]
            assert min(gaps, default=1.0) <= 1e-3 or box.confidence < 0.052, box


def gap(box: SeenBox, other: SeenBox) -> float:
    sides = ("confidence", "x1", "y1", "x2", "y2")
    return max(abs(float(getattr(box, side)) - float(getattr(other, side))) for side in sides)
