"""The history in InfluxDB 2. The only door to influxdb_client.

A point is named by its series and its time. Two observations of one device may carry the same millisecond, so a point's
nanoseconds within it are its seq: the same observation always makes the same point, written once or ten times, and two
never make one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from influxdb_client import BucketRetentionRules, InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from models import messages
from models.config import Influx
from models.errors import ConfigError, Problem, StorageError
from models.messages import Heartbeat
from stream.history.rows import describe
from stream.history.store import Outcomes, Seen
from stream.records import Decided, HeartbeatRecord, HistoryLog, HistoryRecord, OrderedRecord

BATCH: Final = 5_000
"""Points in one request, as InfluxDB recommends."""
NS_PER_MS: Final = 1_000_000
TIMEOUT_MS: Final = 30_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_REMEDY: Final = "correct it, or make it with `influx bucket create` and `influx auth create`"


class InfluxHistory:
    """A bucket. One thread at a time.

    Args:
        settings: where it is; the bucket is made if the token may.
        keep_days: retention of a bucket that is made.

    Attributes:
        too_old: points that InfluxDB did not take because they are older than the bucket's retention.

    Raises:
        ConfigError: InfluxDB refuses the token, or knows neither organisation nor bucket.
        StorageError: it cannot be reached.
    """

    def __init__(self, settings: Influx, *, keep_days: int) -> None:
        self.too_old = 0
        self._settings = settings
        token = Path(settings.token_file).read_text(encoding="utf-8").strip()
        self._client = InfluxDBClient(
            url=settings.url, token=token, org=settings.org, timeout=TIMEOUT_MS, enable_gzip=True
        )
        self._write = self._client.write_api(write_options=SYNCHRONOUS)
        try:
            self._find_bucket(keep_days)
        except (ApiException, HTTPError) as exc:
            if isinstance(exc, ApiException) and exc.status in (401, 403, 404):
                what = f"InfluxDB at {settings.url} refuses: {_reason(exc)}"
                raise ConfigError([Problem("gridwarden.toml", "history.influx", what, _REMEDY)]) from exc
            raise StorageError(f"{settings.url}: InfluxDB cannot be reached: {_reason(exc)}") from exc

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def write(self, records: Sequence[HistoryLog]) -> int:
        """Write `records`; what is there already stays one point. Return how many observations they hold.

        Raises:
            StorageError: not all of it was taken: the same records are to be written again.
        """
        points = [point for record in records for point in points_of(record)]
        for start in range(0, len(points), BATCH):
            self._write_batch(points[start : start + BATCH])
        return sum(record.count for record in records if isinstance(record, HistoryRecord))

    def trim(self, before_ms: int) -> None:
        """Do nothing: the bucket has its own retention."""

    def count(self) -> int:
        """Return how many observations are kept."""
        tables = self._query(
            '|> range(start: 0) |> filter(fn: (r) => r._measurement == "observation"', "seq", "|> count()"
        )
        return sum(int(record.get_value()) for table in tables for record in table.records)

    def outcomes(self, since_ms: int, until_ms: int) -> Outcomes:
        """Return what became of the observations of a time, by device and label."""
        tables = self._query(
            f'{_range(since_ms, until_ms)} |> filter(fn: (r) => r._measurement == "observation"',
            "seq",
            '|> group(columns: ["device", "label", "outcome"]) |> count()',
        )
        return {
            (row["device"], row["label"], row["outcome"]): int(row["_value"])
            for table in tables
            for row in (record.values for record in table.records)
        }

    def seen(self, device_id: str, since_ms: int, until_ms: int, limit: int) -> list[Seen]:
        """Return the observations of a device, oldest first."""
        flux = (
            f"{self._source()} {_range(since_ms, until_ms)}"
            ' |> filter(fn: (r) => r._measurement == "observation" and r.device == device)'
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
            f' |> group() |> sort(columns: ["_time", "outbox", "lane"]) |> limit(n: {limit})'
        )
        tables = self._run(flux, {"device": device_id})
        return [_seen(record.values) for table in tables for record in table.records]

    def latencies_ms(self, since_ms: int, until_ms: int) -> dict[str, list[int]]:
        """Return how long orders took from the device's eye to the log, by priority, in rising order."""
        tables = self._query(
            f'{_range(since_ms, until_ms)} |> filter(fn: (r) => r._measurement == "dispatch"', "latency_ms", ""
        )
        found: defaultdict[str, list[int]] = defaultdict(list)
        for table in tables:
            for record in table.records:
                found[record.values["priority"]].append(int(record.get_value()))
        return {priority: sorted(values) for priority, values in found.items()}

    def _find_bucket(self, keep_days: int) -> None:
        buckets = self._client.buckets_api()
        if buckets.find_bucket_by_name(self._settings.bucket) is None:
            rules = BucketRetentionRules(type="expire", every_seconds=round(timedelta(days=keep_days).total_seconds()))
            buckets.create_bucket(bucket_name=self._settings.bucket, retention_rules=rules, org=self._settings.org)

    def _write_batch(self, points: list[Point]) -> None:
        try:
            self._write.write(self._settings.bucket, record=points, write_precision=WritePrecision.NS)
        except ApiException as exc:
            dropped = _DROPPED.search(str(exc.body)) if exc.status == 422 else None
            if dropped is None:
                raise StorageError(f"{self._settings.url}: InfluxDB did not take it: {_reason(exc)}") from exc
            # The rest of the batch was written; these would be refused every time.
            self.too_old += int(dropped[1])
        except HTTPError as exc:
            raise StorageError(f"{self._settings.url}: InfluxDB cannot be reached: {exc}") from exc

    def _source(self) -> str:
        return f'from(bucket: "{self._settings.bucket}")'

    def _query(self, what: str, field: str, then: str) -> Any:  # noqa: ANN401  # influxdb_client's tables have no type
        return self._run(f'{self._source()} {what} and r._field == "{field}") {then}', {})

    def _run(self, flux: str, params: dict[str, str]) -> Any:  # noqa: ANN401
        try:
            return self._client.query_api().query(flux, params=params)
        except (ApiException, HTTPError) as exc:
            raise StorageError(f"{self._settings.url}: InfluxDB did not answer: {_reason(exc)}") from exc


def points_of(record: HistoryLog) -> Iterator[Point]:
    """Yield the points of a record."""
    match record:
        case HistoryRecord():
            yield from map(_observation, record.decided())
        case OrderedRecord():
            yield _dispatch(record)
        case HeartbeatRecord():
            yield from map(_heartbeat, record.heartbeats)


def _observation(decided: Decided) -> Point:
    origin, rule_version, said, k, outcome, signal_id = decided
    seen = said.observations[k]
    kind, label, confidence, value = describe(seen.payload)
    point = (
        Point("observation")
        .tag("device", seen.device_id)
        .tag("outbox", seen.outbox_id)
        .tag("lane", seen.lane)
        .tag("kind", kind)
        .tag("label", label)
        .tag("outcome", outcome)
        .tag("quality", seen.quality)
        .tag("zone", said.zone)
        .tag("cell", said.areas.get("cell"))
        .field("seq", seen.seq)
        .field("received_ms", said.received_ms)
        .field("time_source", str(said.time_source))
        .field("rule_version", rule_version)
        .field("origin", f"{origin.partition}/{origin.offset}/{origin.n}")
        .field("payload", messages.encode(seen.payload).decode())
        .time(said.event_ms[k] * NS_PER_MS + seen.seq % NS_PER_MS, WritePrecision.NS)
    )
    for name, held in (
        ("confidence", confidence),
        ("value", value),
        ("skew_ms", said.skew_ms),
        ("signal_id", signal_id),
    ):
        if held is not None:
            point.field(name, held)
    return point


def _dispatch(record: OrderedRecord) -> Point:
    offset, n = record.origin
    point = (
        Point("dispatch")
        .tag("n", str(n))  # a tick tells of many incidents in one record
        .tag("category", record.category)
        .tag("priority", record.priority)
        .tag("stage", record.stage)
        .tag("lead_unit", record.lead_unit)
        .field("incident_id", record.incident_id)
        .field("revision", record.revision)
        .field("lead_post", record.lead_post)
        .time(record.at_ms * NS_PER_MS + offset % NS_PER_MS, WritePrecision.NS)
    )
    if record.latency_ms is not None:
        point.field("latency_ms", record.latency_ms)
    for name in record.timeline.__struct_fields__:
        moment = getattr(record.timeline, name)
        if moment is not None:
            point.field(name, moment)
    return point


def _heartbeat(beat: Heartbeat) -> Point:
    point = Point("heartbeat").tag("device", beat.device_id).time(beat.at_ms * NS_PER_MS, WritePrecision.NS)
    for name in ("frame_age_ms", "outbox_depth", "oldest_unsent_ms"):
        if (held := getattr(beat, name)) is not None:
            point.field(name, int(held))
    for name in ("fps", "inference_p50_ms", "inference_p99_ms", "temperature_c"):
        if (held := getattr(beat, name)) is not None:
            point.field(name, float(held))
    return point.field("config_version", beat.config_version)


def _seen(values: dict[str, Any]) -> Seen:
    return Seen(
        event_ms=(values["_time"] - EPOCH) // timedelta(milliseconds=1),
        device_id=values["device"],
        outbox_id=values["outbox"],
        lane=values["lane"],
        seq=values["seq"],
        kind=values["kind"],
        label=values["label"],
        outcome=values["outcome"],
        confidence=values.get("confidence"),
        value=values.get("value"),
        signal_id=values.get("signal_id"),
    )


def _range(since_ms: int, until_ms: int) -> str:
    return f"|> range(start: time(v: {since_ms * NS_PER_MS}), stop: time(v: {until_ms * NS_PER_MS}))"


def _reason(exc: Exception) -> str:
    return f"{exc.status} {exc.reason}" if isinstance(exc, ApiException) else str(exc)
