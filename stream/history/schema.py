"""The tables of the history's file, and how they are read.

What a device said in one message is one row, its observations as they stand in the log: one row for each took five
times as long to write. Whoever asks sees them one by one, in the view `history`.
"""

from __future__ import annotations

from typing import Final

SPAN_MS: Final = 60_000
"""Event times of one row at most: what reaches further is written one by one, so that a time is found by its index."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS message (
    partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, n INTEGER NOT NULL,
    device_id TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, decisions INTEGER NOT NULL,
    received_ms INTEGER NOT NULL, time_source TEXT NOT NULL, skew_ms INTEGER,
    rule_version TEXT NOT NULL, zone TEXT NOT NULL, cell TEXT,
    event_ms TEXT NOT NULL, outcomes TEXT NOT NULL, signal_ids TEXT, observations TEXT NOT NULL,
    UNIQUE (partition, "offset", n)
) STRICT;
CREATE INDEX IF NOT EXISTS message_by_device ON message (device_id, first_ms);
CREATE INDEX IF NOT EXISTS message_by_time ON message (first_ms, last_ms, decisions);
CREATE TABLE IF NOT EXISTS dispatch (
    incident_id TEXT NOT NULL, revision INTEGER NOT NULL, at_ms INTEGER NOT NULL, category TEXT NOT NULL,
    priority TEXT NOT NULL, stage TEXT NOT NULL, lead_unit TEXT NOT NULL, lead_post TEXT NOT NULL,
    latency_ms INTEGER, timeline TEXT NOT NULL,
    PRIMARY KEY (incident_id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dispatch_by_time ON dispatch (at_ms);
CREATE TABLE IF NOT EXISTS heartbeat (
    device_id TEXT NOT NULL, at_ms INTEGER NOT NULL, frame_age_ms INTEGER, fps REAL NOT NULL, inference_p50_ms REAL,
    inference_p99_ms REAL, outbox_depth INTEGER NOT NULL, oldest_unsent_ms INTEGER, temperature_c REAL,
    config_version TEXT NOT NULL,
    PRIMARY KEY (device_id, at_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS heartbeat_by_time ON heartbeat (at_ms);
"""

VIEW: Final = """
DROP VIEW IF EXISTS history;
CREATE VIEW history AS SELECT
    partition, "offset", n + seen.key AS n, device_id,
    json_extract(seen.value, '$.outbox_id') AS outbox_id, json_extract(seen.value, '$.lane') AS lane,
    json_extract(seen.value, '$.seq') AS seq,
    json_extract(event_ms, '$[' || seen.key || ']') AS event_ms, received_ms, time_source, skew_ms,
    json_extract(seen.value, '$.payload.kind') AS kind,
    coalesce(
        json_extract(seen.value, '$.payload.label'), json_extract(seen.value, '$.payload.property'),
        json_extract(seen.value, '$.payload.button'), json_extract(seen.value, '$.payload.category'),
        json_extract(seen.value, '$.payload.fault'), json_extract(seen.value, '$.payload.lane'),
        CASE json_extract(seen.value, '$.payload.kind') WHEN 'button' THEN 'manual' ELSE 'canary' END
    ) AS label,
    json_extract(seen.value, '$.payload.confidence') AS confidence,
    coalesce(json_extract(seen.value, '$.payload.value'), (
        SELECT sum(1.0 + json_extract(dropped.value, '$[1]') - json_extract(dropped.value, '$[0]'))
        FROM json_each(seen.value, '$.payload.ranges') AS dropped
    )) AS value,
    coalesce(json_extract(seen.value, '$.quality'), 'live') AS quality,
    json_extract(outcomes, '$[' || seen.key || ']') AS outcome, rule_version, zone, cell,
    json_extract(signal_ids, '$[' || seen.key || ']') AS signal_id, json_extract(seen.value, '$.payload') AS payload,
    first_ms
FROM message, json_each(observations) AS seen
WHERE json_extract(outcomes, '$[' || seen.key || ']') IS NOT NULL;
"""

EARLIER: Final = """
INSERT OR IGNORE INTO message
SELECT
    partition, "offset", n, device_id, event_ms, event_ms, 1,
    received_ms, time_source, skew_ms, rule_version, zone, cell,
    json_array(event_ms), json_array(outcome), iif(signal_id IS NULL, NULL, json_array(signal_id)),
    json_array(json_object(
        'outbox_id', outbox_id, 'lane', lane, 'seq', seq, 'quality', quality, 'payload', json(payload)
    ))
FROM history;
DROP TABLE history;
"""
"""Takes over the rows of an earlier release, whose `history` was a table with a row for each observation."""
