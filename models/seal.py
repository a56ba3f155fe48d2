"""The seal: who sent a message is proved by the message, not by the broker.

A payload is one line of JSON, then a second line ``{"kid": sender, "mac": hex}``: HMAC-SHA256 with the sender's own key
over topic, newline and the first line's bytes. What follows a second newline (a picture) is bound by the SHA-256 that
the first line carries.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from models.errors import ConfigError, MessageError, Problem, Reason

KEY_BYTES: Final = 32
_KID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class _Seal(Struct, forbid_unknown_fields=True):
    kid: str
    mac: str


_seal_decoder = Decoder(_Seal)


def _mac(key: bytes, topic: str, line: bytes) -> str:
    return hmac.digest(key, b"%b\n%b" % (topic.encode(), line), "sha256").hex()


def seal(topic: str, line: bytes, *, kid: str, key: bytes, attachment: bytes = b"") -> bytes:
    """Return the payload to publish on `topic`: `line`, its seal, and `attachment` after a further newline."""
    sealed = b'%b\n{"kid":"%b","mac":"%b"}' % (line, kid.encode(), _mac(key, topic, line).encode())
    return sealed + b"\n" + attachment if attachment else sealed


def split(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (line, seal line, attachment) of `payload`, unverified; the last two may be empty."""
    line, _, rest = payload.partition(b"\n")
    seal_line, _, attachment = rest.partition(b"\n")
    return line, seal_line, attachment


class Keyring:
    """The keys this process knows, by kid. Its repr shows names only."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    def __repr__(self) -> str:
        return f"Keyring({sorted(self._keys)})"

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    def __getitem__(self, kid: str) -> bytes:
        return self._keys[kid]

    def take_over(self, other: Keyring) -> None:
        """Hold the keys of `other` from here on, and no others."""
        self._keys = dict(other._keys)

    def seal(self, topic: str, line: bytes, *, kid: str, attachment: bytes = b"") -> bytes:
        """As `seal`, with the key of `kid`."""
        return seal(topic, line, kid=kid, key=self._keys[kid], attachment=attachment)

    def open(self, topic: str, payload: bytes) -> tuple[str, bytes, bytes]:
        """Return (kid, line, attachment) of a payload whose seal is right.

        Raises:
            MessageError: no seal, an unknown sender, or a wrong seal.
        """
        line, seal_line, attachment = split(payload)
        if not seal_line:
            raise MessageError(Reason.NO_SEAL, "the payload has no second line")
        try:
            given = _seal_decoder.decode(seal_line)
        except (DecodeError, UnicodeDecodeError) as exc:
            raise MessageError(Reason.NO_SEAL, f"the second line is no seal: {exc}") from exc
        key = self._keys.get(given.kid)
        if key is None:
            raise MessageError(Reason.UNKNOWN_SENDER, f"no key of {given.kid[:64]!r} is known here")
        if not hmac.compare_digest(_mac(key, topic, line).encode(), given.mac.encode()):
            raise MessageError(Reason.WRONG_SEAL, f"the seal of {given.kid!r} does not fit topic and line")
        return given.kid, line, attachment


def make_keys(folder: Path, kids: list[str]) -> None:
    """Make a key file in `folder` for each of `kids` that has none; folder 0700, files 0600."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for kid in kids:
        path = folder / f"{kid}.key"
        if path.exists():
            continue
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")


def load_keys(folder: Path, kids: list[str] | None = None) -> Keyring:
    """Return the keys in `folder`: those of `kids`, or all.

    Raises:
        ConfigError: a key is missing, unreadable, or open to others.
    """
    problems: list[Problem] = []
    keys: dict[str, bytes] = {}
    paths = sorted(folder.glob("*.key")) if kids is None else [folder / f"{kid}.key" for kid in kids]
    for path in paths:
        try:
            if path.stat().st_mode & 0o077:
                problems.append(Problem(path, "mode", "the key is readable by others", f"run: chmod 600 {path}"))
            key = bytes.fromhex(path.read_text().strip())
        except FileNotFoundError:
            problems.append(Problem(path, "-", "the key file is missing", "run: gridwarden keys CONFIG_FOLDER"))
            continue
        except (OSError, ValueError) as exc:
            problems.append(Problem(path, "-", f"not a key: {exc}", "a key is 64 hexadecimal digits on one line"))
            continue
        if len(key) != KEY_BYTES or not _KID.fullmatch(path.stem):
            problems.append(Problem(path, "-", "not a key", "a key is 64 hexadecimal digits on one line"))
        keys[path.stem] = key
    if problems:
        raise ConfigError(problems)
    return Keyring(keys)
