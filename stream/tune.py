"""``gridwarden tune``: which thresholds were in force, how they differ, and what others would have done."""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w
from msgspec import Struct

from models.clock import now_ms
from models.config import Config
from models.config import load as config_of
from models.errors import ConfigError, Problem, StorageError
from models.supervise import write_atomically
from models.thresholds import Thresholds, load
from stream.checkpoints import first_offset, whole
from stream.contents import content_of
from stream.control import with_scores
from stream.log.engine import CONTROL_TOPIC, recorded_at
from stream.recorded import Recorded
from stream.records import ControlRecord, decode_obs
from stream.telling import tell
from stream.whatif import Alert, WhatIf, what_if
from stream.zones.machine import CHECKPOINT, in_force_of, meta_key

SHORT: Final = 12
"""So much of a version is shown, and enough to name it."""
FILE: Final = "thresholds.toml"
UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Version(Struct, frozen=True, kw_only=True):
    """One version of the thresholds, and when it came into force."""

    version: str
    since_ms: int


def versions(recorded: Recorded) -> list[Version]:
    """Return the thresholds that were in force, oldest first; what came into force again is there again.

    What came into force before the log begins is said to have done so when its oldest checkpoint was taken.
    """
    found: list[Version] = []
    oldest = next(whole(CHECKPOINT, recorded, 0), None)
    if oldest is not None and first_offset(recorded, "obs", 0):
        changes = in_force_of(oldest.rows[meta_key(0)]).changes.get("thresholds", ())
        found += [Version(version=version, since_ms=oldest.at_ms) for _, version in changes]
    for record in recorded.records("obs", 0):
        if not (record.value or b"").startswith(b'{"record":"control"'):
            continue
        control = decode_obs(record.value or b"")
        is_thresholds = isinstance(control, ControlRecord) and control.what == "thresholds"
        if is_thresholds and (oldest is None or not found or record.offset > oldest.offset):
            found.append(Version(version=control.version, since_ms=control.at_ms))
    return found


def content(recorded: Recorded, name: str) -> Thresholds:
    """Return the thresholds of a version, of which the beginning is enough.

    Raises:
        StorageError: none, or several.
    """
    known = dict.fromkeys(version.version for version in versions(recorded))
    matching = [version for version in known if version.startswith(name)]
    if len(matching) != 1:
        have = ", ".join(version[:SHORT] for version in known)
        raise StorageError(f"{len(matching)} versions begin with {name!r}; there are: {have}")
    stored = {record.key: record.value for record in recorded.records(CONTROL_TOPIC)}
    raw = content_of(matching[0], lambda row: stored.get(msgspec.json.encode(row)))
    if raw is None:
        raise StorageError(f"version {matching[0]} was in force, and its content is not in the log any more")
    return Thresholds.from_bytes(raw)


def diff(old: Thresholds, new: Thresholds) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, old value, new value) of all that differs; None where one of them has nothing."""
    yield from _diff("", msgspec.to_builtins(old), msgspec.to_builtins(new))


def _diff(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # any TOML value
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _diff(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif _are_tables(old) and _are_tables(new):
        yield from _diff(path, *({one.get("name", n): one for n, one in enumerate(side)} for side in (old, new)))
    elif old != new:
        yield path, old, new


def _are_tables(value: Any) -> bool:  # noqa: ANN401  # any TOML value
    return isinstance(value, list | tuple) and all(isinstance(one, dict) for one in value)


def roll_back(to: Thresholds, file: Path) -> Path:
    """Put a version back into its file, where the running stream sees it; return where the old file is kept."""
    kept = file.with_suffix(".toml.before")
    write_atomically(kept, file.read_bytes())
    head = f"# Rolled back to version {to.version}. The file before is {kept.name}.\n\n"
    write_atomically(file, (head + tomli_w.dumps(_without_none(msgspec.to_builtins(to)))).encode())
    return kept


def _without_none(value: Any) -> Any:  # noqa: ANN401  # any TOML value
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_none(one) for one in value]
    return value


def since(text: str, *, now_ms: int) -> int:
    """Return the moment of ``7d``, ``12h``, ``30m``, ``45s`` ago, or of a time such as ``2026-11-22T08:00+08:00``.

    Raises:
        ConfigError: it is neither.
    """
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return now_ms - int(match[1]) * UNITS_MS[match[2]]
    try:
        return round(dt.datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError:
        remedy = "give a length such as 7d or 12h, or a time such as 2026-11-22T08:00+08:00"
        raise ConfigError([Problem("--since", text, "is no length of time and no time", remedy)]) from None


def moment(at_ms: int, zone: dt.tzinfo | None = None) -> str:
    """Return a moment for a person to read, in local time."""
    return dt.datetime.fromtimestamp(at_ms / 1000, zone or dt.UTC).astimezone(zone).isoformat(" ", "seconds")


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Do what ``gridwarden tune`` was asked for; return the exit code.

    Raises:
        ConfigError: a file or version that was named cannot be used.
        StorageError: there is no log.
    """
    config = config_of(args.config)
    recorded = Recorded(args.log or recorded_at(config))
    try:
        if args.versions:
            found = versions(recorded)
            tell(found, version_lines(found), say, as_json=args.json)
        elif args.diff:
            pair = [_named(recorded, name, config) for name in args.diff]
            differing = list(diff(*pair))
            tell(differing, (f"{path}: {old} -> {new}" for path, old, new in differing), say, as_json=args.json)
        elif args.roll_back:
            file = Path(config.folder) / FILE
            kept = roll_back(content(recorded, args.roll_back), file)
            say(f"{file} is version {args.roll_back} again; what it was lies in {kept}")
        else:
            other = _named(recorded, str(args.what_if), config)
            since_ms = since(args.since, now_ms=now_ms())
            outcome = what_if(recorded, other, since_ms=since_ms, progress=_progress)
            tell(outcome, what_if_lines(outcome), say, as_json=args.json)
            return 0 if outcome.is_exact else 1
    finally:
        recorded.close()
    return 0


def _named(recorded: Recorded, name: str, config: Config) -> Thresholds:
    """Return the thresholds of a file, or of a version in the log."""
    path = Path(name)
    return with_scores(load(path), config.edge.detector) if path.suffix or path.exists() else content(recorded, name)


def _progress(records: int) -> None:
    if records % 2_000 == 0 and sys.stderr.isatty():
        sys.stderr.write(f"\r{records} records")
        sys.stderr.flush()


def version_lines(found: Iterable[Version]) -> Iterator[str]:
    """Yield a line for each version."""
    for version in found:
        yield f"{version.version[:SHORT]}  since {moment(version.since_ms)}"


def what_if_lines(found: WhatIf) -> Iterator[str]:
    """Yield a report for a person."""
    if found.is_exact:
        yield "With the thresholds that were in force the replay gives exactly what stands in the log."
    else:
        yield f"WARNING: {len(found.differs_from_log)} decisions come out otherwise even with the thresholds in force,"
        yield "  so nothing below can be relied on. Was the log recorded by another release?"
    differing = f"{found.outcomes_differ} decided otherwise"
    yield f"{found.observations} observations since {moment(found.since_ms)}, {differing}."
    yield ""
    yield f"{'device':<20} {'label':<14} {'before':>7} {'after':>7} {'added':>7} {'removed':>8}"
    for name, tally in found.by.items():
        device, label = name.split(" ", 1)
        yield f"{device:<20} {label:<14} {tally.before:>7} {tally.after:>7} {tally.added:>7} {tally.removed:>8}"
    yield ""
    yield from (_alert_line("added  ", alert) for alert in found.added)
    yield from (_alert_line("removed", alert) for alert in found.removed)
    yield from (_alert_line("raised to alarm", after) for _, after in found.raised)
    yield from (_alert_line("no longer an alarm", after) for _, after in found.lowered)


def _alert_line(what: str, alert: Alert) -> str:
    return (
        f"{what}  {moment(alert.raised_ms)}  {alert.device_id}  {alert.label}  {alert.confidence:.3f}  "
        f"{alert.stage}  zone {alert.zone}"
    )
