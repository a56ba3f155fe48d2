"""``gridwarden edge``."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from models import config as configs

log = logging.getLogger(__name__)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the edge agent's subcommand."""
    parser = commands.add_parser("edge", help="run the edge agent: cameras and sensors in, MQTT out")
    parser.add_argument("folder", type=Path, metavar="CONFIG_FOLDER")
    parser.add_argument(
        "--clip-started-at",
        type=int,
        metavar="MS",
        help="wall time (POSIX ms) at which the clips began; a restarted agent goes on where they are by now",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 0 after an orderly stop."""
    from edge.agent import Agent
    from models.detectors import load

    config = configs.load(args.folder)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    agent = Agent(
        config,
        lambda: load(
            config.edge.detector,
            precision=config.edge.precision,
            provider=config.edge.provider,
            threads=config.edge.threads,
            floor=config.edge.floor,
        ),
        clip_started_at_ms=args.clip_started_at,
    )
    return agent.run(stop)
