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
    stream.add_argument("--worker", metavar="NAME", help="of several workers on one Kafka and one state folder")
    stream.set_defaults(run=_stream)
    reload = commands.add_parser("reload", help="put the config folder in force in the stream that runs on it")
    reload.add_argument("config", type=Path, help="config folder, or a gridwarden.toml")
    reload.add_argument("--timeout", type=float, default=60.0, metavar="S", help="wait so long (default 60)")
    reload.add_argument("--json", action="store_true", help="print one JSON object")
    reload.set_defaults(run=_reload)
    _register_questions(commands)
    _register_log_tools(commands)


def _register_questions(commands: Subparsers[argparse.ArgumentParser]) -> None:
    route = commands.add_parser("route", help="say who would get this, and why")
    route.add_argument("lon", type=float, nargs="?", metavar="LON", help="longitude in degrees")
    route.add_argument("lat", type=float, nargs="?", metavar="LAT", help="latitude in degrees")
    route.add_argument("category", nargs="?", metavar="CATEGORY", help="a key of catalogue.toml, such as fire.manual")
    route.add_argument("--all", type=Path, metavar="FILE", help="answer a table of questions, such as cases.toml")
    this = "config folder (default: this one)"
    route.add_argument("--config", type=Path, default=Path(), metavar="FOLDER", help=this)
    route.add_argument("--at", metavar="TIME", help="such as 2026-11-22T08:00, local to the roster; default: now")
    datums = ("WGS-84", "GCJ-02", "BD-09")
    route.add_argument("--datum", choices=datums, default=datums[0], help="what LON LAT are given in (default WGS-84)")
    route.add_argument("--radius", type=float, default=15.0, metavar="M", help="how vague the position is (default 15)")
    route.add_argument("--json", action="store_true", help="print one JSON object")
    route.set_defaults(run=_route)
    history = commands.add_parser("history", help="keep the history in InfluxDB (one process beside the stream)")
    history.add_argument("config", type=Path, help="config folder, or a gridwarden.toml")
    history.set_defaults(run=_history)


def _register_log_tools(commands: Subparsers[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser("replay", help="decide again what stands in a recorded log, and print it")
    replay.add_argument("log", help="the log.db of a state folder, or kafka://host:port/tenant; it is only read")
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    replay.set_defaults(run=_replay)
    tune = commands.add_parser("tune", help="try other thresholds on the recorded log; list, compare, roll back")
    tune.add_argument("config", type=Path, nargs="?", default=Path(), help="config folder (default: this one)")
    tune.add_argument("--log", help="the log.db or kafka://host:port/tenant (default: that of the config)")
    what = tune.add_mutually_exclusive_group(required=True)
    what.add_argument("--what-if", type=Path, metavar="FILE", help="a thresholds.toml: what it would have done")
    what.add_argument("--versions", action="store_true", help="list the thresholds that were in force")
    what.add_argument("--diff", nargs=2, metavar=("OLD", "NEW"), help="two versions, or files: what differs")
    what.add_argument("--roll-back", metavar="VERSION", help="put an earlier version back into thresholds.toml")
    tune.add_argument("--since", default="7d", metavar="TIME", help="such as 7d, 12h or a time (default: 7d)")
    tune.add_argument("--json", action="store_true", help="print one JSON object")
    tune.set_defaults(run=_tune)
    gaps = commands.add_parser("gaps", help="say of every device whether a seq is missing: dropped on purpose, or lost")
    gaps.add_argument("log", help="the log.db of a state folder, or kafka://host:port/tenant; it is only read")
    gaps.add_argument("--json", action="store_true", help="print one JSON object")
    gaps.set_defaults(run=_gaps)
    devices = commands.add_parser("devices", help="list devices that speak and are not admitted, or admit one")
    devices.add_argument("config", type=Path, nargs="?", default=Path(), help="config folder (default: this one)")
    devices.add_argument("--admit", metavar="SOURCE", help="how it calls itself, as listed; needs --kind and --zone")
    devices.add_argument("--id", help="our name for it (default: SOURCE, a device of our own with a key)")
    devices.add_argument("--kind", help="camera, smoke, heat, gas, co, flood, sound, button, gateway or agent")
    devices.add_argument("--zone", help="the zone that it stands in")
    devices.add_argument(
        "--at", nargs=2, type=float, metavar=("LON", "LAT"), help="degrees (default: its zone's place)"
    )
    devices.add_argument("--agent", help="the agent that speaks for it, if one does")
    devices.add_argument("--battery", action="store_true", help="it speaks once an hour at best, and is missed later")
    devices.add_argument("--every", type=float, metavar="SECONDS", help="how often it speaks, such as TelePeriod")
    devices.add_argument("--name", help="Chinese name (default: its id)")
    devices.add_argument("--name-en", help="English name (default: its id)")
    devices.add_argument("--json", action="store_true", help="print one JSON object")
    devices.set_defaults(run=_devices)
    retire = commands.add_parser("retire", help="refuse an outbox for ever: of a cloned card, of a replaced device")
    retire.add_argument("outbox", metavar="OUTBOX", help="the outbox_id, as the dead letters and the history name it")
    retire.add_argument("--config", type=Path, required=True, metavar="FOLDER", help="config folder")
    retire.set_defaults(run=_retire)
    dead = commands.add_parser("dead", help="list the dead letters of a log: what could not be taken, and why")
    dead.add_argument("log", help="the log.db of a state folder, or kafka://host:port/tenant; it is only read")
    dead.add_argument("--json", action="store_true", help="print one JSON object a line, with the head of the payload")
    dead.add_argument("--replay", type=Path, metavar="CONFIG", help="say them again to this folder's broker")
    dead.add_argument("--reason", help="only those of this reason, such as unknown_device")
    dead.set_defaults(run=_dead)


def _stream(args: argparse.Namespace) -> int:
    from stream.control import load_to_start
    from stream.log.seldom import hush
    from stream.serve import serve

    hush("faust", "mode", "aiokafka", "asyncio", "numba")
    logging.getLogger("stream.log").setLevel(logging.WARNING)
    asyncio.run(serve(load_to_start(args.config), args.worker))
    return 0


def _history(args: argparse.Namespace) -> int:
    from models.config import load
    from stream.history.service import serve
    from stream.log.seldom import hush

    hush("faust", "mode", "aiokafka", "asyncio")
    asyncio.run(serve(load(args.config)))
    return 0


def _reload(args: argparse.Namespace) -> int:
    from stream.control import load
    from stream.reload import ask, report

    # Checked here first: what takes long is then not done in the process that decides.
    answer = ask(load(args.config).config.state, timeout_s=args.timeout)
    print(report(answer, as_json=args.json))
    return {"applied": 0, "unchanged": 0, "refused": 2}[answer.outcome]


def _route(args: argparse.Namespace) -> int:
    from models.check import check
    from models.clock import now_ms
    from models.datum import Datum, to_wgs84
    from models.errors import ConfigError, Problem
    from stream.route import Asked, all_lines, all_to_json, moment, route, route_all, to_json
    from stream.route_text import legend, lines
    from stream.world import World

    if (args.all is None) == (args.category is None):
        problem = Problem("gridwarden route", "LON LAT CATEGORY", "ask one question or --all of a table", "give either")
        raise ConfigError([problem])
    found = check(args.config, trust=True)
    if found.problems:
        raise ConfigError(found.problems)
    assert found.config
    assert found.places
    assert found.people
    assert found.catalogue
    world = World(found.config.tenant, found.places, found.people, found.catalogue)
    if args.all:
        answers = route_all(args.all, world)
        print(all_to_json(answers, world) if args.json else "\n".join(all_lines(answers, world)))
        return 0
    at_ms = moment(args.at, world, now_ms=now_ms())
    lon_deg, lat_deg = to_wgs84((args.lon, args.lat), Datum(args.datum))[0].tolist()
    answer = route(Asked(lon_deg, lat_deg, args.category, at_ms, args.radius), world)
    if args.json:
        print(to_json(answer, world))
        return 0
    print("\n".join([*lines(answer, args.category, at_ms, world), *legend([answer], world)]))
    return 0


def _replay(args: argparse.Namespace) -> int:
    from stream.replay import replay, report

    found = replay(args.log)
    print(report(found, as_json=args.json))
    return 0 if found.is_same else 1


def _tune(args: argparse.Namespace) -> int:
    from stream.tune import run

    return run(args, print)


def _gaps(args: argparse.Namespace) -> int:
    import msgspec

    from stream.gaps import gaps, lines, rows
    from stream.recorded import Recorded

    recorded = Recorded(args.log)
    found = gaps(rows(recorded))
    recorded.close()
    print(msgspec.json.encode(found).decode() if args.json else "\n".join(lines(found)))
    return 1 if any(one.missing for one in found) else 0


def _devices(args: argparse.Namespace) -> int:
    from stream.onboard import run

    return run(args, print)


def _retire(args: argparse.Namespace) -> int:
    from models.config import load
    from stream.retire import retire

    asyncio.run(retire(load(args.config), args.outbox))
    return 0


def _dead(args: argparse.Namespace) -> int:
    from stream.ingest.dead import lines, of_reason
    from stream.ingest.redeliver import redeliver
    from stream.recorded import Recorded

    recorded = Recorded(args.log)
    values = of_reason((record.value or b"" for record in recorded.records("dead")), args.reason)
    try:
        if args.replay is not None:
            print(redeliver(values, args.replay))
        else:
            for line in lines(values, as_json=args.json):
                print(line)
    finally:
        recorded.close()
    return 0
