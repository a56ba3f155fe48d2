"""A TCP proxy that can be cut and slowed down: what a bad line does to a connection, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final

from models.broker import free_port

CHUNK: Final = 65_536


class Proxy:
    """Passes connections on to a port of this machine.

    Attributes:
        port: where it listens, on loopback.
        target_port: of the real server; to be set before the first connection where it is not known yet.
        delay_s: each chunk waits so long.
    """

    def __init__(self, target_port: int = 0) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.delay_s = 0.0
        self._is_cut = threading.Event()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and take no new one."""
        self._is_cut.set()
        for pair in list(self._pairs):
            self._close(pair)

    def mend(self) -> None:
        """Take connections again, without delay."""
        self.delay_s = 0.0
        self._is_cut.clear()

    def close(self) -> None:
        """End it."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5.0)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            self._pairs.add(pair)
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._pump, args=(source, sink, pair), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        self._close(pair)

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
