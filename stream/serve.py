"""``gridwarden stream``: one worker, run until it is told to stop, and started anew when it is stuck."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

from models.errors import ConfigError
from stream.app import StreamApp
from stream.control import Loaded, load_to_start
from stream.runner import EXIT_CODE
from stream.watchdog import StuckError

log = logging.getLogger(__name__)

GIVE_UP_S: Final = 20.0


async def serve(loaded: Loaded, worker: str | None = None) -> None:
    """Run until SIGTERM or SIGINT, then stop in order. A worker that got stuck is started anew.

    Raises:
        GridwardenError: it could not start, or could not go on.
    """
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    restarts = 0
    while not told.is_set():
        stream = StreamApp(loaded, worker, restarts=restarts)
        try:
            if await _unless(told, stream.start()):
                await _unless(told, stream.failed())
        except StuckError as exc:
            restarts += 1
            with contextlib.suppress(ConfigError):  # what is on its way is not worth ending for
                loaded = load_to_start(loaded.path)
            log.critical("stuck, starting anew for the %s. time: %s", restarts, exc)
        finally:
            await _stop(stream)


async def _unless(told: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Return whether `work` has come to its end before we were told to stop; then it is cancelled."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(told.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
        return False
    working.result()
    return True


async def _stop(stream: StreamApp) -> None:
    try:
        async with asyncio.timeout(GIVE_UP_S):
            await stream.stop()
    except TimeoutError:
        # What is stuck may not even stop. Whoever has started this process starts it anew, from the last commit.
        log.critical("not stopped within %s s, ending without a commit", GIVE_UP_S)
        logging.shutdown()
        os._exit(EXIT_CODE)
