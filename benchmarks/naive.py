"""Faust as its guide shows it: one event an observation, one row of a table for each, one event out above a threshold.

    python -m benchmarks.naive FOLDER BROKER EVENTS

It verifies nothing, locates nothing, knows no clock and keeps no history: a peer for the transport, not for the stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from benchmarks.load import observation
from benchmarks.streaming import line
from models.clock import now_ms
from models.config import Config
from models.messages import Detection, Observation, encode
from stream.log.append import new
from stream.log.engine import close_log, faust_app, open_log, topic_name
from stream.log.file import NewTopic

APP: Final = "naive"
PARTITIONS: Final = 4
DEVICES: Final = 200
BATCH: Final = 1_000
THRESHOLD: Final = 0.5


def run(folder: Path, log: str, broker: str, events: int) -> None:
    """Print how many observations a second it takes."""
    state = folder / f"naive-{log}"
    state.mkdir()
    command = [sys.executable, "-P", "-m", "benchmarks.naive", str(state), broker, str(events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    took = json.loads(done.stdout)
    case = {"peer": "naive faust", "log": log, "workers": 1}
    cpu_us = round(took["cpu_s"] / events * 1e6, 1)
    line(case, "observations_per_s", events / took["took_s"], "1/s", cpu_us_per_observation=cpu_us)


async def consume(config: Config, events: int) -> None:
    """Fill a topic, read it, and print how long that took."""
    app: Any = faust_app(config, "0", app_id=APP)
    source = app.topic(topic_name(config, APP), partitions=PARTITIONS, key_type=bytes, value_type=bytes)
    target = app.topic(topic_name(config, "naive-out"), partitions=1, key_type=bytes, value_type=bytes)
    seqs = app.Table("seqs", default=int, partitions=PARTITIONS)
    decode = msgspec.json.Decoder(Observation).decode
    done, begun, go = asyncio.Event(), [0.0, 0.0], asyncio.Event()

    @app.agent(source)  # type: ignore[untyped-decorator]  # of an untyped library
    async def judge(stream: Any) -> None:  # noqa: ANN401
        await go.wait()
        begun[:] = time.monotonic(), time.process_time()
        count = 0
        async for value in stream:
            seen = decode(value)
            seqs[seen.device_id] = max(seen.seq, seqs[seen.device_id])
            if isinstance(seen.payload, Detection) and seen.payload.confidence >= THRESHOLD:
                await target.send(value=value)
            count += 1
            if count == events:
                begun[:] = time.monotonic() - begun[0], time.process_time() - begun[1]
                done.set()

    app.finalize()
    log = await open_log(app, config)
    changelog = NewTopic(f"{APP}-seqs-changelog", PARTITIONS, is_compacted=True)
    await log.create_topics([NewTopic(APP, PARTITIONS), NewTopic("naive-out", 1), changelog])
    now = now_ms()
    for start in range(0, events, BATCH):
        numbers = range(start, min(start + BATCH, events))
        made = [observation(f"cam-{n % DEVICES:04}", n + 1, now, now, 0.97 * (n % 10 == 0)) for n in numbers]
        await log.append([new(APP, n % PARTITIONS, encode(seen), now) for n, seen in enumerate(made)])
    await app.start()
    await app.tables.wait_until_recovery_completed()
    go.set()
    await done.wait()
    print(json.dumps({"took_s": begun[0], "cpu_s": begun[1]}), flush=True)
    await app.stop()
    await close_log(app, log)


def main(folder: Path, broker: str, events: int) -> None:
    config = Config(tenant=f"naive{os.getpid()}", folder=str(folder), state_dir=str(folder))
    config = replace(config, stream=replace(config.stream, broker=broker))
    asyncio.run(consume(config, events))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
