"""What may be wrong with the shapes in `Places`: the one door to shapely in `models`, opened when a file is validated.

Topology is tested on the integer coordinates, so shapely sees exactly what the matcher sees; areas and widths are taken
in metres on a plane at the city's middle.
"""

from __future__ import annotations

from pathlib import Path

from models.errors import ConfigError, Problem
from models.places.sources import Sources


def need_shapely(file: Path | str) -> None:
    """Return if shapes can be reckoned with.

    Raises:
        ConfigError: shapely is not installed.
    """
    try:
        import shapely  # noqa: F401
    except ImportError as exc:
        problem = Problem(file, "$", "shapes cannot be checked without shapely", "install gridwarden[stream]")
        raise ConfigError([problem]) from exc


def problems(sources: Sources, unit_grid_m2: tuple[float, float]) -> tuple[list[Problem], list[Problem]]:
    """Name crossing rings, overlaps and gaps of base cells, what lies outside its cell, and what else cannot be.

    Args:
        sources: what was read.
        unit_grid_m2: least and most area of a unit grid that is not remarked on.

    Returns:
        Mistakes, and remarks: what looks doubtful and is taken all the same.

    Raises:
        ConfigError: shapely is not installed.
    """
    need_shapely(sources.file)
    from models.places.geometry import ground, layers, standing
    from models.places.geometry.shapes import Shapes

    shapes = Shapes(sources)
    found = (
        *shapes.crossings(),
        *ground.problems(shapes),
        *layers.problems(shapes),
        *standing.problems(shapes),
    )
    return list(found), list(layers.remarks(shapes, unit_grid_m2))
