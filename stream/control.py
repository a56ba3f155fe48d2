"""What decides, by version: config contents kept in the log under their hash, and which of them is in force where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeVar

from models.catalogue import Catalogue
from models.check import check
from models.config import Config
from models.content import Content
from models.detectors.manifest import thresholds_of
from models.errors import ConfigError, StorageError
from models.people import People
from models.places import Places
from models.thresholds import Thresholds
from stream.inforce import InForce
from stream.log.append import new
from stream.log.file import NewRecord
from stream.records import ControlRecord, encode
from stream.world import World
from stream.zones.rules import Rules

C = TypeVar("C", bound=Content)
What = Literal["thresholds", "places", "people", "catalogue", "settings"]
OBS: Final[tuple[What, ...]] = ("places", "catalogue", "thresholds", "settings")
"""What decides about zones."""
INCIDENTS: Final[tuple[What, ...]] = ("places", "people", "catalogue", "thresholds", "settings")
"""What decides about incidents; the thresholds are only named in the order."""
NEWEST: Final = 1 << 62
"""An offset after all others."""


class Settings(Content, frozen=True, kw_only=True):
    """The part of `gridwarden.toml` that changes a decision."""

    tenant: str
    late_alarm_s: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config folder without mistakes."""

    config: Config
    contents: Mapping[What, Content]

    @property
    def places(self) -> Places:
        """The places of the folder."""
        places = self.contents["places"]
        assert isinstance(places, Places)
        return places


def load(path: Path) -> Loaded:
    """Return the config folder `path`, or that of its `gridwarden.toml`.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    found = check(path)
    if found.problems:
        raise ConfigError(found.problems)
    assert found.config
    assert found.places
    assert found.people
    assert found.catalogue
    assert found.thresholds
    contents: dict[What, Content] = {
        "places": found.places,
        "people": found.people,
        "catalogue": found.catalogue,
        "thresholds": with_scores(found.thresholds, found.config.edge.detector),
        "settings": Settings(tenant=found.config.tenant, late_alarm_s=found.config.stream.late_alarm_s),
    }
    return Loaded(found.config, contents)


def with_scores(thresholds: Thresholds, detector: str) -> Thresholds:
    """Return `thresholds` with the scores that `detector` brings, for labels on which they are silent.

    Raises:
        ConfigError: a label has no score in either, or the detector is needed and has no manifest.
    """
    rules = thresholds.labels.values()
    is_silent = any(rule.hint is None or rule.alarm is None for rule in rules)
    return thresholds.resolve(thresholds_of(detector) if is_silent else {})


def control_records(
    topic: str,
    partition: int,
    contents: Mapping[What, Content],
    in_force: Callable[[What], str | None],
    *,
    now_ms: int,
) -> Iterator[NewRecord]:
    """Give a record for each of `contents` of which another version is in force, or none."""
    for what, content in contents.items():
        if in_force(what) != content.version:
            record = ControlRecord(at_ms=now_ms, what=what, version=content.version)
            yield new(topic, partition, encode(record), now_ms)


class Contents:
    """Resolves versions to what decides. What was resolved last stays resolved.

    Args:
        stored: the canonical form under a version, None where it was never stored.
    """

    def __init__(self, stored: Callable[[str], bytes | None]) -> None:
        self._stored = stored
        self._loaded: dict[str, Content] = {}
        self._rules = lru_cache(maxsize=4)(self._make_rules)
        self._world = lru_cache(maxsize=2)(self._make_world)

    def put(self, content: Content) -> None:
        """Spare `content` from being decoded again."""
        self._loaded[content.version] = content

    def rules(self, in_force: InForce, offset: int) -> Rules:
        """Return the rules for the record of `obs` at `offset`.

        Raises:
            StorageError: nothing is in force there, or it is not in the log.
        """
        return self._rules(*(in_force.at(what, offset) for what in OBS))

    def world(self, in_force: InForce, offset: int) -> World | None:
        """Return the world for the record of `incidents` at `offset`; None until everything is in force.

        Raises:
            StorageError: a version that is in force is not in the log.
        """
        versions = tuple(in_force.at(what, offset) for what in INCIDENTS)
        return None if None in versions else self._world(*versions)

    def _make_rules(self, places: str, catalogue: str, thresholds: str, settings: str) -> Rules:
        decisive = self._content(settings, Settings)
        return Rules(
            tenant=decisive.tenant,
            places=self._content(places, Places),
            catalogue=self._content(catalogue, Catalogue),
            thresholds=self._content(thresholds, Thresholds),
            late_alarm_s=decisive.late_alarm_s,
        )

    def _make_world(self, places: str, people: str, catalogue: str, thresholds: str, settings: str) -> World:
        return World(
            tenant=self._content(settings, Settings).tenant,
            places=self._content(places, Places),
            people=self._content(people, People),
            catalogue=self._content(catalogue, Catalogue),
            thresholds_version=thresholds,
        )

    def _content(self, version: str | None, kind: type[C]) -> C:
        name = kind.__name__.lower()
        if version is None:
            raise StorageError(f"no {name} are in force yet")
        if version not in self._loaded:
            raw = self._stored(version)
            if raw is None:
                raise StorageError(f"version {version} of the {name} is in force, and not in the log")
            self.put(kind.from_bytes(raw))
        found = self._loaded[version]
        assert isinstance(found, kind)
        return found
