"""Config content: read strictly, named wrongly all at once, and kept under its hash.

Places, people, catalogue and thresholds are `Content`: frozen values with one canonical form. The stream puts that form
into a control topic under `Content.version` and reads it back on replay, without the file it once came from.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import hashlib
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from models.errors import ConfigError, Problem

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are refused before they are read: 62,000 cells with 50 vertices each take about 100 MB of GeoJSON."""

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One item of a config file: frozen, by keyword, unknown keys fail. Plain values make no cycles to be collected."""


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """A whole config file as one frozen value with a canonical form."""

    def to_bytes(self) -> bytes:
        """Give the canonical form: JSON, UTF-8, keys in fixed order, no spaces."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a canonical form back. Nothing is validated again but the shape.

        Raises:
            ConfigError: `raw` is not such a form.
        """
        try:
            content = msgspec.json.decode(raw, type=cls)
        except msgspec.DecodeError as exc:
            where = f"<{cls.__name__.lower()} record>"
            raise ConfigError([Problem(where, "$", str(exc), "write the control record again")]) from exc
        # A later release may add fields: the hash stays that of what was stored, or a replay would not find it.
        content.__dict__["version"] = _sha256(raw)
        return content

    @cached_property
    def version(self) -> str:
        """SHA-256 of the canonical form, in hex."""
        return _sha256(self.to_bytes())


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def read_bytes(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a config file.

    Raises:
        ConfigError: it is missing, unreadable or larger than `max_bytes`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1) if size <= max_bytes else b""  # a pipe does not say how long it is
    except OSError as exc:
        what = f"cannot be read: {exc.strerror or exc}"
        raise ConfigError(
            [Problem(path, "$", what, "create it; `gridwarden city` writes a sample of each file")]
        ) from exc
    if max(size, len(raw)) > max_bytes:
        what = f"{max(size, len(raw)):,} bytes are more than the {max_bytes:,} that are read"
        remedy = "simplify its geometry, or raise max_file_mb in gridwarden.toml"
        raise ConfigError([Problem(path, "$", what, remedy)])
    return raw


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain values.

    Raises:
        ConfigError: unreadable, not UTF-8 or not TOML.
    """
    raw = read_bytes(path)
    try:
        return tomllib.loads(raw.decode("utf-8-sig"), parse_float=_finite)  # Windows likes to put a mark in front
    except UnicodeDecodeError as exc:
        what = f"is not UTF-8: byte {exc.start:,} is {raw[exc.start]:#04x}"
        raise ConfigError([Problem(path, "$", what, "save it as UTF-8")]) from exc
    except ValueError as exc:
        raise ConfigError([Problem(path, "$", f"is not TOML: {exc}", "correct the line that is named")]) from exc


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        # Every comparison with NaN is false: a NaN threshold would switch an alarm off without a word.
        msg = f"{text} is not a finite number"
        raise ValueError(msg)
    return value


def convert(value: object, shape: type[T], *, file: Path | str, path: str, problems: list[Problem]) -> T | None:
    """Turn plain values into `shape`; where they do not fit, add every reason to `problems` and give None."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError:
        problems += [Problem(file, where or "$", what, remedy) for where, what, remedy in _mistakes(value, shape, path)]
        return None


def _mistakes(value: object, shape: object, path: str) -> Iterator[tuple[str, str, str]]:
    """All mistakes in `value`, as path, what and remedy: msgspec itself stops at the first."""
    inner = list(_inner_mistakes(value, _member_for(value, shape), path))
    yield from inner
    if not inner:
        try:
            msgspec.convert(value, shape)
        except msgspec.ValidationError as exc:
            what, _, _ = str(exc).partition(" - at `")
            yield path, what[:1].lower() + what[1:], _allowed(shape)


def _inner_mistakes(value: object, shape: object, path: str) -> Iterator[tuple[str, str, str]]:
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct) and isinstance(value, dict):
        yield from _struct_mistakes(value, shape, path)
    elif origin in (list, tuple) and isinstance(value, list | tuple) and _is_homogeneous(shape):
        for index, item in enumerate(value):
            yield from _mistakes(item, arguments[0], f"{path}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _mistakes(key, arguments[0], _join(path, key))
            yield from _mistakes(item, arguments[1], _join(path, key))


def _struct_mistakes(
    value: dict[str, object], shape: type[msgspec.Struct], path: str
) -> Iterator[tuple[str, str, str]]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    for key in value.keys() - fields.keys():
        near = difflib.get_close_matches(str(key), fields, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(fields)}"
        yield _join(path, key), "unknown key", f"remove it or correct its spelling ({hint})"
    for name, field in fields.items():
        if name in value:
            yield from _mistakes(value[name], field.type, _join(path, name))
        elif field.required:
            yield _join(path, name), "is missing", "add it"


def _member_for(value: object, shape: object) -> object:
    """Of `X | None` the X, where there is a value: so that its own mistakes are named."""
    if typing.get_origin(shape) is typing.Annotated and isinstance(value, dict | list | tuple):
        shape = typing.get_args(shape)[0]
    if typing.get_origin(shape) in (typing.Union, types.UnionType) and value is not None:
        members = [member for member in typing.get_args(shape) if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return shape


def _is_homogeneous(shape: object) -> bool:
    arguments = typing.get_args(shape)
    return len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis)


def _allowed(shape: object) -> str:
    members: Mapping[str, Any] = getattr(shape, "__members__", {})
    values = [str(getattr(member, "value", member)) for member in members.values()]
    return f"use one of: {', '.join(values)}" if values else "correct the value"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def patterns_meet(one: str, other: str) -> bool:
    """Whether two category patterns (a key, a prefix such as ``fire.*``, or ``*``) have a key in common."""
    shorter, longer = sorted((one, other), key=lambda pattern: len(pattern.removesuffix("*")))
    return shorter == longer or (shorter.endswith("*") and longer.startswith(shorter.removesuffix("*")))


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let half a million records be made without a search for garbage, which takes longer than making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def covers(pattern: str, key: str) -> bool:
    """Whether a category pattern stands for a category; ``fire.*`` stands for ``fire`` too."""
    if pattern.endswith("*"):
        return key.startswith(pattern[:-1]) or key == pattern[:-2]
    return key == pattern


@lru_cache(maxsize=1024)
def breadth(key: str) -> tuple[str, ...]:
    """Give the patterns that stand for a category, the narrowest first."""
    parts = key.split(".")
    return (key, *(".".join([*parts[:n], "*"]) for n in range(len(parts), -1, -1)))


def grouped(pairs: typing.Iterable[tuple[K, V]]) -> Mapping[K, tuple[V, ...]]:
    """Gather values by key; keys and values stay in order."""
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}


def duplicates(keys: typing.Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield position and key of each that occurred before."""
    seen: set[str] = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield index, key
        seen.add(key)


Text = typing.Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
"""A name or a reason that a person reads: never blank."""
Pattern = typing.Annotated[str, msgspec.Meta(pattern=r"^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?)$")]
"""Categories: a key, a prefix such as ``fire.*``, or ``*``."""
