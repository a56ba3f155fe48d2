"""The stream under load: observations per second and the way from MQTT to the order, embedded and on Kafka.

    python -m benchmarks.bench_stream [--quick] [--cases embedded,kafka,...] > points.jsonl
    python -m benchmarks.plot_stream points.jsonl > points.svg

A separate process offers sealed, distinct observations from 200 devices on 20 streets, twenty per message, one in ten
above the threshold; 90 further devices see one fire each, and its way to the order is the latency. Of each device at
most 256 observations wait for their acknowledgement, as an agent has it: where `offered_s` is more than was wanted, the
stream took no more. History and duplicate filter are on. A figure counts only when as many decisions stand in the
history as observations were sent; else `counts` is false. It is by the time until they stand there, which is
`history_behind_s` after the last of them was acknowledged. `*_cores` is processor time by wall time.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import naive, paho_ceiling
from benchmarks.streaming import City, Memory, Point, Receiver, Running, line, running
from models.clock import now_ms
from models.config import Mqtt
from tests import servers

DEVICES: Final = 200
STREETS: Final = 20
RATES: Final = (5_000, 10_000, 20_000, 25_000, 30_000, 40_000, 50_000, 55_000, 60_000)
ONE_PER_MESSAGE: Final = (1_000, 2_000, 4_000)
OVERLOAD: Final = 100_000
OVERLOAD_S: Final = 10.0
"""Short: what was offered is decided in the end, however long that takes."""
WORKER_CORES: Final = 0.2
SHARE_RATE: Final = 20_000
"""More than two workers decide with so little."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long everything takes.

    Attributes:
        seconds: of load for each point.
        probes: fires by which the latency is measured.
        fires: of the second storm, offered faster than they are aimed to be ordered.
    """

    seconds: float = 30.0
    probes: int = 90
    fires: int = 10_000
    fires_per_s: float = 1_500.0
    one: int = 10_000


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases share."""

    plan: Plan
    folder: Path
    mqtt: Mqtt

    @functools.cache  # noqa: B019  # one bench a process
    def city(self, devices: int) -> City:
        """Return the city with so many devices."""
        return City.write(self.folder / f"city-{devices}", devices=devices, streets=STREETS)

    @contextmanager
    def running(self, point: Point, devices: int) -> Iterator[Running]:
        """Run a stream of its own."""
        with running(self.city(devices), self.folder / f"run{time.monotonic_ns()}", point, self.mqtt) as stream:
            yield stream


def load(bench: Bench, point: Point, rate: float, *, per_message: int = 20) -> float:
    """Offer `rate`, print what came of it, and return the observations per second: 0 where they do not count."""
    plan = bench.plan
    with bench.running(point, DEVICES + plan.probes) as stream:
        receiver, memory = Receiver(stream.path), Memory(stream.processes)
        cpu_s = stream.cpu_s()
        with memory.watched():
            args = ("--rate", rate, "--seconds", plan.seconds, "--per-message", per_message, "--probes", plan.probes)
            sent = stream.load("benchmarks.load", *args, *stream.devices)
            stored_ms = now_ms()
            stream.wait_for(sent["sent"])
            took_s, behind_s = (now_ms() - sent["begun_ms"]) / 1000, (now_ms() - stored_ms) / 1000
            receiver.wait_for(devices=DEVICES + plan.probes)
        cpu_s, rows, noted = stream.cpu_s() - cpu_s, stream.rows(), receiver.end()
        ways = [noted["first"][device] - ms for device, ms in sent["probed"].items() if device in noted["first"]]
        counts = rows == sent["sent"] and len(ways) == plan.probes
        line(
            point.case() | {"offered_per_s": rate, "per_message": per_message},
            "observations_per_s",
            rows / took_s,
            "1/s",
            counts=counts,
            sent=sent["sent"],
            offered_s=round(sent["offered_s"], 2),
            decided=rows,
            history_behind_s=round(behind_s, 2),
            latency_p50_ms=_percentile(ways, 50),
            latency_p99_ms=_percentile(ways, 99),
            resident_mib=round(max(memory.mib), 1),
            stream_cores=round(cpu_s / took_s, 3),
            cpu_us_per_observation=round(cpu_s / max(rows, 1) * 1e6, 1),
            generator_cores=round(sent["cpu_share"], 3),
            resent_messages=sent["resent_messages"],
            orders=noted["orders"],
        )
        return rows / took_s if counts else 0.0


def sweep(bench: Bench, point: Point, rates: Sequence[float], *, per_message: int = 20) -> None:
    """Offer more and more, until it is too much."""
    for rate in rates:
        if not load(bench, point, rate, per_message=per_message):
            return


def overload(bench: Bench, point: Point) -> None:
    """Offer far more than can be decided, and print the memory of each third of the time."""
    with bench.running(point, DEVICES) as stream:
        receiver, memory = Receiver(stream.path), Memory(stream.processes)
        with memory.watched():
            args = ("--rate", OVERLOAD, "--seconds", OVERLOAD_S)
            sent = stream.load("benchmarks.load", *args, *stream.devices)
            stream.wait_for(sent["sent"])
        rows = stream.rows()
        receiver.end()
        case = point.case() | {"offered_per_s": OVERLOAD}
        thirds = [float(max(part)) for part in np.array_split(memory.mib, 3)]
        line(
            case,
            "resident_growth_mib",
            thirds[2] - thirds[0],
            "MiB",
            counts=rows == sent["sent"],
            thirds_mib=[round(mib, 1) for mib in thirds],
            sent=sent["sent"],
            decided=rows,
            dropped_messages=stream.counted("dropped"),
            resent_messages=sent["resent_messages"],
        )


def storm_of_one(bench: Bench, point: Point) -> None:
    """Print how many incidents so many observations of one place make, and how many it counts."""
    with bench.running(point, DEVICES + bench.plan.probes) as stream:
        receiver = Receiver(stream.path)
        sent = stream.load("benchmarks.storm", "--rate", 10_000, "--one", bench.plan.one, *stream.devices[:1])
        stream.wait_for(sent["sent"])
        receiver.wait_for(evidence=sent["sent"])
        noted = receiver.end()
        case = {"log": point.log, "storm": "one place", "observations": sent["sent"]}
        counts = stream.rows() == sent["sent"]
        line(case, "incidents", noted["incidents"], "incidents", counts=counts, evidence=noted["most"])


def storm_of_many(bench: Bench, point: Point) -> None:
    """Print how many incidents are created, matched and ordered a second, when every place burns at once."""
    plan = bench.plan
    with bench.running(point, plan.fires) as stream:
        receiver, cpu_s = Receiver(stream.path), stream.cpu_s()
        sent = stream.load("benchmarks.storm", "--rate", plan.fires_per_s, *stream.devices)
        receiver.wait_for(incidents=plan.fires)
        took_s = (now_ms() - sent["begun_ms"]) / 1000
        stream.wait_for(sent["sent"])
        cpu_s, rows, noted = stream.cpu_s() - cpu_s, stream.rows(), receiver.end()
        line(
            {"log": point.log, "storm": "many places", "fires": plan.fires, "fires_per_s": plan.fires_per_s},
            "incidents_per_s",
            noted["incidents"] / took_s,
            "1/s",
            counts=noted["incidents"] == plan.fires and rows == sent["sent"],
            incidents=noted["incidents"],
            offered_s=round(sent["offered_s"], 2),
            cpu_us_per_incident=round(cpu_s / plan.fires * 1e6, 1),
        )


def kafka_points(bench: Bench, stack: ExitStack) -> list[Point]:
    """Start a Kafka, and return it with one worker and with two."""
    kafka = stack.enter_context(servers.kafka(bench.folder / "kafka"))
    return [Point("kafka", kafka.url, workers) for workers in (1, 2)]


def kafka(bench: Bench) -> None:
    """One worker and two, at the same rates."""
    with ExitStack() as stack:
        for point in kafka_points(bench, stack):
            sweep(bench, point, RATES)


def kafka_shares(bench: Bench) -> None:
    """One worker and two that may use `WORKER_CORES` each, offered more than they can decide."""
    with ExitStack() as stack:
        points = [replace(point, worker_cores=WORKER_CORES) for point in kafka_points(bench, stack)]
        one, two = (load(bench, point, SHARE_RATE) for point in points)
        case = {"log": "kafka", "worker_cores": WORKER_CORES, "workers": 2, "peer": "one worker"}
        line(case, "speedup", two / one if one else 0.0, "x", counts=bool(one and two))


def naive_faust(bench: Bench) -> None:
    """Faust as its guide shows it, one event an observation, on the embedded log and on Kafka."""
    events = 20_000 if bench.plan.seconds >= 30 else 2_000
    naive.run(bench.folder, "embedded", "embedded", events)
    if bench.plan.seconds >= 30 and "Kafka" not in servers.missing():
        with ExitStack() as stack:
            point = kafka_points(bench, stack)[0]
            naive.run(bench.folder, "kafka", point.broker, events)


EMBEDDED: Final = Point("embedded", "embedded")
CASES: Final[dict[str, Callable[[Bench], None]]] = {
    "paho": lambda bench: paho_ceiling.run(bench.mqtt, min(bench.plan.seconds / 3, 10.0)),
    "embedded": lambda bench: sweep(bench, EMBEDDED, RATES),
    "one_per_message": lambda bench: sweep(bench, EMBEDDED, ONE_PER_MESSAGE, per_message=1),
    "naive": naive_faust,
    "storm_of_one": lambda bench: storm_of_one(bench, EMBEDDED),
    "storm_of_many": lambda bench: storm_of_many(bench, EMBEDDED),
    "overload": lambda bench: overload(bench, EMBEDDED),
    "kafka": kafka,
    "kafka_shares": kafka_shares,
}


def quick(bench: Bench) -> None:
    """One point under load, and the peers: each stream takes seconds to start."""
    paho_ceiling.run(bench.mqtt, 1.0)
    load(bench, EMBEDDED, RATES[0])
    naive_faust(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one embedded point and the peers: within 40 s")
    parser.add_argument("--cases", default=",".join(CASES), help=f"which of {','.join(CASES)} (default: all)")
    args = parser.parse_args()
    wanted = args.cases.split(",")
    if unknown := set(wanted) - CASES.keys():
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    if missing := servers.missing().get("Mosquitto"):
        sys.exit(missing)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gridwarden-bench-")))
        mqtt = stack.enter_context(servers.mosquitto(folder / "mqtt")).mqtt
        if args.quick:
            quick(Bench(Plan(seconds=2.5, probes=20), folder, mqtt))
            return
        bench = Bench(Plan(), folder, mqtt)
        for case in wanted:
            CASES[case](bench)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


if __name__ == "__main__":
    main()
