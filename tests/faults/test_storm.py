from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.faults.storm import HEAD, row, run

FAULTS = 20 if os.environ.get("CI") else 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_faults_at_random_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    outcomes = []
    sys.stderr.write(f"{HEAD}\n")
    for outcome in run(tmp_path, faults=FAULTS, seed=1):
        sys.stderr.write(f"{row(outcome)}\n")
        outcomes.append(outcome)
    assert len(outcomes) == FAULTS
    assert [one for one in outcomes if not one.is_clean] == []
