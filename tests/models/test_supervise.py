"""The supervisor with real child processes: started, restarted, stopped, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.errors import ConfigError, GridwardenError
from models.supervise import Child, Supervisor, write_atomically

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def started() -> Iterator[list[Supervisor]]:
    supervisors: list[Supervisor] = []
    yield supervisors
    for supervisor in supervisors:
        supervisor.stop()


def child(tmp_path: Path, name: str, program: str, ready: Callable[[], bool] = lambda: True) -> Child:
    command = [sys.executable, "-c", program]
    return Child(name, command, ready_file=None, ready=ready, log_file=tmp_path / f"{name}.log")


def until(condition: Callable[[], bool], supervisor: Supervisor, limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        supervisor.watch()
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_child_is_started_again_and_the_state_file_names_the_new_one(
    tmp_path: Path, started: list[Supervisor]
) -> None:
    one = child(tmp_path, "one", SLEEP)
    supervisor = Supervisor([one], tmp_path / "up.json")
    started.append(supervisor)
    supervisor.start(timeout_s=10, only=[one])
    first = one.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: one.restarts == 1 and one.pid is not None, supervisor)
    assert one.pid != first
    assert json.loads((tmp_path / "up.json").read_text()) == {"one": {"pid": one.pid, "restarts": 1}}


def test_an_error_in_a_childs_log_is_passed_on_once(
    tmp_path: Path, started: list[Supervisor], caplog: pytest.LogCaptureFixture
) -> None:
    says = "print('12:00:00 ERROR   edge.camera: cam-01: x.mp4 cannot be opened; check the path', file=sys.stderr)"
    noise = "print('12:00:00 INFO    edge.camera: all is well', file=sys.stderr, flush=True)"
    one = child(tmp_path, "one", f"import sys; {says}; {noise}; {SLEEP}")
    supervisor = Supervisor([one], tmp_path / "up.json")
    started.append(supervisor)
    supervisor.start(timeout_s=10, only=[one])
    until(lambda: bool(caplog.messages), supervisor)
    supervisor.watch()
    assert caplog.messages == ["one: edge.camera: cam-01: x.mp4 cannot be opened; check the path"]


def test_stop_ends_every_child_even_one_that_ignores_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.supervise.STOP_S", 0.5)
    mark = tmp_path / "deaf-is-up"
    deaf = (
        f"import signal, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN); pathlib.Path({str(mark)!r}).touch(); "
    )
    children = [child(tmp_path, "deaf", deaf + SLEEP, mark.exists), child(tmp_path, "kind", SLEEP)]
    supervisor = Supervisor(children, tmp_path / "up.json")
    supervisor.start(timeout_s=10, only=children)
    pids = [one.pid for one in children]
    supervisor.stop()
    assert all(pid is not None and not alive(pid) for pid in pids)


def test_a_config_mistake_of_a_child_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = "import sys; print('mqtt.port is taken', file=sys.stderr); sys.exit(2)"
    wrong = child(tmp_path, "wrong", program, lambda: False)
    supervisor = Supervisor([wrong], tmp_path / "up.json")
    with pytest.raises(ConfigError, match=r"mqtt\.port is taken"):
        supervisor.start(timeout_s=20, only=[wrong])


def test_a_child_that_does_not_get_ready_is_told_with_its_last_words(tmp_path: Path, started: list[Supervisor]) -> None:
    slow = child(tmp_path, "slow", SLEEP, lambda: False)
    supervisor = Supervisor([slow], tmp_path / "up.json")
    started.append(supervisor)
    with pytest.raises(GridwardenError, match="slow is not ready in time"):
        supervisor.start(timeout_s=0.3, only=[slow])


def test_a_stale_ready_file_does_not_count(tmp_path: Path, started: list[Supervisor]) -> None:
    ready = tmp_path / "one.json"
    ready.write_text("of an earlier run")
    one = Child(
        "one", [sys.executable, "-c", SLEEP], ready_file=ready, ready=ready.exists, log_file=tmp_path / "one.log"
    )
    supervisor = Supervisor([one], tmp_path / "up.json")
    started.append(supervisor)
    with pytest.raises(GridwardenError, match="not ready"):
        supervisor.start(timeout_s=0.3, only=[one])


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"""
import pathlib, sys, time
from models.supervise import Child, Supervisor
folder = pathlib.Path({str(tmp_path)!r})
one = Child("one", [sys.executable, "-c", {SLEEP!r}], None, lambda: True, folder / "one.log")
Supervisor([one], folder / "up.json").start(timeout_s=10, only=[one])
pathlib.Path({str(pid_file)!r}).write_text(str(one.pid))
time.sleep(600)
"""
    parent = child(tmp_path, "parent", program, lambda: pid_file.exists() and bool(pid_file.read_text()))
    supervisor = Supervisor([parent], tmp_path / "outer.json")
    supervisor.start(timeout_s=20, only=[parent])
    grandchild = int(pid_file.read_text())
    assert parent.process is not None
    parent.process.kill()
    parent.process.wait()
    deadline_s = time.monotonic() + 10
    while alive(grandchild) and Path(f"/proc/{grandchild}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
