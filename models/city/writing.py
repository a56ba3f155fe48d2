"""The files of a sample city beside its map."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

from models import catalogue
from models.cases import Case
from models.city.template import Rung, Template
from models.people import People
from models.people.files import to_csv, to_toml
from models.places import AreaKind, DeviceKind, Places

MAX_TOML_PERSONS = 2_000
STEPS, AFTER_STEPS = "[[steps]]\n", "# --- categories"

PEOPLE_HEAD = """\
# Who answers for what, and who is on duty when. A made-up roster; see `models/people` for every field.
# The model: {template.name} ({template.name_en}).
# {template.about}
# {template.about_en}
# Source: {template.source}
# Weekly shifts are local wall-clock times; an `end` not after `start` means the next day.
# A shift on given dates: dated_shifts = [ {{ post = "...", person = "...", start = 2026-10-01T08:00:00, end = ... }} ]

"""

SETTINGS = """\
# What runs. Every key that is not here has its default; see `models/config.py`.

tenant = "sample"
unit_grid_m2 = [500, 30_000]  # some grids are islands in others

[edge]
agent = "{agent}"
{sources}"""

SOURCE = """
[[edge.{table}]]
device = "{device}"
source = "{source}"
"""

CASES_HEAD = """\
# What this folder is tried with: gridwarden route --all. Times are local to the roster.

"""
CASE_FIELDS = ("id", "name", "name_en", "lon_deg", "lat_deg", "category", "at")

LEADS_HEAD = """
# --- who leads where the list alone does not say it ------------------------------------------------------------------

"""


def people_files(people: People, template: Template) -> dict[str, bytes]:
    """Write people by file name: as TOML, which is good to read, or as CSV where it would take too long."""
    files = to_csv(people) if len(people.persons) > MAX_TOML_PERSONS else {"people.toml": to_toml(people)}
    return files | {"people.toml": PEOPLE_HEAD.format(template=template).encode() + files["people.toml"]}


def catalogue_toml(template: Template, places: Places) -> bytes:
    """Write the default catalogue with the chain and the lead units of a template, and with all of its comments."""
    text = catalogue.DEFAULT.read_text(encoding="utf-8")
    if template.steps:
        chain, mark, after = text.partition(AFTER_STEPS)
        before, *parts = chain.split(STEPS)
        default = {_number(part): STEPS + part for part in parts}
        text = before + "".join(_rung(rung, default[rung.step, rung.seat]) for rung in template.steps) + mark + after
    areas = [area.code for area in places.areas if area.kind is AreaKind.DISTRICT]
    leads = [
        {**msgspec.to_builtins(lead), "area": area, "source": "proposal"} for lead in template.leads for area in areas
    ]
    return text.encode() + (LEADS_HEAD.encode() + msgspec.toml.encode({"leads": leads}) if leads else b"")


def _number(part: str) -> tuple[int, bool]:
    row = msgspec.toml.decode(STEPS + part)["steps"][0]
    return row["step"], row.get("seat", False)


def _rung(rung: Rung, step: str) -> str:
    """Give the text of a default step with what a template says otherwise."""
    for name in ("name", "name_en", "roles"):
        value = getattr(rung, name)
        if value is not None:
            line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
            step = re.sub(rf"(?m)^{name} = .*$", line.replace("\\", r"\\"), step)
    if rung.to is not None:
        step = re.sub(r', to = "\w+"', "", step)
        step = re.sub(r'(?m)^(P\d = .*mode = "\w+")', rf'\1, to = "{rung.to}"', step)
    return step


def cases_toml(cases: Sequence[Case]) -> bytes:
    """Write the questions that the city is tried with."""
    rows = [{name: getattr(case, name) for name in CASE_FIELDS} for case in cases]
    return CASES_HEAD.encode() + msgspec.toml.encode({"cases": rows})


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
