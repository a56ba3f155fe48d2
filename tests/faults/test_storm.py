from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.storm import HEAD, row, run

EMBEDDED = 14 if os.environ.get("CI") else 5
ON_SERVERS = 6 if os.environ.get("CI") else 3


def _strike(folder: Path, numbers: Sequence[int], *, seed: int, on: str) -> None:
    outcomes = []
    sys.stderr.write(f"{HEAD}\n")
    for outcome in run(folder, numbers, seed=seed, on=on):
        sys.stderr.write(f"{row(outcome)}\n")
        outcomes.append(outcome)
    assert len(outcomes) == len(numbers)
    assert [one for one in outcomes if not one.is_clean] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_faults_at_random_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    _strike(tmp_path, range(EMBEDDED), seed=1, on="embedded")


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.kafka
@pytest.mark.influxdb
@pytest.mark.timeout(900)
def test_no_more_do_faults_that_strike_kafka_and_influxdb_as_well(tmp_path: Path) -> None:
    # Of this seed the first six kill and pause Kafka and InfluxDB.
    _strike(tmp_path, range(ON_SERVERS), seed=24_828, on="servers")
