"""The config folder changes while `alerts` runs: names, map, logins and keys are read again.

Nothing here decides who is asked: that stands in the orders, made by what the stream has in force. So a folder that is
half written only leaves the old names on the pages a moment longer.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alerts.names import Names
from alerts.web.center import Center
from alerts.web.places import Map
from models import seal
from models.config import Config
from models.errors import ConfigError
from models.seal import Keyring

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
WATCHED: Final = ("places.geojson", "people.toml", "people/*.csv", "catalogue.toml")

Stamp = frozenset[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class Follower:
    """Keeps what is shown up to date.

    Attributes:
        keys: the ring that the dispatcher uses.
    """

    config: Config
    center: Center
    keys: Keyring

    async def run(self) -> None:
        """Look once a second whether a file has changed, for ever; read them again when they rest."""
        read = seen = self._stamp()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._stamp()
            if now == seen and now != read:
                read = now
                await self._read()
            seen = now

    async def _read(self) -> None:
        try:
            names = await asyncio.to_thread(Names.load, self.config)
            keys = await asyncio.to_thread(seal.load_keys, self.config.keys)
        except ConfigError as exc:
            log.error("the config folder is not read again, names stay as they were:\n%s", exc)  # noqa: TRY400
            return
        self.keys.take_over(keys)
        self.center.logins.admit(self.config.state / "logins", sorted(names.people.person_by_id))
        self.center.office.names = names
        self.center.city = await asyncio.to_thread(Map, names.places)
        log.info("names, map and logins are those of the changed config folder")

    def _stamp(self) -> Stamp:
        """Return what changes when a file does."""
        paths = [path for pattern in WATCHED for path in Path(self.config.folder).glob(pattern)]
        return frozenset(stamp for path in paths if (stamp := _stamp_of(path)) is not None)


def _stamp_of(path: Path) -> tuple[str, int, int] | None:
    try:
        stat = path.stat()
    except OSError:  # gone between the listing and the look
        return None
    return str(path), stat.st_mtime_ns, stat.st_size
