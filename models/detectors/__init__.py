"""Detectors: a network, its manifest, and the pictures it turns into boxes.

Importing this loads neither ONNX Runtime nor OpenCV: the stream reads thresholds from a manifest and needs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.detectors.manifest import Manifest, Precision, read_manifest, thresholds_of

if TYPE_CHECKING:
    from models.detectors.runtime import Box, Detector

__all__ = ["Box", "Detector", "Manifest", "load", "read_manifest", "thresholds_of"]


def load(
    name_or_path: str | Path,
    *,
    threads: int = 1,
    provider: str = "cpu",
    floor: float = 0.05,
    precision: Precision | None = None,
) -> Detector:
    """Open a detector.

    Args:
        name_or_path: `fire_smoke`, or the path of a manifest.
        threads: of ONNX Runtime within one picture.
        provider: of ONNX Runtime: `cpu`, or another that is installed.
        floor: lowest confidence that `detect` reports.
        precision: which of the shipped networks; None: the manifest's own choice.

    Raises:
        ConfigError: no such model, or its file is not the one that the manifest describes.
    """
    from models.detectors.runtime import Detector

    return Detector(name_or_path, threads=threads, provider=provider, floor=floor, precision=precision)


def __getattr__(name: str) -> object:
    # Type and class of what `load` returns, without loading the runtime for those who read a manifest only.
    if name in {"Box", "Detector"}:
        from models.detectors import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
