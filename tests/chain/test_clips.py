"""The clips beside the checkout: real fires alert an officer, streets without fire alert nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models import places
from tests.chain.conftest import Up

CLIPS = Path(__file__).parents[2].parent / "shared" / "data" / "clips"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips at {CLIPS}: they are not part of the repository"),
]


@pytest.mark.parametrize("clip", ["cctv_car_fire.mp4", "house_fire.mp4"])
def test_a_real_fire_alerts_an_officer_of_its_cell_within_45_seconds(clip: str, up: Callable[..., Up]) -> None:
    chain = up("--clip", str(CLIPS / clip), "--until-alert", "--timeout", "45", "--json")
    report = chain.report(90)
    city = places.load(chain.state / "city" / "places.geojson")
    incidents = report["incidents"]
    assert {incident["cell"] for incident in incidents} == {city.device_by_id["cam-01"].cell}
    assert all(incident["category"].startswith("fire.") for incident in incidents)
    assert report["alerts"]


@pytest.mark.parametrize(
    "pans",
    [("street_pan_0.mp4", "street_pan_1.mp4"), ("garbage_pan_0.mp4", "garbage_pan_1.mp4")],
    ids=["street", "garbage"],
)
def test_a_street_without_fire_makes_no_incident_in_any_stage(pans: tuple[str, ...], up: Callable[..., Up]) -> None:
    clips = [word for pan in pans for word in ("--clip", str(CLIPS / pan))]
    report = up(*clips, "--until-end", "--timeout", "90", "--json").report(120)
    assert report["incidents"] == []
    assert report["alerts"] == []
    assert report["dead_letters"] == 0
