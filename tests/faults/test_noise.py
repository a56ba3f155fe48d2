from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from models import topics
from models.config import Config, Mqtt
from models.errors import Reason
from models.messages import Observation
from tests.faults.noise import Noise, run
from tests.stream.rig import Listener, TestDevice, make_folder, running


def test_whatever_is_sent_is_taken_or_refused_with_a_reason_and_nothing_else() -> None:
    outcomes = run(20_000, seed=7)
    assert sum(outcomes.values()) == 20_000
    refusals = set(outcomes) - {"taken"}
    assert {Reason.WRONG_SEAL, Reason.WRONG_SHAPE, Reason.TOO_LARGE, Reason.FOREIGN_DEVICE, Reason.NO_SEAL} <= refusals
    assert outcomes["taken"] > 1_000


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt) -> Config:
    return make_folder(tmp_path / "city", mqtt_broker)


@pytest.mark.slow
def test_ten_thousand_of_them_through_a_real_broker_stop_nobody_else(config: Config) -> None:
    listener = Listener(config)
    loud, calm = TestDevice(listener, "cam-01"), TestDevice(listener, "cam-02")
    sent: list[Observation] = []
    with running(config) as stream:
        arrivals = Noise(3, tenant=config.tenant, keys=listener.keys)
        for n, arrival in enumerate(itertools.islice(arrivals, 10_000)):
            listener.publish(topics.obs(config.tenant, loud.device_id), arrival.payload)
            if n % 1_000 == 0:
                sent += calm.fires(1)
                calm.send(sent[-1:])
        end_s = time.monotonic() + 60.0
        while listener.acked("cam-02") != set(range(1, 11)):  # who is not answered says it again, as any sender of ours
            assert time.monotonic() < end_s, stream.log_file.read_text()[-3_000:]
            calm.send([one for one in sent if one.seq not in listener.acked("cam-02")])
            time.sleep(0.5)
        stream.wait(lambda: len([row for row in stream.history() if row[0] == "cam-02"]) == 10)
        counters = stream.counters()
        assert counters["dead_letters"] > 50
        assert counters["unlettered"] + counters["limited"] > 0
        assert stream.stop() == 0
