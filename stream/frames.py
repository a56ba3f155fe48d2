"""What a process and a child of its own say to each other over pipes: frames of a length and MessagePack."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import IO, Any, Final

import msgspec

_LENGTH_BYTES: Final = 4
_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
_encode = msgspec.msgpack.Encoder().encode


def write(pipe: IO[bytes], message: object) -> None:
    """Say `message`.

    Raises:
        BrokenPipeError: nobody listens any more.
    """
    data = _encode(message)
    pipe.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """Return the MessagePack of what `write` was given next; None: there is no more."""
    length = int.from_bytes(pipe.read(_LENGTH_BYTES), "big")
    data = pipe.read(length)
    return data if length and len(data) == length else None


def command(module: str, *arguments: str) -> list[str]:
    """Return how a child is started. With -P, or a folder `stream` where we are would stand in for ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def live_and_die_with_parent() -> None:
    """Let who asks decide when it is over: no signal from a terminal, but his end, however he ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def decode(data: bytes) -> Any:  # noqa: ANN401  # plain values, of whatever kind they are
    """Return plain values."""
    return msgspec.msgpack.decode(data)
