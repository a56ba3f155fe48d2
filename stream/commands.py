"""The subcommands of the stream processor: ``stream replay dead``."""

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
    replay = commands.add_parser("replay", help="decide again what stands in a recorded log, and print it")
    replay.add_argument("log", type=Path, help="the log.db of a state folder; it is only read")
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    replay.set_defaults(run=_replay)
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


def _replay(args: argparse.Namespace) -> int:
    from stream.replay import replay, report

    found = replay(args.log)
    print(report(found, as_json=args.json))
    return 0 if found.is_same else 1


def _dead(args: argparse.Namespace) -> int:
    from stream.ingest.dead import lines
    from stream.recorded import Recorded

    recorded = Recorded(args.log)
    for line in lines((record.value or b"" for record in recorded.records("dead")), as_json=args.json):
        print(line)
    recorded.close()
    return 0
