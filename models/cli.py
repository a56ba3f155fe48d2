"""The one console script: ``gridwarden <command>``.

Each package brings its own subcommands by the entry-point group ``gridwarden.commands``, so that none has to import
another. A package whose extra is not installed leaves its commands out and says which extra brings them.
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

EXTRAS: Final = {"edge": "edge", "stream": "stream", "alerts": "alerts", "detectors": "edge", "models": ""}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0, 1 for a failure, 2 for a mistake in the call or the config."""
    parser = argparse.ArgumentParser(
        prog="gridwarden", description="From a camera's detection to the officer who is responsible."
    )
    parser.add_argument("--log-level", default=os.environ.get("GRIDWARDEN_LOG", "INFO"), help="DEBUG, INFO, WARNING")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    left_out = _register(commands)
    if left_out:
        parser.epilog = "not installed: " + "; ".join(left_out)
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
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; nothing is left to say, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[str]:
    """Let every installed package add its subcommands; return what is missing, as sentences."""
    left_out = []
    for point in sorted(entry_points(group="gridwarden.commands"), key=lambda point: point.name):
        try:
            register = point.load()
        except ImportError as exc:
            if (exc.name or "").partition(".")[0] in {"models", "edge", "stream", "alerts"}:
                raise
            left_out.append(f"{point.name} (pip install 'gridwarden[{EXTRAS.get(point.name, 'all')}]': {exc})")
            continue
        register(commands)
    return left_out


if __name__ == "__main__":
    sys.exit(main())
