from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import edge.agent
from edge import commands
from models.config import FILE, Config
from models.detectors import Detector
from models.errors import ConfigError

CONFIG = """tenant = "t"
[edge]
detector = "street_order"
floor = 0.2
"""


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> Detector:
    """The detector that `gridwarden edge` opens for a camera under a config."""
    found: list[Detector] = []

    class Agent:
        def __init__(self, _config: Config, load_detector: Callable[[], Detector], **_: object) -> None:
            found.append(load_detector())

        def run(self, _stop: threading.Event) -> int:
            return 0

    monkeypatch.setattr(edge.agent, "Agent", Agent)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (folder / FILE).write_text(CONFIG + said, encoding="utf-8")
    assert commands.run(argparse.Namespace(folder=folder, clip_started_at=None)) == 0
    return found[0]


def test_the_config_says_how_the_network_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = opened(tmp_path, monkeypatch, 'precision = "fp32"\nthreads = 2\n')
    assert (detector.manifest.name, detector.precision, detector.floor) == ("street_order", "fp32", 0.2)
    assert detector._view.session._session.get_session_options().intra_op_num_threads == 2
    assert opened(tmp_path, monkeypatch, "").precision == detector.manifest.precision


def test_a_provider_that_this_machine_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"provider: .* cannot run on 'tpu'; use one of: .*cpu"):
        opened(tmp_path, monkeypatch, 'provider = "tpu"\n')
