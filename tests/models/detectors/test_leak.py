from __future__ import annotations

import json
import subprocess
import sys

import pytest

from models.detectors import read_manifest


@pytest.mark.slow
def test_five_thousand_inferences_do_not_grow_by_five_megabytes() -> None:
    """In a process of its own, whose memory no other test moves; `python -m benchmarks.soak_detect` does 200,000."""
    precision = read_manifest("fire_smoke").precisions[-1]  # the fastest that is shipped
    command = [sys.executable, "-m", "benchmarks.soak_detect", "--inferences", "5000", "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["case"]["inferences"] == 5000
    assert last["value"] <= 5
