from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.broker import free_port
from models.config import Mqtt

_SERVE = """
import sys
from models import broker
from models.config import Config, Mqtt
state, port, port_v3, username, password_file = sys.argv[1:]
mqtt = Mqtt(port=int(port), port_v3=int(port_v3), username=username or None, password_file=password_file or None)
broker.run(Config(tenant="t", state_dir=state, mqtt=mqtt))
"""


def wait_until(is_so: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Return as soon as `is_so` says so; fail the test if it never does."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end_s:
            pytest.fail(f"waited {timeout_s} s in vain")
        time.sleep(0.01)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


@contextmanager
def embedded_broker(
    folder: Path, *, username: str = "", password: str = "", port: int = 0, port_v3: int = 0
) -> Iterator[Mqtt]:
    """Run the embedded broker as a process of its own; yield how it is reached (MQTT 5; `port_v3` for 3.1.1)."""
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    if password:
        password_file.write_text(password + "\n")
    port, port_v3 = port or free_port(), port_v3 or free_port()
    arguments = [str(folder), str(port), str(port_v3), username, str(password_file) if password else ""]
    process = subprocess.Popen([sys.executable, "-c", _SERVE, *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port) and _answers(port_v3))
        yield Mqtt(
            port=port,
            port_v3=port_v3,
            username=username or None,
            password_file=str(password_file) if password else None,
        )
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def mqtt_broker(tmp_path: Path) -> Iterator[Mqtt]:
    """The embedded broker, without a password."""
    with embedded_broker(tmp_path / "broker") as settings:
        yield settings


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mqtt]:
    """A real Mosquitto that wants the user `edge` with the password `right`."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("Mosquitto is not installed: apt-get install mosquitto")
    port = free_port()
    passwords, config, right = tmp_path / "passwords", tmp_path / "mosquitto.conf", tmp_path / "right"
    right.write_text("right\n")
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "edge", "right"], check=True)
    # Run by root it would become the user `mosquitto`, who may not read a temporary folder of ours.
    config.write_text(f"listener {port} 127.0.0.1\npassword_file {passwords}\nallow_anonymous false\nuser root\n")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield Mqtt(embedded=False, port=port, username="edge", password_file=str(right))
    finally:
        process.kill()
        process.wait()
