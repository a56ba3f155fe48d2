"""Cameras that wait at the same time are served together, each with its own answer, and none waits for another one."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detectors import Detector, load
from models.detectors.batching import MOST, Batcher
from models.detectors.manifest import Input
from models.detectors.session import Session, Tensor, open_session, shared_side
from models.errors import ConfigError
from tests.models.detectors.test_runtime import YOLO_INPUT, yolov8
from tests.models.detectors.tiny_onnx import FLOAT, fixed, write_detector


class Counted:
    """Runs a session, and tells how many pictures came at a time; the first batch waits until it is let go."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sizes: list[int] = []
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        self.sizes.append(len(pictures))
        if len(self.sizes) == 1:
            self.begun.set()
            assert self.let_go.wait(60)
        return list(self.session.run({self.session.inputs[0].name: pictures}).values())


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [rng.integers(0, 256, (1, 192, 320, 3), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def session(request: pytest.FixtureRequest) -> Session:
    return load("fire_smoke", precision=request.param)._view.session


def waiting(batcher: Batcher) -> int:
    return len(batcher._waiting)


def all_in(pool: ThreadPoolExecutor, batcher: Batcher, shown: list[np.ndarray]) -> list[Future[list[np.ndarray]]]:
    """Everybody's future, once all of them wait."""
    futures = []
    for count, picture in enumerate(shown, 1):
        futures.append(pool.submit(batcher.run, picture))
        while waiting(batcher) < count:
            threading.Event().wait(0.001)
    return futures


def test_those_who_wait_run_together_and_get_what_they_would_get_alone(session: Session) -> None:
    shown = pictures(7)
    alone = [list(session.run({"picture": picture}).values()) for picture in shown]
    run = Counted(session)
    batcher = Batcher(run, lanes=1)
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(batcher.run, shown[0])
        assert run.begun.wait(60)
        others = all_in(pool, batcher, shown[1:])
        run.let_go.set()
        got = [future.result(60) for future in (first, *others)]
    assert run.sizes == [1, MOST, 2]
    for mine, expected in zip(got, alone, strict=True):
        for output, wanted in zip(mine, expected, strict=True):
            assert output.shape == wanted.shape
            np.testing.assert_allclose(output, wanted, atol=1e-4)  # the order of sums may hang on their number


def test_with_a_lane_for_each_nobody_is_put_together(session: Session) -> None:
    run = Counted(session)
    batcher = Batcher(run, lanes=2)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(batcher.run, pictures(1)[0])
        assert run.begun.wait(60)
        for picture in pictures(3):
            batcher.run(picture)  # would never come back if it waited for the one that is held
        run.let_go.set()
        held.result(60)
    assert run.sizes == [1, 1, 1, 1]


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 24))
def test_everybody_is_answered_once_whatever_the_lanes(lanes: int, most: int, count: int) -> None:
    sizes = []

    def double(numbers: np.ndarray) -> list[np.ndarray]:
        sizes.append(len(numbers))
        return [numbers * 2]

    batcher = Batcher(double, lanes=lanes, most=most)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: batcher.run(np.full((1, 3), n)), range(count)))
    assert [int(answer[0][0, 0]) for answer in answers] == [2 * n for n in range(count)]
    assert sum(sizes) == count
    assert max(sizes) <= most


def test_a_failure_reaches_all_who_ran_together_and_the_next_ones_run(session: Session) -> None:
    run = Counted(session)
    batcher = Batcher(run, lanes=1)
    good, wrong = pictures(1)[0], np.zeros((1, 100, 320, 3), np.uint8)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, good)
        assert run.begun.wait(60)
        others = all_in(pool, batcher, [wrong, wrong])
        run.let_go.set()
        first.result(60)
        for other in others:
            with pytest.raises(ConfigError, match="it cannot be run"):
                other.result(60)
    assert len(batcher.run(good)) == 2


def test_the_shipped_networks_take_any_number_of_pictures() -> None:
    for name in ("fire_smoke", "street_order"):
        for precision in ("fp32", "int8"):
            assert Detector(name, precision=precision)._view.session._batcher is not None, (name, precision)


def test_a_graph_that_holds_one_picture_within_runs_them_one_by_one(tmp_path: Path) -> None:
    """Its outputs are those of one, whatever it says of its input."""
    liar = fixed({"output0": yolov8()}, ("images", FLOAT, ("batch", 3, 320, 320)))
    (tmp_path / "liar.onnx").write_bytes(liar)
    session = open_session(tmp_path / "liar.onnx", None)
    assert session._batcher is None
    path = write_detector(tmp_path, liar, family="yolov8", input=Input(**YOLO_INPUT))
    assert len(load(path).detect(np.zeros((100, 100, 3), np.uint8))) == 1


def test_which_graphs_can_serve_several_at_once() -> None:
    picture, two = Tensor("p", "uint8", ("n", 320, 320, 3)), Tensor("size", "int64", ("n", 2))
    boxes, count = Tensor("b", "float32", ("n", 2100, 4)), Tensor("c", "int64", ("found",))
    assert shared_side([picture], [boxes, boxes]) == "n"
    assert shared_side([picture, two], [boxes]) is None
    assert shared_side([picture], [boxes, count]) is None
    assert shared_side([Tensor("p", "uint8", (1, 320, 320, 3))], [Tensor("b", "float32", (1, 2100, 4))]) is None
