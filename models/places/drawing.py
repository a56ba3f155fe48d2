"""Mistakes as GeoJSON, for any map: what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from models.errors import Problem, StorageError
from models.places.geojson import geometry_of
from models.places.sources import PlaceProblem

COLOURS = {"mistake": "#c62828", "remark": "#f9a825"}


def mistakes(problems: Iterable[Problem], remarks: Iterable[Problem] = ()) -> Iterator[dict[str, Any]]:
    """Give a feature for each; what has no place, or could not be read, has no geometry."""
    for severity, found in (("mistake", problems), ("remark", remarks)):
        for problem in found:
            at = problem if isinstance(problem, PlaceProblem) else None
            colour = COLOURS[severity]
            properties = {
                "severity": severity,
                "what": problem.what,
                "remedy": problem.remedy,
                "file": str(problem.file),
                "path": problem.path,
                "codes": at.codes if at else (),
                "area_m2": at.area_m2 if at else None,
                "stroke": colour,
                "fill": colour,
                "marker-color": colour,
            }
            yield {"type": "Feature", "properties": properties, "geometry": geometry_of(at.shape if at else None)}


def write(path: Path, features: Iterable[Mapping[str, Any]]) -> None:
    """Write a FeatureCollection, one feature a line.

    Raises:
        StorageError: it cannot be written.
    """
    lines = b",\n".join(msgspec.json.encode(feature) for feature in features)
    try:
        path.write_bytes(b'{"type":"FeatureCollection","features":[\n' + lines + b"\n]}\n")
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
