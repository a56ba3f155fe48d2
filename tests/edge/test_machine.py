from __future__ import annotations

from pathlib import Path

from edge.machine import machine_hash, temperature_c


def test_the_first_source_that_says_something_counts(tmp_path: Path) -> None:
    serial, machine_id = tmp_path / "serial", tmp_path / "machine-id"
    machine_id.write_text("abc\n")
    on_card = machine_hash((serial, machine_id))
    serial.write_bytes(b"10000000deadbeef\0")
    in_silicon = machine_hash((serial, machine_id))
    assert on_card != in_silicon
    assert "deadbeef" not in in_silicon
    assert machine_hash((tmp_path / "none",)) == "unknown"


def test_a_temperature_is_told_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "temp").write_text("48312\n")
    assert temperature_c(tmp_path / "temp") == 48.312
    assert temperature_c(tmp_path / "none") is None
