"""The subcommands of `models`: ``up broker keys check city schema``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.errors import ConfigError

Subparsers = argparse._SubParsersAction  # noqa: SLF001  # argparse has no public name for it


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the subcommands."""
    _register_up(commands)
    broker = commands.add_parser("broker", help="run the embedded MQTT broker")
    broker.add_argument("config", type=Path, help="config folder, or a gridwarden.toml")
    broker.set_defaults(run=_broker)
    keys = commands.add_parser("keys", help="make a key for every sender that has none")
    keys.add_argument("config", type=Path, help="config folder")
    keys.set_defaults(run=_keys)
    check = commands.add_parser("check", help="say everything that is wrong with a config folder")
    check.add_argument("config", type=Path, help="config folder")
    check.set_defaults(run=_check)
    city = commands.add_parser("city", help="write a sample city: a config folder that validates and runs")
    city.add_argument("--units", type=int, default=135, help="base cells of the grid (default 135)")
    city.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    city.add_argument("--seed", type=int, default=0, help="another seed, another city (default 0)")
    city.add_argument("--force", action="store_true", help="overwrite files that are there")
    city.set_defaults(run=_city)
    schema = commands.add_parser("schema", help="write the JSON Schema of every message")
    schema.add_argument("--out", type=Path, default=None)
    schema.set_defaults(run=_schema)


def _register_up(commands: Subparsers[argparse.ArgumentParser]) -> None:
    up = commands.add_parser("up", help="run the whole chain on this machine")
    up.add_argument("config", type=Path, nargs="?", help="config folder; without one, a sample city of 135 units")
    up.add_argument("--clip", action="append", default=[], help="a clip, or a number for a camera; repeat for camera n")
    goal = up.add_mutually_exclusive_group()
    goal.add_argument(
        "--until-alert", dest="until", action="store_const", const="alert", help="stop at the first alert"
    )
    goal.add_argument("--until-end", dest="until", action="store_const", const="end", help="stop when the clips ended")
    up.add_argument("--timeout", type=float, default=None, metavar="S", help="give up after S seconds, with code 1")
    up.add_argument("--json", action="store_true", help="print one JSON object at the end")
    up.add_argument("--state", type=Path, default=None, help="keep the state here; with clips it is removed otherwise")
    up.add_argument("--demo", action="store_true", help="the seat's page links to the officers' pages")
    up.set_defaults(run=_up)


def _up(args: argparse.Namespace) -> int:
    from models.up import Options, run

    options = Options(
        config=args.config,
        clips=tuple(args.clip),
        until=args.until,
        timeout_s=args.timeout,
        as_json=args.json,
        state=args.state,
        demo=args.demo,
    )
    return run(options)


def _broker(args: argparse.Namespace) -> int:
    from models import broker
    from models.config import load

    broker.run(load(args.config))
    return 0


def _keys(args: argparse.Namespace) -> int:
    from models.config import load
    from models.up import make_keys

    config = load(args.config)
    make_keys(config)
    print(f"keys are in {config.keys}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from models.check import check

    problems = check(args.config).problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} problem(s)", file=sys.stderr)
        return ConfigError.exit_code
    print(f"{args.config}: no problems")
    return 0


def _city(args: argparse.Namespace) -> int:
    from models.city import generate, write

    city = generate(args.units, args.seed)
    for path in write(city, args.out, force=args.force):
        print(path)
    places, people = city.places, city.people
    print(
        f"{len(places.cells)} cells, {len(places.lines)} streets, roads and lanes, {len(places.nodes)} buildings and "
        f"shops, {len(places.devices)} devices, {len(people.posts)} posts, {len(people.persons)} people"
    )
    return 0


def _schema(args: argparse.Namespace) -> int:
    from models import schema

    print(schema.write(args.out or schema.PATH))
    return 0
