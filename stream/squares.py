"""How a layer of places becomes one array that `stream.kernels` can ask: built once, in compiled loops.

A layer is one C-contiguous int32 array, so that a single question costs one argument::

    0..5                 x0, y0: south-west corner in 1e-7 degree; x_shift, y_shift: a square is 2**shift units wide and
                         high; columns, rows
    HEADER..             one entry a square, row by row from the south-west: the owner where one answers for the whole
                         square, NONE where nobody does, else minus the position of the square's record
    records of polygons  chunks: owners * 2 + (1 if a chunk follows), segments, the mask of the parts around the
                         reference point, its x and y, the owners, then for each segment x1 y1 x2 y2 from the reference
                         point and the mask of the parts that it bounds
    records of lines     segments, then for each line, buffer_mm, x1 y1 x2 y2

Bit k of a mask is the k-th part of the chunk, in order of precedence. Whether a part covers a point follows from the
reference point: it does if the straight way there crosses the part's borders an even number of times and it covers the
reference point, or an odd number and it does not. Only borders within the square can be crossed on the way.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream.kernels import HEADER, NONE, Indices, Ints, kernel

PER_CHUNK: Final = 31
"""Parts whose masks fit an int32 without its sign."""
MERGE_UP_TO: Final = 64
"""A border that two parts share is kept once, unless a square holds so many that the search would take long."""
TRIES: Final = 256
"""Places tried for a reference point that lies on no border."""


class Squares(NamedTuple):
    """The grid of a layer: squares of 2**x_shift by 2**y_shift units from (x0, y0)."""

    x0: int
    y0: int
    x_shift: int
    y_shift: int
    columns: int
    rows: int


class Segments(NamedTuple):
    """Straight pieces from (x1, y1) to (x2, y2), in order of their parts: segment s bounds part ``part[s]``."""

    x1: Ints
    y1: Ints
    x2: Ints
    y2: Ints
    part: Indices


@kernel
def _x_at(x1: int, y1: int, x2: int, y2: int, y: int) -> float:
    return x1 + (x2 - x1) * ((y - y1) / (y2 - y1))


@kernel
def list_segments(squares: Squares, segments: Segments, reach: Ints, start: Ints, items: Indices) -> None:
    """List in each square the segments that come nearer than their reach, perhaps a few more; ascending.

    Args:
        squares: the grid.
        segments: (n,) pieces.
        reach: (n, 2): units to the east and west, to the north and south.
        start: (squares + 1,) where each list starts; only read, and the lists filled, if `items` has room. If it has
            none, the length of list k is added to ``start[k + 1]``.
        items: room for all lists, or none.
    """
    cursor = start.copy()
    for s in range(len(segments.x1)):
        x1, y1, x2, y2 = segments.x1[s], segments.y1[s], segments.x2[s], segments.y2[s]
        left, right = min(x1, x2), max(x1, x2)
        low, high = min(y1, y2), max(y1, y2)
        first_row = max((low - reach[s, 1] - squares.y0) >> squares.y_shift, 0)
        last_row = min((high + reach[s, 1] - squares.y0) >> squares.y_shift, squares.rows - 1)
        for row in range(first_row, last_row + 1):
            south = squares.y0 + (row << squares.y_shift)
            bottom, top = max(south - reach[s, 1], low), min(south + (1 << squares.y_shift) + reach[s, 1], high)
            west, east = left, right
            if low < high:
                a, b = _x_at(x1, y1, x2, y2, bottom), _x_at(x1, y1, x2, y2, top)
                west, east = max(left, int(min(a, b)) - 2), min(right, int(max(a, b)) + 2)
            first = max((west - reach[s, 0] - squares.x0) >> squares.x_shift, 0)
            last = min((east + reach[s, 0] - squares.x0) >> squares.x_shift, squares.columns - 1)
            for column in range(first, last + 1):
                square = row * squares.columns + column
                if len(items):
                    items[cursor[square]] = s
                    cursor[square] += 1
                else:
                    start[square + 1] += 1


@kernel
def list_centres(squares: Squares, segments: Segments, first: Ints, start: Ints, items: Indices) -> None:
    """List for each square the parts that its centre lies inside, ascending; a centre on a border may go either way.

    Args:
        squares: the grid.
        segments: (n,) pieces.
        first: (parts + 1,) the segments of part p are ``first[p]`` to ``first[p + 1]``.
        start: as in `list_segments`.
        items: as in `list_segments`.
    """
    x1, y1, x2, y2, _ = segments
    cursor = start.copy()
    half_x, half_y = (1 << squares.x_shift) >> 1, (1 << squares.y_shift) >> 1
    crossing = np.empty(len(x1), dtype=np.int64)
    for p in range(len(first) - 1):
        ends = slice(first[p], first[p + 1])
        west, east = min(x1[ends].min(), x2[ends].min()), max(x1[ends].max(), x2[ends].max())
        south, north = min(y1[ends].min(), y2[ends].min()), max(y1[ends].max(), y2[ends].max())
        for row in range((south - squares.y0) >> squares.y_shift, ((north - squares.y0) >> squares.y_shift) + 1):
            y = squares.y0 + (row << squares.y_shift) + half_y
            n = 0
            for s in range(first[p], first[p + 1]):
                if (y1[s] > y) != (y2[s] > y):
                    crossing[n] = s
                    n += 1
            if not n:
                continue
            for column in range((west - squares.x0) >> squares.x_shift, ((east - squares.x0) >> squares.x_shift) + 1):
                x = squares.x0 + (column << squares.x_shift) + half_x
                is_inside = False
                for i in range(n):
                    s = crossing[i]
                    cross = (x2[s] - x1[s]) * (y - y1[s]) - (y2[s] - y1[s]) * (x - x1[s])
                    if (cross > 0) == (y2[s] > y1[s]):
                        is_inside = not is_inside
                if is_inside:
                    square = row * squares.columns + column
                    if len(items):
                        items[cursor[square]] = p
                        cursor[square] += 1
                    else:
                        start[square + 1] += 1


@kernel
def _is_on(segments: Segments, s: int, x: int, y: int) -> bool:
    x1, y1, x2, y2 = segments.x1[s], segments.y1[s], segments.x2[s], segments.y2[s]
    if x < min(x1, x2) or x > max(x1, x2) or y < min(y1, y2) or y > max(y1, y2):
        return False
    return bool((x2 - x1) * (y - y1) == (y2 - y1) * (x - x1))


@kernel
def _is_inside(segments: Segments, first: Ints, p: int, x: int, y: int) -> bool:
    """Whether part `p` has a point inside that is on none of its borders. Exact: a ray to the east, half-open."""
    inside = False
    for s in range(first[p], first[p + 1]):
        x1, y1, x2, y2 = segments.x1[s], segments.y1[s], segments.x2[s], segments.y2[s]
        if (y1 > y) != (y2 > y) and ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0) == (y2 > y1):
            inside = not inside
    return inside


@kernel
def _reference(squares: Squares, square: int, segments: Segments, listed: Indices) -> tuple[int, int, int]:
    """Return a place in a square that none of its segments touches, and how many were tried before it.

    The centre where that will do, then places by a fixed rule; `TRIES` where there seems to be none.
    """
    west = squares.x0 + ((square % squares.columns) << squares.x_shift)
    south = squares.y0 + ((square // squares.columns) << squares.y_shift)
    width, height = 1 << squares.x_shift, 1 << squares.y_shift
    x, y = west + (width >> 1), south + (height >> 1)
    for tried in range(TRIES):
        is_free = True
        for s in listed:
            if _is_on(segments, s, x, y):
                is_free = False
                break
        if is_free:
            return x, y, tried
        # The golden ratio and the square root of two spread the tries evenly and never along a line.
        x = west + int((0.5 + (tried + 1) * 0.6180339887498949) % 1.0 * width)
        y = south + int((0.5 + (tried + 1) * 0.4142135623730951) % 1.0 * height)
    return x, y, TRIES


@kernel
def _parts_here(listed: Indices, around: Indices, part: Indices, here: Indices) -> int:
    """Put the parts that own a listed segment or lie around the centre into `here`, ascending, each once."""
    n, c = 0, 0
    for s in listed:
        p = part[s]
        while c < len(around) and around[c] < p:
            if n == 0 or here[n - 1] < around[c]:
                here[n] = around[c]
                n += 1
            c += 1
        if n == 0 or here[n - 1] < p:
            here[n] = p
            n += 1
    while c < len(around):
        if n == 0 or here[n - 1] < around[c]:
            here[n] = around[c]
            n += 1
        c += 1
    return n


@kernel
def _put_segment(layer: Indices, at: int, n: int, piece: tuple[int, int, int, int], bit: int) -> int:
    """Put a segment, seen from the reference point, behind the `n` that stand at `at`; return how many there are then.

    The reference point is always to its left or on its line. A segment that is there already gets the bit.
    """
    x1, y1, x2, y2 = piece
    if x1 * y2 - y1 * x2 < 0:
        x1, y1, x2, y2 = x2, y2, x1, y1
    if n <= MERGE_UP_TO:
        for i in range(at, at + 5 * n, 5):
            if layer[i] == x1 and layer[i + 1] == y1 and layer[i + 2] == x2 and layer[i + 3] == y2:
                layer[i + 4] |= bit
                return n
    end = at + 5 * n
    layer[end], layer[end + 1], layer[end + 2], layer[end + 3], layer[end + 4] = x1, y1, x2, y2, bit
    return n + 1


@kernel
def pack_polygons(
    squares: Squares,
    segments: Segments,
    first: Ints,
    owner: Indices,
    lists: tuple[Ints, Indices, Ints, Indices],
    layer: Indices,
) -> int:
    """Write the entries and records of a polygon layer; return its length, or minus a square without reference point.

    Args:
        squares: the grid.
        segments: (n,) pieces.
        first: (parts + 1,) where the segments of each part start.
        owner: (parts,) the place that each part belongs to, ascending.
        lists: starts and items of `list_segments` and of `list_centres`.
        layer: with room for all.
    """
    start, listed, centre_start, centres = lists
    end = HEADER + squares.columns * squares.rows
    longest = 1
    for k in range(squares.columns * squares.rows):
        longest = max(longest, start[k + 1] - start[k] + centre_start[k + 1] - centre_start[k])
    here = np.empty(longest, dtype=np.int32)
    for k in range(squares.columns * squares.rows):
        mine, around = listed[start[k] : start[k + 1]], centres[centre_start[k] : centre_start[k + 1]]
        n = _parts_here(mine, around, segments.part, here)
        if len(mine) == 0 and n <= 1:
            layer[HEADER + k] = owner[here[0]] if n else NONE
            continue
        x, y, tried = _reference(squares, k, segments, mine)
        if tried == TRIES:
            return -k - 1
        layer[HEADER + k] = -end
        at_segment, at_around = 0, 0
        for low in range(0, n, PER_CHUNK):
            high = min(low + PER_CHUNK, n)
            head = end
            mask, n_segments = 0, 0
            end += 5 + high - low
            for i in range(low, high):
                p, bit = here[i], 1 << (i - low)
                layer[head + 5 + i - low] = owner[p]
                while at_around < len(around) and around[at_around] < p:
                    at_around += 1
                is_around = at_around < len(around) and around[at_around] == p
                if _is_inside(segments, first, p, x, y) if tried else is_around:
                    mask |= bit
                while at_segment < len(mine) and segments.part[mine[at_segment]] == p:
                    s = mine[at_segment]
                    piece = (segments.x1[s] - x, segments.y1[s] - y, segments.x2[s] - x, segments.y2[s] - y)
                    n_segments = _put_segment(layer, end, n_segments, piece, bit)
                    at_segment += 1
            layer[head] = (high - low) * 2 + (1 if high < n else 0)
            layer[head + 1], layer[head + 2], layer[head + 3], layer[head + 4] = n_segments, mask, x, y
            end += 5 * n_segments
    return end


@kernel
def pack_lines(
    squares: Squares, segments: Segments, buffer_mm: Ints, start: Ints, listed: Indices, layer: Indices
) -> int:
    """Write the entries and records of a line layer and return its length; line p reaches ``buffer_mm[p]`` far."""
    end = HEADER + squares.columns * squares.rows
    for k in range(squares.columns * squares.rows):
        if start[k] == start[k + 1]:
            layer[HEADER + k] = NONE
            continue
        layer[HEADER + k] = -end
        layer[end] = start[k + 1] - start[k]
        end += 1
        for s in listed[start[k] : start[k + 1]]:
            line = segments.part[s]
            layer[end], layer[end + 1] = line, buffer_mm[line]
            layer[end + 2], layer[end + 3] = segments.x1[s], segments.y1[s]
            layer[end + 4], layer[end + 5] = segments.x2[s], segments.y2[s]
            end += 6
    return end
