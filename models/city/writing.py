"""The TOML files of a sample city: one record a line, in the order of the types, defaults left out."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

from models.content import Record
from models.people import People
from models.places import DeviceKind, Places

PEOPLE_HEAD = """\
# Who answers for what, and who is on duty when. A made-up roster; see `models/people` for every field.
# Weekly shifts are local wall-clock times; an `end` not after `start` means the next day.
# A shift on given dates: dated_shifts = [ { post = "...", person = "...", start = 2026-10-01T08:00:00, end = ... } ]

"""

SETTINGS = """\
# What runs. Every key that is not here has its default; see `models/config.py`.

tenant = "sample"

[edge]
agent = "{agent}"
{sources}"""

SOURCE = """
[[edge.{table}]]
device = "{device}"
source = "{source}"
"""


def people_toml(people: People) -> bytes:
    """Write people as TOML that `models.people.load` reads back to an equal value."""
    head = f"{PEOPLE_HEAD}time_zone = {_value(people.time_zone)}\n"
    tables = {name: getattr(people, name) for name in people.__struct_fields__ if name != "time_zone"}
    return "".join([head, *(_table(name, records) for name, records in tables.items() if records)]).encode()


def _table(name: str, records: Sequence[Record]) -> str:
    return "\n".join([f"\n{name} = [", *(f"  {_inline(record)}," for record in records), "]\n"])


def settings_toml(places: Places) -> bytes:
    """Write the settings that let the city's agent serve its cameras and sensors."""
    agent = next(device.id for device in places.devices if device.kind is DeviceKind.AGENT)
    served = [device for device in places.devices if device.agent == agent]
    sources = [
        SOURCE.format(table="cameras", device=device.id, source=f"clips/{device.id}.mp4")
        if device.kind is DeviceKind.CAMERA
        else SOURCE.format(table="sensors", device=device.id, source=f"readings/{device.id}.jsonl")
        for device in sorted(served, key=lambda device: device.kind is not DeviceKind.CAMERA)
    ]
    return SETTINGS.format(agent=agent, sources="".join(sources)).encode()


def _inline(record: Record) -> str:
    defaults = dict(zip(record.__struct_fields__[::-1], record.__struct_defaults__[::-1], strict=False))
    pairs = [
        f"{name} = {_value(value)}"
        for name in record.__struct_fields__
        if (value := getattr(record, name)) is not None and not (name in defaults and defaults[name] == value)
    ]
    return "{ " + ", ".join(pairs) + " }"


def _value(value: object) -> str:
    if isinstance(value, Record):
        return _inline(value)
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    assert isinstance(value, Sequence)
    return "[" + ", ".join(_value(item) for item in value) + "]"
