"""Refusing an outbox for ever: that of a cloned card, or of a device that was replaced.

It stands in the compacted control topic, which every worker follows: from there on its messages are dead letters, and
whoever sends them is told to stop.
"""

from __future__ import annotations

from typing import Final

import msgspec

from models import clock
from models.config import Config
from stream.log.engine import CONTROL_TOPIC, log_of
from stream.log.file import NewRecord

_KEY: Final = "retired:"


def retired_key(outbox_id: str) -> str:
    """Return the key under which it stands that an outbox is retired."""
    return f"{_KEY}{outbox_id}"


async def retire(config: Config, outbox_id: str) -> None:
    """Refuse `outbox_id` from now on; a stream that runs hears of it at once.

    Raises:
        StorageError: there is no log, or it cannot be written.
    """
    async with log_of(config) as log:
        now_ms = clock.now_ms()
        key = msgspec.json.encode(retired_key(outbox_id))
        await log.append([NewRecord(CONTROL_TOPIC, 0, b"%d" % now_ms, now_ms, key)])
