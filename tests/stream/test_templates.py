"""Each model of grid governance, as a config folder: it validates, and six incidents go where its source says."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models import cases
from models.check import check
from models.city import generate, template, write
from models.city.template import FOLDER
from models.city.trial import TRIALS
from models.proof import prove
from stream.rank import Match
from stream.route import Asked, moment, route
from stream.world import World

MODELS = {
    "chongqing_141",
    "dawukou",
    "dongcheng",
    "five_chiefs",
    "five_chiefs_grid",
    "haidian",
    "hangzhou",
    "shanghai",
    "street_chief",
    "taoyuan",
    "yichang",
    "zhoushan",
}
Rows = tuple[str, ...]
MONDAY_MS = int(dt.datetime(2026, 11, 23, tzinfo=dt.UTC).timestamp() * 1000)


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chain as `expected.toml` has it: rows of the template, in the order in which they are asked."""

    lead_unit: str
    lead: str
    step_0: Rows
    seat: Rows
    step_1: Rows = ()
    step_2: Rows = ()
    step_3: Rows = ()
    step_4: Rows = ()
    step_5: Rows = ()
    at_once: bool = False
    mandatory: Rows = ()
    informed: Rows = ()


@cache
def expected(name: str) -> Mapping[str, Expected]:
    raw = msgspec.toml.decode((FOLDER / name / "expected.toml").read_bytes(), type=dict[str, Any])
    assert raw.pop("source")
    return msgspec.convert(raw, dict[str, Expected])


def found(match: Match) -> Expected:
    """Give a chain in the words of the template: a post's id begins with its row's name."""
    steps: dict[str, dict[str, None]] = {}
    for step in match.steps:
        rows = steps.setdefault("seat" if step.seat else f"step_{step.step}", {})
        rows.update(dict.fromkeys(_row(candidate.post) for candidate in step.candidates))
    units = {
        kind: tuple(sorted({_row(unit) for unit, how in match.co_units if how == kind}))
        for kind in ("mandatory", "informed")
    }
    first = next(step for step in match.steps if step.step == 0 and not step.seat)
    return Expected(
        lead_unit=match.lead_unit,
        lead=_row(match.lead_post),
        at_once=first.at_once,
        **{step: tuple(rows) for step, rows in steps.items()},
        **units,
    )


def _row(identity: str) -> str:
    return identity.partition("-")[0]


def test_every_model_of_the_sources_is_there_with_its_table() -> None:
    assert set(template.names()) == MODELS
    for name in MODELS:
        assert set(expected(name)) == {trial.id for trial in TRIALS}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_six_incidents_go_where_the_source_of_a_template_says(name: str, tmp_path: Path) -> None:
    write(generate(template=name), tmp_path)
    folder = check(tmp_path)
    assert folder.problems == []
    assert folder.config
    assert folder.places
    assert folder.people
    assert folder.catalogue
    proof = prove(folder.places, folder.people, folder.catalogue, from_ms=MONDAY_MS, days=8)
    assert not proof.holes
    assert not proof.warnings
    world = World(folder.config.tenant, folder.places, folder.people, folder.catalogue)
    chains = {}
    for case in cases.load(tmp_path / cases.FILE):
        at_ms = moment(case.at.isoformat(), world, now_ms=0)
        asked = Asked(case.lon_deg, case.lat_deg, case.category, at_ms, case.radius_m)
        chains[case.id] = found(route(asked, world))
    assert chains == expected(name)


def test_no_two_models_expect_the_same_chains_whatever_they_call_their_posts() -> None:
    tables = {name: _in_roles(name) for name in MODELS}
    for one, other in itertools.combinations(sorted(MODELS), 2):
        assert tables[one] != tables[other], f"{one} and {other} are the same"


def _in_roles(name: str) -> list[Any]:
    """Give a table with roles in the place of a template's own names."""
    model = template.load(name)
    roles = {key: row.role for key, row in model.posts.items()} | {key: row.kind for key, row in model.partners.items()}
    kinds = {unit.id: unit.kind for unit in model.units}
    return [
        [
            kinds[case.lead_unit],
            case.at_once,
            [
                [str(roles.get(row, row)) for row in rows]
                for rows in msgspec.structs.astuple(case)
                if isinstance(rows, tuple)
            ],
        ]
        for case in expected(name).values()
    ]
