"""A wrong config is told as file, path and remedy, and never runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.config import Config, load, to_toml
from models.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    (folder / "gridwarden.toml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        ('tenant = "t"\n[edge]\ncolour = 1', "edge.colour", "unknown key"),
        ('tenant = "t"\nspeed = 1', "speed", "unknown key"),
        ('tenant = "t"\n[mqtt]\nport = "x"', "mqtt.port", "int"),
        ('tenant = "t"\n[mqtt]\nport = 70000', "mqtt.port", "65535"),
        ('tenant = "a/b"', "tenant", "regex"),
        ('tenant = "t"\nunit_grid_m2 = [9_000, 3_000]', "unit_grid_m2", "no area"),
        ('tenant = "t"\nunit_grid_m2 = [9_000]', "unit_grid_m2", "length"),
        ('tenant = "t"\n[[edge.cameras]]\ndevice = "c"', "edge.cameras[0].source", "missing"),
        ("tenant = ", "$", "not TOML"),
    ],
)
def test_a_mistake_names_file_path_and_remedy(tmp_path: Path, text: str, path: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    [problem] = caught.value.problems
    assert problem.path == path
    assert word in problem.what
    assert problem.remedy
    assert str(tmp_path / "gridwarden.toml") in str(caught.value)


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, 'tenant = "t"\n[mqtt]\nport = "x"\nhsot = "y"\n[edge]\nfloor = 7'))
    assert {problem.path for problem in caught.value.problems} == {"mqtt.port", "mqtt.hsot", "edge.floor"}
    assert "did you mean `host`?" in str(caught.value)


def test_files_are_seen_from_the_config_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, 'tenant = "t"\n[mqtt]\npassword_file = "secrets/mqtt"'))
    assert config.mqtt.password_file == str(tmp_path / "secrets" / "mqtt")


def test_a_detector_of_ones_own_is_seen_from_the_config_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, 'tenant = "t"\n[edge]\ndetector = "nets/own.toml"\nprecision = "int8"\nthreads = 2'))
    assert config.edge.detector == str(tmp_path / "nets" / "own.toml")
    assert (config.edge.precision, config.edge.provider, config.edge.threads) == ("int8", "cpu", 2)
    assert load(write(tmp_path, 'tenant = "t"')).edge.detector == "fire_smoke"


def test_a_missing_folder_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gridwarden city"):
        load(tmp_path / "nowhere")


def test_a_device_is_served_once(tmp_path: Path) -> None:
    text = 'tenant = "t"\n[[edge.cameras]]\ndevice = "c"\nsource = "0"\n[[edge.sensors]]\ndevice = "c"\nsource = "-"'
    with pytest.raises(ConfigError, match="served twice"):
        load(write(tmp_path, text))


def test_a_written_config_reads_as_it_was(tmp_path: Path) -> None:
    config = load(write(tmp_path, 'tenant = "t"\n[edge]\nfloor = 0.2'))
    (tmp_path / "effective.toml").write_bytes(to_toml(config))
    assert load(tmp_path / "effective.toml") == config
    assert config.state == tmp_path / "var"


def test_the_defaults_listen_on_loopback_and_hold_no_secret() -> None:
    config = Config(tenant="t")
    assert config.mqtt.host == config.alerts.host == "127.0.0.1"
    assert config.mqtt.username is None
    assert config.mqtt.password_file is None
    assert not config.alerts.demo_logins


def test_the_adapters_in_the_documentation_are_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    (tmp_path / "gridwarden.toml").write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    kinds = [adapter.kind for adapter in load(tmp_path).stream.adapters]
    assert kinds == ["zigbee2mqtt", "tasmota", "homeassistant", "sparkplug", "esphome", "json"]


def test_plain_json_needs_a_topic_filter(tmp_path: Path) -> None:
    (tmp_path / "gridwarden.toml").write_text('tenant = "t"\n[[stream.adapters]]\nkind = "json"\n')
    with pytest.raises(ConfigError, match=r"stream\.adapters\[0\]\.base: plain JSON has no usual topic"):
        load(tmp_path)


def test_a_file_as_windows_writes_it_is_read_and_one_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gridwarden.toml"
    file.write_bytes(b'\xef\xbb\xbftenant = "t"\r\n')
    assert load(tmp_path).tenant == "t"
    file.write_bytes('tenant = "t" # 样例'.encode("gbk"))
    with pytest.raises(ConfigError, match="is not UTF-8: byte 15 is 0xd1; save it as UTF-8"):
        load(tmp_path)
