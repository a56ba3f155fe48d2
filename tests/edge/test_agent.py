from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge import moment
from edge.agent import Agent, ended_path, outbox_path
from edge.machine import machine_hash
from edge.outbox import Outbox
from edge.sensors import CHUNK_BYTES
from models.config import Camera, Config, Mqtt, Sensor
from models.detectors import Box, Detector, load
from models.messages import NO_FAULT, Detection, Fault, Lane, Observation, Quality, Reading, Status, decode
from models.seal import Keyring
from tests.conftest import embedded_broker, wait_until
from tests.edge.conftest import Stream, serving, write_config
from tests.edge.red import street, write_clip


@contextmanager
def running(
    config: Config, *, clip_started_at_ms: int | None = None, detector: Callable[[str], Detector] = load
) -> Iterator[None]:
    """An agent on a thread of this process."""
    stop = threading.Event()
    agent = Agent(config, lambda: detector(config.edge.detector), clip_started_at_ms=clip_started_at_ms)
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def faults(stream: Stream, device: str) -> list[Fault]:
    return [o.payload for o in stream.by_device(device) if isinstance(o.payload, Fault)]


def detections(stream: Stream, device: str) -> list[Detection]:
    return [o.payload for o in stream.by_device(device) if isinstance(o.payload, Detection)]


def test_a_clip_becomes_sealed_detections_a_picture_and_an_end(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream
) -> None:
    clip = write_clip(tmp_path / "clip.avi")
    config = write_config(tmp_path, mqtt_broker, cameras=(Camera(device="cam-01", source=clip.name),))
    ended_path(config).touch()  # left behind by an earlier run
    with running(config):
        wait_until(lambda: bool(stream.pictures))
        wait_until(lambda: ended_path(config).exists() and ended_path(config).stat().st_size > 0)
        beats = len(stream.heartbeats)
        wait_until(lambda: len(stream.heartbeats) > beats + 3)  # it goes on
    first, *rest = stream.by_device("cam-01")
    assert isinstance(first.payload, Detection)
    assert (first.payload.label, first.payload.detector, first.lane, first.quality) == ("fire", "red", "alarm", "live")
    assert first.payload.box == pytest.approx((0.6, 0.4, 0.7, 0.5), abs=1e-3)
    assert first.payload.confidence == pytest.approx(0.9, abs=0.05)
    assert first.inferred_mono_ms is not None
    assert first.inferred_mono_ms >= first.observed_mono_ms
    assert rest
    assert {o.payload.track_id for o in rest if isinstance(o.payload, Detection)} == {first.payload.track_id}
    assert stream.pictures[0][0].evidence_id == first.payload.evidence_id
    said = msgspec.json.decode(ended_path(config).read_bytes())
    assert said["clips"][0] | {"frames": 0} == {
        "device_id": "cam-01", "source": "clip.avi", "frames": 0, "ended": True, "error": "",
    }  # fmt: skip
    assert {beat.device_id for beat in stream.heartbeats} == {"cam-01", "edge-01"}


def test_a_restarted_agent_goes_on_at_wall_time_under_a_new_boot(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream
) -> None:
    clip = write_clip(tmp_path / "clip.avi", seconds=60.0, red_from_s=20.0)
    config = write_config(tmp_path, mqtt_broker, cameras=(Camera(device="cam-01", source=clip.name),))
    for _ in range(2):
        already = len(stream.by_device("cam-01"))
        with running(config, clip_started_at_ms=moment.now().wall_ms - 30_000):
            wait_until(lambda: len(stream.by_device("cam-01")) > already)  # noqa: B023  # called at once
    observations = stream.by_device("cam-01")
    assert len({o.boot_id for o in observations}) == 2
    assert len({o.outbox_id for o in observations}) == 1
    assert [o.seq for o in observations] == list(range(1, len(observations) + 1))


def test_status_is_retained_online_and_offline_after_an_orderly_stop(
    tmp_path: Path, mqtt_broker: Mqtt, keys: Keyring
) -> None:
    config = write_config(tmp_path, mqtt_broker)
    with running(config), serving(mqtt_broker, keys, name="first") as first:
        wait_until(lambda: bool(first.statuses))
    with serving(mqtt_broker, keys, name="second") as second:
        wait_until(lambda: bool(second.statuses))
    online, offline = (msgspec.json.decode(side.statuses[0], type=Status) for side in (first, second))
    assert (online.online, offline.online) == (True, False)
    assert online.connect_id == offline.connect_id


def test_a_clip_that_does_not_open_is_a_fault_and_the_other_camera_goes_on(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"this is no video" * 100)
    clip = write_clip(tmp_path / "clip.avi")
    cameras = (Camera(device="cam-01", source="noise.mp4"), Camera(device="cam-02", source=clip.name))
    config = write_config(tmp_path, mqtt_broker, cameras=cameras)
    with running(config):
        wait_until(lambda: bool(detections(stream, "cam-02")) and bool(faults(stream, "cam-01")))
        wait_until(lambda: ended_path(config).exists())
    (fault,) = faults(stream, "cam-01")
    assert fault.fault == "no_source"
    assert str(tmp_path / "noise.mp4") in fault.detail
    assert "encode it anew" in fault.detail
    assert caplog.text.count("noise.mp4: is no video") == 1


def test_a_picture_of_zero_bytes_is_a_fault_and_the_next_is_taken(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "1.jpg").touch()
    cv2.imwrite(str(folder / "2.jpg"), street(0.9))
    camera = Camera(device="cam-01", source="pictures", pace="fast")
    config = write_config(tmp_path, mqtt_broker, cameras=(camera,))
    with running(config):
        wait_until(lambda: ended_path(config).exists())
    (fault, well) = faults(stream, "cam-01")
    assert "1.jpg: the picture has zero bytes" in fault.detail
    assert well.fault == NO_FAULT
    assert len(detections(stream, "cam-01")) == 1


def test_readings_are_followed_and_bad_lines_are_named(tmp_path: Path, mqtt_broker: Mqtt, stream: Stream) -> None:
    source = tmp_path / "readings.jsonl"
    source.write_text('{"property": "temperature", "value": 21.5, "unit": "Cel"}\n{"property": "smoke"\n')
    config = write_config(tmp_path, mqtt_broker, sensors=(Sensor(device="smoke-01", source=source.name),))
    with running(config):
        wait_until(lambda: len(stream.by_device("smoke-01")) == 2)
        with source.open("a") as file:
            file.write('{"property": "smoke", "value": 1, "unit": "1"}\n')
        wait_until(lambda: len(stream.by_device("smoke-01")) == 3)
        wait_until(lambda: {b.device_id for b in stream.heartbeats} == {"smoke-01", "edge-01"})
    with running(config), source.open("a") as file:  # the place in the file outlives the process: nothing comes twice
        file.write('{"property": "smoke", "value": 0, "unit": "1"}\n')
        file.flush()
        wait_until(lambda: len(stream.by_device("smoke-01")) == 4)
    by_lane = [(o.lane, o.payload) for o in stream.by_device("smoke-01")]
    assert by_lane[-1] == (Lane.TELEMETRY, Reading(property="temperature", value=21.5, unit="Cel"))
    assert [p.value for lane, p in by_lane if isinstance(p, Reading) and lane is Lane.ALARM] == [1.0, 0.0]
    (fault,) = faults(stream, "smoke-01")
    assert f"{source}:2: no reading" in fault.detail


def test_files_that_are_followed_together_do_not_wait_for_each_other(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream
) -> None:
    line = '{"property": "temperature", "value": 21.5, "unit": "Cel"}\n'
    many = CHUNK_BYTES // len(line) + 10  # more than is taken at a time
    (tmp_path / "many.jsonl").write_text(line * many)
    os.mkfifo(tmp_path / "pipe.jsonl")
    sources = {"cam-01": "pipe.jsonl", "smoke-01": "missing.jsonl", "cam-02": "many.jsonl"}
    sensors = tuple(Sensor(device=device, source=source) for device, source in sources.items())
    with running(write_config(tmp_path, mqtt_broker, sensors=sensors)):
        wait_until(lambda: len(stream.by_device("cam-02")) == many, timeout_s=40)
        wait_until(lambda: {b.device_id for b in stream.heartbeats} == {"edge-01", *sources})
    assert ["no regular file" in fault.detail for fault in faults(stream, "cam-01")] == [True]
    assert ["No such file" in fault.detail for fault in faults(stream, "smoke-01")] == [True]


def test_nothing_is_lost_while_the_broker_is_away(tmp_path: Path, keys: Keyring) -> None:
    clip = write_clip(tmp_path / "clip.avi", seconds=4.0, red_from_s=0.0)
    with embedded_broker(tmp_path / "first") as settings:
        config = write_config(tmp_path, settings, cameras=(Camera(device="cam-01", source=clip.name),))
    assert settings.port_v3 is not None
    with running(config):
        wait_until(lambda: outbox_path(config).exists())
        with (
            embedded_broker(tmp_path / "second", port=settings.port, port_v3=settings.port_v3) as again,
            serving(again, keys, name="late") as stream,
        ):
            wait_until(lambda: ended_path(config).exists(), timeout_s=40)
    observations = stream.by_device("cam-01")
    assert len(observations) >= 5
    assert [o.seq for o in observations] == list(range(1, len(observations) + 1))
    assert {o.quality for o in observations} == {Quality.LIVE}


class Failing(Detector):
    """A detector that fails on its first two pictures."""

    left = 2

    def detect(self, image_bgr: NDArray[np.uint8]) -> list[Box]:
        if self.left:
            self.left -= 1
            raise ValueError("no network today")
        return super().detect(image_bgr)


def test_a_detector_that_fails_is_told_once_and_tried_again(
    tmp_path: Path, mqtt_broker: Mqtt, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.camera.FAILED_WAIT_S", 0.05)
    clip = write_clip(tmp_path / "clip.avi", seconds=5.0)
    config = write_config(tmp_path, mqtt_broker, cameras=(Camera(device="cam-01", source=clip.name),))
    with running(config, detector=Failing):
        wait_until(lambda: bool(detections(stream, "cam-01")))
    assert [(fault.fault, fault.detail) for fault in faults(stream, "cam-01")] == [
        ("detector_failed", "ValueError: no network today"),
        (NO_FAULT, ""),
    ]


def test_readings_come_from_standard_input_too(tmp_path: Path, mqtt_broker: Mqtt, stream: Stream) -> None:
    write_config(tmp_path, mqtt_broker, sensors=(Sensor(device="smoke-01", source="-"),))
    process = start_command(tmp_path, stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(b'{"property": "gas", "value": 2, "unit": "ppm"}\nnoise\n')
        process.stdin.close()
        wait_until(lambda: len(stream.by_device("smoke-01")) == 2, timeout_s=30)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
    reading, fault = (o.payload for o in stream.by_device("smoke-01"))
    assert reading == Reading(property="gas", value=2.0, unit="ppm")
    assert isinstance(fault, Fault)
    assert fault.detail.startswith("<stdin>:2: no reading")


def start_command(folder: Path, *more: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "models.cli", "edge", str(folder), *more]
    with (folder / "said").open("ab") as errors:
        return subprocess.Popen(arguments, stdin=stdin, stderr=errors)


def test_a_kill_in_the_middle_of_a_clip_loses_nothing_and_uses_no_seq_twice(
    tmp_path: Path, mqtt_broker: Mqtt, keys: Keyring
) -> None:
    clip = write_clip(tmp_path / "clip.avi", seconds=12.0, red_from_s=0.0)
    config = write_config(tmp_path, mqtt_broker, cameras=(Camera(device="cam-01", source=clip.name),))
    Outbox(outbox_path(config), machine=machine_hash(), boot_id="none", max_bytes=64 << 20).close()
    audit = sqlite3.connect(outbox_path(config))
    audit.executescript(
        "CREATE TABLE audit (device_id, lane, seq, body);"
        "CREATE TRIGGER audited AFTER INSERT ON outbox BEGIN"
        " INSERT INTO audit VALUES (NEW.device_id, NEW.lane, NEW.seq, NEW.body); END;"
    )
    began = ("--clip-started-at", str(moment.now().wall_ms + 2_000))
    with serving(mqtt_broker, keys, acks=False) as stream:
        first = start_command(tmp_path, *began)
        wait_until(lambda: len(stream.by_device("cam-01")) >= 3, timeout_s=30)
        first.kill()
        first.wait()
        assert audit.execute("SELECT count(*) FROM outbox").fetchone()[0] >= 3  # unacknowledged
        wait_until(lambda: not msgspec.json.decode(stream.statuses[-1], type=Status).online)  # the last will
        stream.acks = True
        second = start_command(tmp_path, *began)
        try:
            wait_until(lambda: ended_path(config).exists(), timeout_s=30)
        finally:
            second.terminate()
            assert second.wait(timeout=20) == 0
    audited = audit.execute("SELECT body FROM audit ORDER BY seq").fetchall()
    assert audit.execute("SELECT count(*) FROM outbox").fetchone()[0] == 0
    audit.close()
    observations = stream.by_device("cam-01")
    assert observations == [decode(body.encode(), Observation) for (body,) in audited]
    assert [o.seq for o in observations] == list(range(1, len(observations) + 1))
    assert len({o.boot_id for o in observations}) == 2


def test_the_command_ends_in_order_on_sigterm(tmp_path: Path, mqtt_broker: Mqtt, stream: Stream) -> None:
    clip = write_clip(tmp_path / "clip.avi", seconds=30.0)
    config = write_config(tmp_path, mqtt_broker, cameras=(Camera(device="cam-01", source=clip.name),))
    process = start_command(tmp_path)
    try:
        wait_until(lambda: bool(detections(stream, "cam-01")), timeout_s=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
    assert "edge agent edge-01 stopped" in (tmp_path / "said").read_text()
    assert not ended_path(config).exists()
