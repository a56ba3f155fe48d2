"""``gridwarden alerts | ledger | summary``."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgspec

from models.config import load


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this package."""
    alerts = commands.add_parser("alerts", help="run casework, escalation and the command center")
    alerts.add_argument("config", type=Path, metavar="CONFIG_FOLDER")
    alerts.set_defaults(run=_alerts)

    ledger = commands.add_parser("ledger", help="check the ledger")
    verbs = ledger.add_subparsers(dest="verb", metavar="VERB", required=True)
    verify = verbs.add_parser("verify", help="prove that no record was changed, removed or put in")
    verify.add_argument("config", type=Path, metavar="CONFIG_FOLDER")
    verify.add_argument("--head", help="a hash that was printed earlier and must still be in the chain")
    verify.set_defaults(run=_verify)

    summary = commands.add_parser("summary", help="say what happened so far")
    summary.add_argument("config", type=Path, metavar="CONFIG_FOLDER")
    summary.add_argument("--json", action="store_true", help="as one JSON object")
    summary.set_defaults(run=_summary)


def _alerts(args: argparse.Namespace) -> int:
    from alerts.service import serve

    asyncio.run(serve(load(args.config)))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from alerts.ledger import Ledger

    ledger = Ledger.open_read_only(load(args.config))
    try:
        verdict = ledger.verify(head=args.head)
    finally:
        ledger.close()
    if verdict.broken is not None:
        print(f"BROKEN at record {verdict.broken.seq}: {verdict.broken.why}")
        return 1
    print(f"whole: {verdict.records} records, {verdict.pictures} pictures, head {verdict.head}")
    return 0


def _summary(args: argparse.Namespace) -> int:
    from alerts.summary import summary

    result = summary(load(args.config))
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
        return 0
    for incident in result.incidents:
        print(f"{incident.incident_id}  {incident.priority} {incident.stage} {incident.category}  cell {incident.cell}")
    for alert in result.alerts:
        print(f"{alert.alert_id}  step {alert.step}: {alert.to.name} ({alert.to.name_en}), {alert.to.post}")
    return 0
