"""The one console script: ``gridwarden <command>``.

Each package brings its own subcommands by the entry-point group ``gridwarden.commands``, so that none has to import
another. What a command needs is imported when it runs: a Pi that only watches has every command in its help, and is
told what to install when it calls one of another machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from models.errors import GridwardenError

OURS: Final = frozenset({"alerts", "edge", "models", "stream"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0, 1 for a failure, 2 for a mistake in the call or the config."""
    parser = argparse.ArgumentParser(
        prog="gridwarden", description="From a camera's detection to the officer who is responsible."
    )
    parser.add_argument("--log-level", default=os.environ.get("GRIDWARDEN_LOG", "INFO"), help="DEBUG, INFO, WARNING")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for point in sorted(entry_points(group="gridwarden.commands"), key=lambda point: point.name):
        point.load()(commands)
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=args.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        return int(args.run(args))
    except GridwardenError as exc:
        for line in str(exc).splitlines():
            print(f"gridwarden: {line}", file=sys.stderr)
        return exc.exit_code
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in OURS:
            raise
        print(f"gridwarden: {args.command} needs {exc.name}: pip install 'gridwarden[all]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; nothing is left to say, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
