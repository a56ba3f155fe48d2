"""The subcommands of `models`: ``up broker keys check city schema``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ConfigError

if TYPE_CHECKING:
    from models.check import Folder

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
    check.add_argument("--map", type=Path, metavar="FILE", help="write the mistakes as GeoJSON, to see them on a map")
    check.add_argument(
        "--proof", action="store_true", help="prove that somebody answers for every cell, category and minute"
    )
    check.add_argument("--days", type=_days, default=8, metavar="N", help="days to prove from now on (default 8)")
    check.add_argument("--from", dest="since", metavar="TIME", help="prove from 2026-11-22T08:00 on, local time")
    check.add_argument("--json", action="store_true", help="print mistakes, or the proof, as one JSON object")
    check.set_defaults(run=_check)
    coverage = commands.add_parser("coverage", help="say how much of each cell the cameras and sensors see")
    coverage.add_argument("config", type=Path, help="config folder")
    coverage.add_argument("--json", action="store_true", help="print one JSON object")
    coverage.add_argument("--map", type=Path, metavar="FILE", help="write cells and views as GeoJSON")
    coverage.add_argument("--limit", type=int, default=40, metavar="N", help="cells to print (default 40; 0: all)")
    coverage.set_defaults(run=_coverage)
    people = commands.add_parser("people", help="write the people of a config folder as TOML or CSV")
    people.add_argument("config", type=Path, help="config folder")
    people.add_argument("--to", choices=("csv", "toml"), required=True, help="csv: one file a table, for large rosters")
    people.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    people.add_argument("--force", action="store_true", help="overwrite files that are there")
    people.set_defaults(run=_people)
    city = commands.add_parser("city", help="write a sample city: a config folder that validates and runs")
    goal = city.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, metavar="DIR", help="folder to write")
    goal.add_argument("--list", action="store_true", help="list the templates and what sets each apart")
    city.add_argument(
        "--template", default="five_chiefs_grid", metavar="NAME", help="model of governance, or your own .toml"
    )
    city.add_argument("--units", type=int, default=None, help="base cells of the grid (default: as the template says)")
    city.add_argument("--officers", type=int, default=None, metavar="N", help="so many people exactly")
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


def _days(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 366):
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to 366")
    return int(text)


def _check(args: argparse.Namespace) -> int:
    from models.check import check

    found = check(args.config)
    problems = found.problems
    if args.map:
        from models.places.drawing import mistakes, write

        write(args.map, mistakes(problems, found.remarks))
    if args.proof and args.json and not problems:
        return _prove(args, found)
    if args.json:
        print(_as_json(found))
        return ConfigError.exit_code if problems else 0
    for problem in problems:
        print(problem, file=sys.stderr)
    for remark in found.remarks:
        print(f"remark: {remark}", file=sys.stderr)
    if problems:
        print(f"{len(problems)} problem(s)", file=sys.stderr)
        return ConfigError.exit_code
    if args.proof:
        return _prove(args, found)
    print(f"{args.config}: no problems")
    return 0


def _as_json(found: Folder) -> str:
    import dataclasses
    import json

    said = {
        "problems": [dataclasses.asdict(one) for one in found.problems],
        "remarks": [dataclasses.asdict(one) for one in found.remarks],
    }
    for rows in said.values():
        for row in rows:
            row.pop("shape", None)  # --map draws it
    return json.dumps(said, ensure_ascii=False, default=str)


def _prove(args: argparse.Namespace, found: Folder) -> int:
    import json

    from models.clock import now_ms
    from models.proof import prove, text

    assert found.places
    assert found.people
    assert found.catalogue
    from_ms = text.moment(args.since, found.people) if args.since else now_ms() // 60_000 * 60_000
    proof = prove(found.places, found.people, found.catalogue, from_ms=from_ms, days=args.days)
    if args.json:
        print(json.dumps(text.as_json(proof, found.people, found.catalogue), ensure_ascii=False))
    else:
        print("\n".join(text.lines(proof, found.people, found.catalogue)))
    return 1 if proof.holes else 0


def _coverage(args: argparse.Namespace) -> int:
    from models.check import PLACES
    from models.config import load
    from models.places import coverage
    from models.places import load as load_places

    config = load(args.config)
    path = Path(config.folder) / PLACES
    places = load_places(path, geometry=False, max_bytes=config.max_file_bytes)
    report = coverage.of(places, file=path)
    if args.map:
        coverage.draw(args.map, report, places)
    print(coverage.to_json(report) if args.json else "\n".join(coverage.lines(report, limit=args.limit)))
    return 0


def _people(args: argparse.Namespace) -> int:
    from models.check import PEOPLE
    from models.people import files, load

    people = load(args.config / PEOPLE)
    contents = files.to_csv(people) if args.to == "csv" else {PEOPLE: files.to_toml(people)}
    for path in files.write(contents, args.out, force=args.force):
        print(path)
    return 0


def _city(args: argparse.Namespace) -> int:
    from models.city import generate, write
    from models.city.template import load, names

    if args.list:
        for name in names():
            model = load(name)
            print(f"{name}: {model.name} ({model.name_en})\n    {model.about}\n    {model.about_en}")
        return 0
    city = generate(args.units, args.seed, template=args.template, officers=args.officers)
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
