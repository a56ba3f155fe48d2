"""The console commands of `models`: `gridwarden city`."""

from __future__ import annotations

import argparse
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package."""
    city = subparsers.add_parser("city", help="write a sample city: a config folder that validates and runs")
    city.add_argument("--units", type=int, default=135, help="base cells of the grid (default 135)")
    city.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    city.add_argument("--seed", type=int, default=0, help="another seed, another city (default 0)")
    city.add_argument("--force", action="store_true", help="overwrite files that are there")
    city.set_defaults(run=run_city)


def run_city(args: argparse.Namespace) -> int:
    """Write a sample city and say what is in it.

    Raises:
        ConfigError: the folder holds such files already, or cannot be written.
    """
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
