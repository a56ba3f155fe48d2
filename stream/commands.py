"""The subcommands of the stream processor: ``stream route replay tune dead``."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

Subparsers = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the subcommands."""
    stream = commands.add_parser("stream", help="run the stream processor")
    stream.add_argument("config", type=Path, help="config folder, or a gridwarden.toml")
    stream.set_defaults(run=_stream)
    route = commands.add_parser("route", help="say who would get this, and why")
    route.add_argument("lon", type=float, metavar="LON", help="longitude in degrees, WGS-84")
    route.add_argument("lat", type=float, metavar="LAT", help="latitude in degrees")
    route.add_argument("category", metavar="CATEGORY", help="a key of catalogue.toml, such as fire.smoke.confirmed")
    route.add_argument("--config", type=Path, required=True, metavar="FOLDER", help="config folder")
    route.add_argument("--at", metavar="TIME", help="such as 2026-11-22T08:00, local to the roster; default: now")
    route.add_argument("--radius", type=float, default=15.0, metavar="M", help="how vague the position is (default 15)")
    route.add_argument("--json", action="store_true", help="print one JSON object")
    route.set_defaults(run=_route)
    replay = commands.add_parser("replay", help="decide again what stands in a recorded log, and print it")
    replay.add_argument("log", type=Path, help="the log.db of a state folder; it is only read")
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    replay.set_defaults(run=_replay)
    tune = commands.add_parser(
        "tune", help="try other thresholds on the recorded log; list, compare, roll back"
    )
    tune.add_argument("config", type=Path, nargs="?", default=Path(), help="config folder (default: this one)")
    tune.add_argument("--log", type=Path, help="the log.db to read (default: that of the config's state folder)")
    what = tune.add_mutually_exclusive_group(required=True)
    what.add_argument("--what-if", type=Path, metavar="FILE", help="a thresholds.toml: what it would have done")
    what.add_argument("--versions", action="store_true", help="list the thresholds that were in force")
    what.add_argument("--diff", nargs=2, metavar=("OLD", "NEW"), help="two versions, or files: what differs")
    what.add_argument("--roll-back", metavar="VERSION", help="put an earlier version back into thresholds.toml")
    tune.add_argument("--since", default="7d", metavar="TIME", help="such as 7d, 12h or a time (default: 7d)")
    tune.add_argument("--json", action="store_true", help="print one JSON object")
    tune.set_defaults(run=_tune)
    dead = commands.add_parser("dead", help="list the dead letters of a log: what could not be taken, and why")
    dead.add_argument("log", type=Path, help="the log.db of a state folder; it is only read")
    dead.add_argument("--json", action="store_true", help="print one JSON object a line, with the head of the payload")
    dead.set_defaults(run=_dead)


def _stream(args: argparse.Namespace) -> int:
    from stream.app import serve
    from stream.control import load

    for name in ("faust", "mode", "aiokafka", "asyncio", "numba"):
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(serve(load(args.config)))
    return 0


def _route(args: argparse.Namespace) -> int:
    from models.check import check
    from models.clock import now_ms
    from models.errors import ConfigError
    from stream.route import Asked, lines, moment, route, to_json
    from stream.world import World

    found = check(args.config)
    if found.problems:
        raise ConfigError(found.problems)
    assert found.config
    assert found.places
    assert found.people
    assert found.catalogue
    world = World(found.config.tenant, found.places, found.people, found.catalogue)
    at_ms = moment(args.at, world, now_ms=now_ms())
    answer = route(Asked(args.lon, args.lat, args.category, at_ms, args.radius), world)
    print(to_json(answer) if args.json else "\n".join(lines(answer, world)))
    return 0


def _replay(args: argparse.Namespace) -> int:
    from stream.replay import replay, report

    found = replay(args.log)
    print(report(found, as_json=args.json))
    return 0 if found.is_same else 1


def _tune(args: argparse.Namespace) -> int:
    from stream.tune import run

    return run(args, print)


def _dead(args: argparse.Namespace) -> int:
    from stream.ingest.dead import lines
    from stream.recorded import Recorded

    recorded = Recorded(args.log)
    for line in lines((record.value or b"" for record in recorded.records("dead")), as_json=args.json):
        print(line)
    recorded.close()
    return 0
