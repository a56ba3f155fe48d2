"""Cameras that share a network and wait for it at the same time are served in one batch.

A picture never waits for one that has not come yet: whoever finds a lane free runs what waits, the first come first,
and where there is a core for each camera nothing is ever put together. So it costs nothing until a machine has more
cameras than cores can keep up with, and there a picture costs less: of 2 or 4 at once each takes 10 and 15 % less
processor time in INT8, up to 3 % less in FP32 (`benchmarks/bench_detect.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 4  # of 8 at once a picture costs no less, and waits longer

Array = NDArray[Any]
Run = Callable[[Array], Sequence[Array]]


class Batcher:
    """Runs a network for several threads at a time.

    Args:
        run: takes (n, ...) and gives outputs whose first side is n as well.
        lanes: how many batches may run at once.
        most: pictures in one batch.
    """

    def __init__(self, run: Run, *, lanes: int, most: int = MOST) -> None:
        self._run = run
        self._most = most
        self._waiting: deque[tuple[Array, Future[list[Array]]]] = deque()
        self._turn = threading.Lock()
        self._lanes: SimpleQueue[_Lane] = SimpleQueue()
        for _ in range(lanes):
            self._lanes.put(_Lane())

    def run(self, picture: Array) -> list[Array]:
        """The outputs of one picture, (1, ...) as it is; whatever `run` raises is raised for all that ran together.

        Every caller takes a turn, and takes at least one of those that wait if there is any. So there are never more of
        them than turns to come, and what another one took is on its way.
        """
        result: Future[list[Array]] = Future()
        self._waiting.append((picture, result))
        lane = self._lanes.get()
        try:
            with self._turn:
                count = min(len(self._waiting), self._most)
                taken = [self._waiting.popleft() for _ in range(count)]
            if taken:
                self._serve(lane, taken)
        finally:
            self._lanes.put(lane)
        return result.result()

    def _serve(self, lane: _Lane, taken: Sequence[tuple[Array, Future[list[Array]]]]) -> None:
        pictures, results = zip(*taken, strict=True)
        try:
            outputs = self._run(lane.together(pictures, self._most))
        except Exception as error:  # noqa: BLE001  # it belongs to those who wait, and is raised where they are
            for result in results:
                result.set_exception(error)
            return
        for row, result in enumerate(results):
            result.set_result([output[row : row + 1] for output in outputs])


class _Lane:
    """Memory for one batch, laid out when the first one comes."""

    def __init__(self) -> None:
        self._memory: Array | None = None

    def together(self, pictures: Sequence[Array], most: int) -> Array:
        """The pictures as one array; a single one is read where it lies."""
        if len(pictures) == 1:
            return pictures[0]
        if self._memory is None:
            self._memory = np.empty((most, *pictures[0].shape[1:]), pictures[0].dtype)
        together: Array = np.concatenate(pictures, out=self._memory[: len(pictures)])
        return together
