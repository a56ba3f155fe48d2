"""Puts the config folder in force, at the start and while the stream runs: the new beside the old, then the swap.

A version that has a mistake is refused: what was in force stays in force, and the log, the state folder and the
counters say why. What stands elsewhere in the new places is moved there before (`stream.migrate`). All of it happens in
threads and between two records, so that nothing waits and nothing is lost meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models import clock
from models.check import THRESHOLDS
from models.config import FILE
from models.content import Content
from models.errors import ConfigError, Problem
from models.places import Places
from stream.control import INCIDENTS, Contents, Loaded, Settings, What, load, with_thresholds
from stream.migrate import Migration
from stream.reload import Reloaded, Requests, Watched
from stream.world import World

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Ends:
    """What the reloader is given to act by.

    Attributes:
        held: returns the version of a content that is in force, None where none is.
        migration: moves what stands elsewhere in new places.
        put: stores contents in the log and puts them in force in every partition.
        admit: lets ingest go by a world.
    """

    held: Callable[[What], str | None]
    migration: Migration
    put: Callable[[Mapping[What, Content]], Awaitable[None]]
    admit: Callable[[World], None]


class Reloader:
    """One worker's part in it.

    Args:
        loaded: the folder as it was loaded for the start, perhaps with mistakes.
        worker: its name.
        contents: where the new version is built beside the old.

    Attributes:
        loaded: the folder as it was last taken over.
        applied: how often a changed folder was put in force, the start included.
        refused: how often one was refused.
    """

    def __init__(self, loaded: Loaded, worker: str, contents: Contents, ends: Ends) -> None:
        self.loaded = loaded
        self.applied = 0
        self.refused = 0
        self._worker = worker
        self._contents = contents
        self._ends = ends
        self._is_put_off = False
        self._requests = Requests(loaded.config.state)
        self._followed: dict[What, str] = {}
        self._thresholds = Watched(Path(loaded.config.folder) / THRESHOLDS)

    async def begin(self) -> None:
        """Put the folder in force, or go on with what is, and admit.

        Raises:
            ConfigError: the folder has mistakes, and nothing is in force yet; or it is about another tenant, whose
                devices would be listened to beside a log that knows nothing of them.
        """
        held = self._held()
        if held is not None and (problems := self._conflicts(self.loaded, held)):
            raise ConfigError(problems)
        # Only a stream that runs can move what it knows: until then it goes on with what is in force.
        self._is_put_off = bool(self.loaded.contents) and await asyncio.to_thread(self._is_to_move, self.loaded)
        if not self._is_put_off:
            answer = await self._answer("", self._given)
            if answer.outcome == "refused" and self._held() is None:
                raise ConfigError(self.loaded.problems)
        await self._follow()

    async def run(self) -> None:
        """Answer requests, take up new thresholds, and follow what another worker puts in force, for ever."""
        if self._is_put_off:
            await self._answer("", self._given)
        while True:
            await asyncio.sleep(LOOK_S)
            request = self._requests.take(self._worker)
            if request is not None:
                await self._answer(request, self._reread)
            elif self._thresholds.has_changed() and self.loaded.contents:
                await self._answer("", self._with_new_thresholds)
            await self._follow()

    async def _given(self) -> Loaded:
        if self.loaded.problems:
            raise ConfigError(self.loaded.problems)
        return self.loaded

    async def _reread(self) -> Loaded:
        return await asyncio.to_thread(load, self.loaded.path)

    async def _with_new_thresholds(self) -> Loaded:
        return await asyncio.to_thread(with_thresholds, self.loaded)

    async def _answer(self, request: str, read: Callable[[], Awaitable[Loaded]]) -> Reloaded:
        try:
            changed, moved = await self._take_over(await read())
        except ConfigError as exc:
            answer = self._refusal(request, [str(problem) for problem in exc.problems])
        except Exception as exc:  # whatever the new version does: the old one goes on
            log.exception("a reload failed")
            if self._held() is None:
                raise
            answer = self._refusal(request, [f"{type(exc).__name__}: {exc}"])
        else:
            self.applied += bool(changed)
            answer = Reloaded(
                request=request,
                at_ms=clock.now_ms(),
                outcome="applied" if changed else "unchanged",
                changed=changed,
                moved=moved,
                versions=self._named(),
            )
            if moved:
                log.info("moved: %s", ", ".join(moved))
            if changed:
                log.info("in force from here on: %s", ", ".join(changed))
        self._requests.answer(answer)
        return answer

    def _refusal(self, request: str, problems: list[str]) -> Reloaded:
        self.refused += 1
        log.error("the config folder is refused, what was in force stays in force:\n%s", "\n".join(problems))
        return Reloaded(
            request=request,
            at_ms=clock.now_ms(),
            outcome="refused",
            versions=self._named(),
            problems=tuple(problems),
        )

    async def _take_over(self, loaded: Loaded) -> tuple[tuple[What, ...], tuple[str, ...]]:
        """Put in force what is new in `loaded`, and return what that was, and what was moved for it.

        Raises:
            ConfigError: it does not go with what is in force.
        """
        held = self._held()
        versions = await asyncio.to_thread(_versions, loaded.contents)
        changed = tuple(what for what, version in versions.items() if held is None or held[what] != version)
        if held is not None and changed:
            problems = await asyncio.to_thread(self._conflicts, loaded, held)
            if problems:
                raise ConfigError(problems)
        for content in loaded.contents.values():
            self._contents.put(content)
        if changed:
            await asyncio.to_thread(self._contents.prepare, versions, now_ms=clock.now_ms())
        moved: tuple[str, ...] = ()
        if held is not None and await asyncio.to_thread(self._is_to_move, loaded):
            moved = await self._ends.migration.run(self._places(held), loaded.places)
        if changed:
            await self._ends.put(loaded.contents)
        await self._ends.migration.end()
        self.loaded = loaded
        return changed, moved

    def _places(self, held: Mapping[What, str]) -> Places:
        return self._contents.content(held["places"], Places)

    def _is_to_move(self, loaded: Loaded) -> bool:
        held = self._held()
        if held is None or (held["places"] == loaded.places.version and not self._ends.migration.is_begun):
            return False
        return self._ends.migration.is_needed(self._places(held), loaded.places)

    def _conflicts(self, loaded: Loaded, held: Mapping[What, str]) -> list[Problem]:
        folder = Path(loaded.config.folder)
        settings = self._contents.content(held["settings"], Settings)
        if settings.tenant == loaded.config.tenant:
            return []
        what = f"tenant {settings.tenant} becomes {loaded.config.tenant}"
        return [Problem(folder / FILE, "tenant", what, "give another tenant a state folder of its own")]

    def _named(self) -> dict[str, str]:
        return {str(what): version for what, version in (self._held() or {}).items()}

    def _held(self) -> dict[What, str] | None:
        """Return the versions that are in force, None where not all of them are."""
        found = {what: self._ends.held(what) for what in INCIDENTS}
        versions = {what: version for what, version in found.items() if version is not None}
        return versions if len(versions) == len(found) else None

    async def _follow(self) -> None:
        """Go by what is in force, whoever has put it there."""
        versions = self._held()
        if versions is not None and versions != self._followed:
            world = await asyncio.to_thread(self._contents.prepare, versions, now_ms=clock.now_ms())
            self._ends.admit(world)
            self._followed = versions


def _versions(contents: Mapping[What, Content]) -> dict[What, str]:
    return {what: content.version for what, content in contents.items()}
