"""JSON Schema of every wire message, written from the types: the types are the contract, the file is its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from models.messages import WIRE

PATH: Final = Path(__file__).parent / "data" / "messages.schema.json"


def render() -> bytes:
    """Return the schema document (JSON Schema 2020-12), the same bytes for the same types."""
    _, definitions = msgspec.json.schema_components(WIRE, ref_template="#/$defs/{name}")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gridwarden messages, version 1",
        "$defs": dict(sorted(definitions.items())),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write(path: Path = PATH) -> Path:
    """Write the schema document to `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render())
    return path
