"""What decides, by version: config contents kept in the log under their hash, and which of them is in force where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeVar

from models import thresholds
from models.catalogue import Catalogue
from models.check import THRESHOLDS, check
from models.config import Config
from models.content import Content
from models.detectors.manifest import thresholds_of
from models.errors import ConfigError, Problem, StorageError
from models.people import People
from models.places import Places
from models.thresholds import Thresholds
from stream.contents import content_of
from stream.inforce import InForce
from stream.log.append import new
from stream.log.file import NewRecord
from stream.matcher import Matcher
from stream.records import ControlRecord, encode
from stream.world import World
from stream.zones.rules import Rules

C = TypeVar("C", bound=Content)
What = Literal["thresholds", "places", "people", "catalogue", "settings"]
OBS: Final[tuple[What, ...]] = ("places", "catalogue", "thresholds", "settings")
"""What decides about zones."""
INCIDENTS: Final[tuple[What, ...]] = ("places", "people", "catalogue", "thresholds", "settings")
"""What decides about incidents; the thresholds are only named in the order."""
KEEP: Final = 12
"""Contents that stay decoded: two versions of everything, and what a roll back needs."""
NEWEST: Final = 1 << 62
"""An offset after all others."""


class MissingContentError(StorageError):
    """A content is in force and not in the log."""


class Settings(Content, frozen=True, kw_only=True):
    """The part of `gridwarden.toml` that changes a decision."""

    tenant: str
    late_alarm_s: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config folder.

    Attributes:
        path: what it was loaded from, and is loaded from again.
        contents: all of them, or none where there are mistakes.
        problems: the mistakes: `load` raises them, `load_to_start` does not.
    """

    config: Config
    contents: Mapping[What, Content]
    path: Path = Path()
    problems: tuple[Problem, ...] = ()

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
    loaded = load_to_start(path)
    if loaded.problems:
        raise ConfigError(loaded.problems)
    return loaded


def load_to_start(path: Path) -> Loaded:
    """Return the config folder `path`, with its mistakes: a stream can go on with what the log has in force.

    Raises:
        ConfigError: `gridwarden.toml` itself is wrong.
    """
    found = check(path, trust=True)
    if found.problems:
        if found.config is None:
            raise ConfigError(found.problems)
        return Loaded(found.config, {}, path, tuple(found.problems))
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
    return Loaded(found.config, contents, path)


def with_thresholds(loaded: Loaded) -> Loaded:
    """Return a folder with its thresholds as they are in the file now, and all else as it was loaded.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    file = Path(loaded.config.folder) / THRESHOLDS
    found = thresholds.load(file)
    problems = list(thresholds.place_problems(found, loaded.places, file=file))
    if problems:
        raise ConfigError(problems)
    changed: dict[What, Content] = {"thresholds": with_scores(found, loaded.config.edge.detector)}
    return replace(loaded, contents={**loaded.contents, **changed})


def with_scores(found: Thresholds, detector: str) -> Thresholds:
    """Return thresholds with the scores that `detector` brings, for labels on which they are silent.

    Raises:
        ConfigError: a label has no score in either, or the detector is needed and has no manifest.
    """
    try:
        scores = thresholds_of(detector)
    except ConfigError:
        rules = found.labels.values()
        if not rules or any(rule.hint is None or rule.alarm is None for rule in rules):
            raise
        scores = {}
    return found.resolve(scores)


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
        stored: the row of a content under its version (`stream.contents`), None where it was never stored.
    """

    def __init__(self, stored: Callable[[str], bytes | None]) -> None:
        self._stored = stored
        self._loaded: dict[str, Content] = {}
        self._indexed: dict[tuple[str, str, str], Matcher] = {}
        self._rules = lru_cache(maxsize=4)(self._make_rules)
        self._world = lru_cache(maxsize=2)(self._make_world)

    def put(self, content: Content) -> None:
        """Spare `content` from being decoded again."""
        self._loaded.pop(content.version, None)
        self._loaded[content.version] = content
        while len(self._loaded) > KEEP:
            del self._loaded[next(iter(self._loaded))]

    def prepare(self, versions: Mapping[What, str], *, now_ms: int) -> World:
        """Return the world of `versions`, with its indexes, and have the rules ready: no record then waits for them.

        It takes seconds for a large city; nothing that is in force is touched, so another thread may do it.

        Raises:
            StorageError: one of them is not in the log.
        """
        self._rules(*(versions[what] for what in OBS))
        world = self._world(*(versions[what] for what in INCIDENTS))
        world.warm(now_ms)
        self._indexed = {(versions["places"], versions["people"], versions["catalogue"]): world.matcher}
        return world

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
        decisive = self.content(settings, Settings)
        return Rules(
            tenant=decisive.tenant,
            places=self.content(places, Places),
            catalogue=self.content(catalogue, Catalogue),
            thresholds=self.content(thresholds, Thresholds),
            late_alarm_s=decisive.late_alarm_s,
        )

    def _make_world(self, places: str, people: str, catalogue: str, thresholds: str, settings: str) -> World:
        world = World(
            tenant=self.content(settings, Settings).tenant,
            places=self.content(places, Places),
            people=self.content(people, People),
            catalogue=self.content(catalogue, Catalogue),
            thresholds_version=thresholds,
        )
        matcher = self._indexed.get((places, people, catalogue))
        if matcher is not None:  # other thresholds need no other indexes
            world.__dict__["matcher"] = matcher
        return world

    def content(self, version: str | None, kind: type[C]) -> C:
        """Return the content of a version.

        Raises:
            StorageError: there is no version, or it is not in the log.
        """
        name = kind.__name__.lower()
        if version is None:
            raise StorageError(f"no {name} are in force yet")
        found = self._loaded.get(version)
        if found is None:
            raw = content_of(version, self._stored)
            if raw is None:
                raise MissingContentError(f"version {version} of the {name} is in force, and not in the log")
            found = kind.from_bytes(raw)
            self.put(found)
        assert isinstance(found, kind)
        return found
