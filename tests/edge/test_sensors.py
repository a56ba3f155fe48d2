from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.moment import Moment
from edge.sensors import CHUNK_BYTES, MAX_FAULTS, Place, read_new, to_drafts
from models.errors import SourceError
from models.messages import Fault, Lane, Reading

NOW = Moment(1_800_000_000_000, 500_000)


def take(*lines: bytes) -> tuple[list[object], list[str]]:
    drafts, complaints = to_drafts(list(enumerate(lines, 1)), device_id="s", source="s.jsonl", now=NOW)
    return [draft.payload for draft in drafts], complaints


def test_alarm_properties_go_in_the_alarm_lane_and_the_rest_in_telemetry() -> None:
    lines = [
        (1, b'{"property":"smoke","value":1,"unit":"1"}'),
        (2, b'{"property":"temperature","value":20,"unit":"Cel"}'),
    ]
    drafts, complaints = to_drafts(lines, device_id="s", source="f", now=NOW)
    assert complaints == []
    assert [(d.lane, d.payload, d.observed) for d in drafts] == [
        (Lane.ALARM, Reading(property="smoke", value=1.0, unit="1"), NOW),
        (Lane.TELEMETRY, Reading(property="temperature", value=20.0, unit="Cel"), NOW),
    ]


def test_a_time_of_its_own_is_kept_on_both_clocks_and_a_future_one_is_now() -> None:
    line = b'{"property":"co","value":3,"unit":"ppm","at_ms":%d}'
    drafts, _ = to_drafts(
        [(1, line % (NOW.wall_ms - 60_000)), (2, line % (NOW.wall_ms + 3_600_000)), (3, line % 5)],
        device_id="s", source="f", now=NOW,
    )  # fmt: skip
    assert [d.observed for d in drafts] == [NOW.plus(-60_000), NOW, Moment(5, 0)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"noise", "no reading"),
        (b"\xff\xfe", "no reading"),
        (b'{"property":"co","value":"high","unit":"ppm"}', "Expected `float`"),
        (b'{"property":"co","value":1,"unit":"ppm","volume":3}', "unknown field `volume`"),
        (b'{"property":"co","value":1e999,"unit":"ppm"}', "no reading|finite"),
        (b'{"property":"","value":1,"unit":"ppm"}', "1 to 64 characters"),
        (b"[" * 4000, "no reading"),
        (b"x" * 5000, "too long"),
    ],
)
def test_a_bad_line_is_named_with_file_number_and_remedy_and_the_next_is_taken(line: bytes, why: str) -> None:
    payloads, (complaint,) = take(line, b'{"property":"co","value":1,"unit":"ppm"}')
    assert complaint.startswith("s.jsonl:1: ")
    assert re.search(why, complaint)
    assert 'write {"property"' in complaint
    assert payloads[0] == Reading(property="co", value=1.0, unit="ppm")
    assert isinstance(payloads[1], Fault)
    assert payloads[1].fault == "bad_line"


def test_a_file_of_another_kind_makes_few_faults() -> None:
    payloads, complaints = take(*[b"noise"] * 1_000)
    assert len(complaints) == 1_000
    assert len(payloads) == MAX_FAULTS + 1


@given(st.binary(max_size=200))
def test_no_line_stops_the_sensor(line: bytes) -> None:
    take(line)


def test_a_growing_file_is_read_line_by_line_and_a_half_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    lines, place = read_new(path, Place())
    assert lines == [(1, b"one"), (2, b"two")]
    with path.open("ab") as file:
        file.write(b"ee\nfour\n")
    lines, place = read_new(path, Place.parse(str(place)))
    assert lines == [(3, b"three"), (4, b"four")]
    assert read_new(path, place) == ([], place)


def test_a_new_file_under_the_name_and_a_shortened_one_are_read_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"one\ntwo\n")
    _, place = read_new(path, Place())
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"a\nb\nc\n")
    fresh.rename(path)
    lines, place = read_new(path, place)
    assert lines == [(1, b"a"), (2, b"b"), (3, b"c")]
    path.write_bytes(b"z\n")
    lines, place = read_new(path, place)
    assert lines == [(1, b"z")]


def test_a_line_without_an_end_does_not_stop_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"x" * (CHUNK_BYTES + 10) + b"\nlast\n")
    lines, place = read_new(path, Place())
    assert len(lines) == 1
    lines, _ = read_new(path, place)
    assert lines[-1][1] == b"last"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"s\.jsonl: No such file.*check edge\.sensors\.source"):
        read_new(tmp_path / "s.jsonl", Place())


def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(SourceError, match=r"is no regular file; check edge\.sensors\.source"):
            read_new(tmp_path / name, Place())
