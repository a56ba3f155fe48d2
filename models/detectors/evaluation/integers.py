"""What ONNX Runtime makes of an INT8 network: which operators are left once it has rewritten the graph."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from models.detectors.onnx_file import read_onnx
from models.detectors.session import Options, open_session


def operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator are run for a network, by name."""
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "optimised.onnx"
        session = open_session(path, None, Options(optimised_to=rewritten))
        names = [name for _, name in read_onnx(session.path, rewritten.read_bytes()).operators]
    return dict(sorted(Counter(names).items()))


def float_convolutions(found: Mapping[str, int]) -> int:
    """How many of them are convolutions in float: `Conv`, and `FusedConv` with its activation."""
    return found.get("Conv", 0) + found.get("FusedConv", 0)
