"""``gridwarden up`` as a person or a script uses it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.demo.render import PATH
from models import people, places
from models.supervise import gridwarden
from tests.chain import oracle
from tests.chain.conftest import Up


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(gridwarden(*args), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_demo_clip_alerts_a_named_officer_of_the_right_cell(up: Callable[..., Up]) -> None:
    chain = up("--clip", str(PATH), "--until-alert", "--timeout", "120", "--json")
    report = chain.report(150)

    [incident] = report["incidents"]
    city = places.load(chain.state / "city" / "places.geojson")
    assert incident["cell"] == city.device_by_id["cam-01"].cell
    assert incident["category"].startswith("fire.")
    assert incident["stage"] == "pre_alarm"
    assert incident["priority"] == "P2"
    assert incident["evidence_count"] >= 3
    alert = report["alerts"][0]
    assert alert["incident_id"] == incident["incident_id"]
    staff = people.load(chain.state / "city" / "people.toml")
    assert alert["to"]["person"] in staff.person_by_id
    assert alert["reason"]
    assert alert["step"] == 0
    stages = report["timeline_ms"]
    order = ["captured", "sent", "ingested", "decided", "matched", "ordered", "stored", "notified"]
    assert [name for name in stages if name in order] == order
    assert list(stages.values()) == sorted(stages.values())
    assert report["observations"] >= 3
    assert report["dead_letters"] == 0
    assert report["pre_alarms_cleared"] == 0


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_smoke_sensor_beside_the_camera_makes_the_pre_alarm_an_alarm(up: Callable[..., Up]) -> None:
    chain = up("--clip", str(PATH), "--until-end", "--timeout", "150", "--json")
    command = Path(f"/proc/{chain.pid('edge')}/cmdline").read_bytes().split(b"\0")
    began_ms = int(command[command.index(b"--clip-started-at") + 1])
    everybody_listens_ms = (chain.state / "alerts.json").stat().st_mtime_ns // 1_000_000
    assert began_ms >= everybody_listens_ms, "a part of the clip is over before anybody could see it"
    recorder = oracle.Recorder(chain.config.mqtt, chain.config.tenant)
    try:
        chain.until(lambda: recorder.alerts, "the camera alone makes a pre-alarm")
        with (chain.state / "city" / "readings" / "smoke-01.jsonl").open("a") as file:
            file.write('{"property": "smoke", "value": 1, "unit": "1"}\n')
        report = chain.report(150)
    finally:
        recorder.stop()
    [incident] = report["incidents"]
    assert (incident["stage"], incident["priority"]) == ("alarm", "P1")
    lane_chiefs = [alert for alert in recorder.alerts if alert.step == 1]
    assert lane_chiefs, "P1 tells the lane chief at once"
    assert all(alert.stage == "alarm" for alert in lane_chiefs)


@pytest.mark.slow
def test_a_request_to_stop_ends_every_process(up: Callable[..., Up]) -> None:
    chain = up("--clip", str(PATH))
    assert chain.process.stdout is not None
    assert any(b"Command center" in line for line in chain.process.stdout), chain.logs()
    pids = [chain.pid(name) for name in ("broker", "stream", "alerts", "edge")]
    chain.process.send_signal(signal.SIGINT)
    assert chain.process.wait(40) == 0, chain.logs()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_request_to_stop_while_starting_is_heard(up: Callable[..., Up]) -> None:
    chain = up("--clip", str(PATH))
    pid = chain.pid("broker")
    chain.process.send_signal(signal.SIGINT)
    assert chain.process.wait(40) == 130, chain.logs()
    assert not Path(f"/proc/{pid}").exists()


def test_a_clip_that_is_not_there_is_named_before_anything_starts(tmp_path: Path) -> None:
    done = run("up", "--state", str(tmp_path), "--clip", "nowhere.mp4")
    assert done.returncode == 2
    assert "nowhere.mp4: --clip: there is no such file" in done.stderr


def test_more_clips_than_cameras_are_refused(tmp_path: Path) -> None:
    done = run("up", "--state", str(tmp_path), *["--clip", str(PATH)] * 4)
    assert done.returncode == 2
    assert "4 clips for 3 cameras" in done.stderr


def test_check_says_every_mistake_of_a_folder_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "city"
    assert run("city", "--units", "135", "--out", str(folder)).returncode == 0
    assert run("check", str(folder)).returncode == 0
    with (folder / "gridwarden.toml").open("a") as file:
        file.write("\n[alerts]\ncolour = 1\n")
    text = (folder / "places.geojson").read_text()
    city = json.loads(text)
    device = next(item for item in city["features"] if item["properties"].get("id") == "cam-01")
    device["geometry"]["coordinates"] = [0.0, 0.0]
    (folder / "places.geojson").write_text(json.dumps(city))
    done = run("check", str(folder))
    assert done.returncode == 2
    assert "alerts.colour: unknown key" in done.stderr
    assert "cam-01" in done.stderr
    assert "2 problem(s)" in done.stderr
