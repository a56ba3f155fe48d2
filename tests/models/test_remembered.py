from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models import places, remembered
from models.check import check
from models.city import generate, write
from models.remembered import FILE, KEEP, Remembered, key_of


def test_what_was_right_is_remembered_by_its_content(tmp_path: Path) -> None:
    found = Remembered(tmp_path / "state")
    assert not found.has(key_of("geometry", b"a"))
    found.put(key_of("geometry", b"a"))
    assert Remembered(tmp_path / "state").has(key_of("geometry", b"a"))
    assert not found.has(key_of("proof", b"a"))
    assert not found.has(key_of("geometry", b"a", b""))
    assert key_of("proof", b"ab", b"c") != key_of("proof", b"a", b"bc")


def test_only_the_last_are_kept_each_once(tmp_path: Path) -> None:
    found = Remembered(tmp_path)
    for n in range(KEEP + 5):
        found.put("first")
        found.put(f"key {n}")
    assert found.has("first")
    assert not found.has("key 3")
    assert len(msgspec.json.decode((tmp_path / FILE).read_bytes())["keys"]) == KEEP


def test_a_stricter_check_remembers_nothing_of_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Remembered(tmp_path).put("key")
    monkeypatch.setattr(remembered, "RELEASE", remembered.RELEASE + 1)
    assert not Remembered(tmp_path).has("key")


@pytest.mark.parametrize("content", [b"", b"{", b'{"keys": 3}'])
def test_a_file_that_cannot_be_read_remembers_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert not Remembered(tmp_path).has("key")
    Remembered(tmp_path).put("key")
    assert Remembered(tmp_path).has("key")
    assert not Remembered(None).has("key")
    Remembered(None).put("key")


def test_a_start_looks_at_shapes_only_where_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(generate(12, 0), tmp_path)
    looked: list[bool] = []
    read = places.read

    def spy(raw: bytes, *, file: Path | str, geometry: bool, unit_grid_m2: tuple[float, float]) -> places.Reading:
        looked.append(geometry)
        return read(raw, file=file, geometry=geometry, unit_grid_m2=unit_grid_m2)

    monkeypatch.setattr(places, "read", spy)
    for trust in (True, True, False, True):
        assert check(tmp_path, trust=trust).problems == []
    path = tmp_path / "places.geojson"
    path.write_text(path.read_text() + " ")
    assert check(tmp_path, trust=True).problems == []
    assert looked == [True, False, True, False, True]


def test_a_mistake_is_found_at_every_start(tmp_path: Path) -> None:
    city = generate(12, 0)
    write(city, tmp_path)
    path = tmp_path / "places.geojson"
    path.write_text(path.read_text().replace('"500199001002001","kind"', '"500199001001001","kind"', 1))
    assert check(tmp_path, trust=True).problems
    assert check(tmp_path, trust=True).problems
