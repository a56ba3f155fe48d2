"""The `alerts` process: ledger, office, dispatcher and command center on one event loop, until somebody says stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from litestar.types import ASGIApp

from alerts import metrics
from alerts.dispatcher import Dispatcher
from alerts.follow import Follower
from alerts.ledger import Ledger, url_of
from alerts.names import Names
from alerts.office import Office
from alerts.web.app import make_app
from alerts.web.center import Center
from alerts.web.logins import SEAT, Logins
from alerts.web.places import Map
from models import clock, seal
from models.config import FILE, Config
from models.errors import ConfigError, Problem
from models.supervise import write_atomically

log = logging.getLogger(__name__)

READY_FILE: Final = "alerts.json"
STOP_S: Final = 2


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT; `<state>/alerts.json` says where, once everything answers.

    Raises:
        ConfigError: a file of the config folder, a missing key, or a port that is taken.
        StorageError: the ledger cannot be opened or, later, written.
    """
    names = Names.load(config)
    keys = seal.load_keys(config.keys)
    logins = Logins.load(config.state / "logins", sorted(names.people.person_by_id))
    listener = _listen(config)
    ledger = await asyncio.to_thread(Ledger.open, url_of(config), now_ms=clock.now_ms())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    office = Office(ledger, names)
    dispatcher = Dispatcher(config, keys, office)
    center = Center(office, dispatcher, logins, Map(names.places), config.alerts.demo_logins)
    app = make_app(center)
    server = _Server(_uvicorn_config(app))
    parts = {
        asyncio.create_task(dispatcher.run()),
        asyncio.create_task(Follower(config, center, keys).run()),
        asyncio.create_task(metrics.tell(config, office, dispatcher)),
        asyncio.create_task(server.serve(sockets=[listener])),
        asyncio.create_task(_announce(config, server, listener, logins)),
    }
    try:
        await _until_stopped(stop, office, parts)
    finally:
        office.close()
        server.should_exit = True
        await _end(parts)
        await asyncio.to_thread(ledger.close)


async def _until_stopped(stop: asyncio.Event, office: Office, parts: set[asyncio.Task[None]]) -> None:
    """Wait for the signal; a part that fails, or a ledger that does, ends everything with its error."""
    stopped = asyncio.ensure_future(stop.wait())
    waiting: set[asyncio.Future[Any]] = {stopped, office.failed, *parts}
    while not stopped.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if office.failed.done():
            office.failed.result()
        for part in done:
            part.result()
    log.info("stopping")


async def _end(parts: set[asyncio.Task[None]]) -> None:
    """Let the server finish its answers, then end what is left."""
    _, running = await asyncio.wait(parts, timeout=0.5)
    for part in running:
        part.cancel()
    await asyncio.wait(parts, timeout=STOP_S)


async def _announce(config: Config, server: _Server, listener: socket.socket, logins: Logins) -> None:
    await server.answers.wait()
    host, port = listener.getsockname()[:2]
    address = f"http://{host}:{port}/"
    ready = {"address": address, "seat_login": f"{address}login?token={logins.token(SEAT)}", "pid": os.getpid()}
    write_atomically(config.state / READY_FILE, json.dumps(ready).encode())
    log.info("the command center answers on %s", address)


def _listen(config: Config) -> socket.socket:
    where = (config.alerts.host, config.alerts.port)
    try:
        return socket.create_server(where)
    except OSError as exc:
        what = f"{where[0]}:{where[1]} cannot be listened on: {exc.strerror}"
        remedy = "name a free port, or 0 to have one chosen"
        raise ConfigError([Problem(f"{config.folder}/{FILE}", "alerts.port", what, remedy)]) from exc


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # a login link carries a secret
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )


class _Server(uvicorn.Server):
    """Leaves the signals to us: there is more to stop than the server."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
