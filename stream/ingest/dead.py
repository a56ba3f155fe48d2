"""Dead letters: what could not be taken, with its reason and enough of it to recognise and replay it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from models.errors import MessageError, Reason
from models.messages import VERSION, DeadLetter, decode, encode
from stream.log.file import NewRecord

HEAD_BYTES: Final = 4096


def dead_letter(source: str, payload: bytes, error: MessageError, *, now_ms: int) -> DeadLetter:
    """Return the dead letter of `payload`, which came from `source` (a topic, or ``partition/offset/n`` of a log)."""
    return DeadLetter(
        v=VERSION,
        reason=error.reason,
        detail=error.detail[:500],
        source=source[:500],
        at_ms=now_ms,
        size_bytes=len(payload),
        sha256=hashlib.sha256(payload).hexdigest(),
        head_b64=base64.b64encode(payload[:HEAD_BYTES]).decode(),
    )


def dead(source: str, payload: bytes, error: MessageError, *, now_ms: int) -> NewRecord:
    """Return the dead letter as it is appended, by its source."""
    letter = encode(dead_letter(source, payload, error, now_ms=now_ms))
    return NewRecord("dead", 0, letter, now_ms, source.encode()[:500])


def rule_failed(exc: Exception) -> MessageError:
    """Return what is said of an observation on which a rule failed."""
    return MessageError(Reason.RULE_FAILED, f"{type(exc).__name__}: {exc}")


def of_reason(values: Iterable[bytes], reason: str | None) -> Iterator[bytes]:
    """Give the letters of one reason, or all."""
    return (value for value in values if reason is None or decode(value, DeadLetter).reason == reason)


def lines(values: Iterable[bytes], *, as_json: bool) -> Iterator[str]:
    """Give one line for each dead letter, for a person or as it stands in the log."""
    for value in values:
        if as_json:
            yield value.decode()
            continue
        letter = decode(value, DeadLetter)
        at = dt.datetime.fromtimestamp(letter.at_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")
        yield f"{at}  {letter.reason:16}  {letter.size_bytes:8}  {letter.sha256[:12]}  {letter.source}  {letter.detail}"
