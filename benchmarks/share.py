"""A share of a core for each worker: what two give against one shows only where the machine itself is not the limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import psutil

TURN_S: Final = 0.01
BEHIND_S: Final = 0.05
"""What a worker leaves unused does not add up to more than this: it would be spent at once."""


@contextmanager
def shared(processes: Sequence[psutil.Process], cores: float) -> Iterator[None]:
    """Let each of `processes` and its children have so many cores while the block runs, by stopping them in between."""
    ended = threading.Event()
    keepers = [threading.Thread(target=_keep, args=(process, cores, ended), daemon=True) for process in processes]
    for keeper in keepers:
        keeper.start()
    try:
        yield
    finally:
        ended.set()
        for keeper in keepers:
            keeper.join()


def _keep(process: psutil.Process, cores: float, ended: threading.Event) -> None:
    family = [process, *process.children(recursive=True)]
    is_stopped = False
    left_s, used_s, at_s = 0.0, _used_s(family), time.monotonic()
    with suppress(psutil.NoSuchProcess):
        while not ended.wait(TURN_S):
            now_s, now_used_s = time.monotonic(), _used_s(family)
            left_s = min(left_s + cores * (now_s - at_s) - (now_used_s - used_s), BEHIND_S)
            used_s, at_s = now_used_s, now_s
            if is_stopped != (left_s < 0):
                is_stopped = not is_stopped
                for one in family:
                    one.suspend() if is_stopped else one.resume()
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.resume()


def _used_s(family: Sequence[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in family)
