"""A town for tests: a real sample city, its keys, and orders as the stream would write them."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from alerts.escalation import limits_of
from alerts.names import Names
from models import catalogue, seal
from models.city import generate, write
from models.config import Alerts, Config, Mqtt, load, to_toml
from models.geo import to_degrees
from models.ids import incident_id
from models.messages import (
    Candidate,
    DispatchOrder,
    Incident,
    OrderStep,
    Position,
    Priority,
    Stage,
    Timeline,
    Versions,
)

DAY_MS = 86_400_000
LIMITS = limits_of(catalogue.load().clocks)


@functools.cache
def city_names() -> Names:
    city = generate(135, 0)
    return Names(catalogue.load(), city.people, city.places)


@dataclass(frozen=True)
class Town:
    """A config folder with a city in it, everybody's keys, and a broker's address."""

    config: Config
    keys: seal.Keyring

    @property
    def file(self) -> Path:
        return Path(self.config.folder) / "gridwarden.toml"


def found(folder: Path) -> Path:
    """Write a city and everybody's keys into `folder`: what all towns are copies of."""
    city = generate(135, 0)
    write(city, folder)
    kids = ["stream", "alerts", *(d.id for d in city.places.devices), *(p.id for p in city.people.persons)]
    seal.make_keys(folder / "var" / "keys", kids)
    return folder


def build(folder: Path, mqtt: Mqtt, *, like: Path | None = None, demo_logins: bool = True) -> Town:
    """Make a town in `folder`, with its state in `folder/var`: a copy of `like`, or a new one."""
    if like is None:
        found(folder)
    else:
        shutil.copytree(like, folder)
    config = msgspec.structs.replace(
        load(folder),
        mqtt=mqtt,
        alerts=Alerts(port=0, demo_logins=demo_logins),
        state_dir=str(folder / "var"),
        folder=str(folder),
    )
    (folder / "gridwarden.toml").write_bytes(to_toml(config))
    return Town(config, seal.load_keys(config.keys))


def candidate(post: str, person: str, *reasons: str, duty: tuple[int, int] = (0, 1 << 52)) -> Candidate:
    return Candidate(post=post, person=person, duty_from_ms=duty[0], duty_until_ms=duty[1], reasons=reasons)


def holders(post: str, *reasons: str) -> list[Candidate]:
    """Return who ever holds `post`, as candidates on duty: a test must not depend on the hour at which it runs."""
    shifts = city_names().people.weekly_shifts
    return [candidate(post, person, *reasons) for person in sorted({one.person for one in shifts if one.post == post})]


def on_duty(post: str, now_ms: int, *reasons: str) -> list[Candidate]:
    """Return who holds `post` now, as candidates whose shift does not end during the test."""
    return [candidate(post, person.id, *reasons) for person in city_names().people.on_duty(post, now_ms)]


def incident(n: int = 1, *, now_ms: int, device: str = "cam-01", **changes: object) -> Incident:
    """Return incident `n`: a pre-alarm about smoke where `device` stands."""
    at = city_names().places.device_by_id[device]
    made = Incident(
        incident_id=incident_id("sample", device, "ob-1", "alarm", n),
        category="fire.smoke.single",
        family="fire",
        priority=Priority.P2,
        stage=Stage.PRE_ALARM,
        position=Position(lon_deg=to_degrees(at.point[0]), lat_deg=to_degrees(at.point[1]), radius_m=18.0),
        areas={"cell": at.cell, **({"node": at.node} if at.node else {})},
        opened_at_ms=now_ms - 900,
        updated_at_ms=now_ms - 60,
        label="smoke",
        confidence=0.83,
        count=4,
        sources=(device,),
        timeline=Timeline(
            captured_ms=now_ms - 420,
            inferred_ms=now_ms - 300,
            queued_ms=now_ms - 292,
            sent_ms=now_ms - 280,
            ingested_ms=now_ms - 214,
            decided_ms=now_ms - 150,
            matched_ms=now_ms - 141,
            ordered_ms=now_ms - 90,
        ),
    )
    return msgspec.structs.replace(made, **changes)


def chain(at: Incident, now_ms: int) -> tuple[OrderStep, ...]:
    """Return the steps of P2 for an incident in a base cell: officer and deputies, seat, then upwards."""
    people = city_names().people
    post = people.posts_by_scope[at.areas["cell"]][0]
    officers = holders(post.id, "INSIDE_CELL")
    told = {c.person for c in officers}
    deputies = [candidate(post.id, person, "DEPUTY") for person in post.deputies if person not in told]
    steps = [
        OrderStep(step=0, offset_ms=0, mode="alert", candidates=(*officers, *deputies)),
        OrderStep(step=0, offset_ms=0, mode="alert", seat=True, at_once=True, candidates=()),
    ]
    for number, above in enumerate(people.parents(post.id)[:5], start=1):
        offset_ms = (180, 360, 900, 1200, 3600)[number - 1] * 1000
        who = tuple(on_duty(above.id, now_ms, "SUPERVISOR"))
        steps.append(OrderStep(step=number, offset_ms=offset_ms, mode="alert", candidates=who))
    return tuple(steps)


def order(
    at: Incident, *, steps: tuple[OrderStep, ...], seq: int = 1, revision: int = 1, **changes: object
) -> DispatchOrder:
    """Return the order about `at`."""
    made = DispatchOrder(
        v=1,
        outbox_id="log-1",
        seq=seq,
        revision=revision,
        incident=at,
        lead_unit="unit-grid",
        lead_post=next((c.post for step in steps for c in step.candidates), "office-01"),
        co_units=(),
        steps=steps,
        versions=Versions(places="p", people="w", catalogue="c"),
        ordered_at_ms=at.updated_at_ms,
    )
    return msgspec.structs.replace(made, **changes)
