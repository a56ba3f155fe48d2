from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from models.detectors.canvas import Canvas
from models.detectors.manifest import Input


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def canvas(**wanted: Any) -> Canvas:
    return Canvas(Input(**{"height_px": 64, "width_px": 96, **wanted}))


@pytest.mark.parametrize("shape", [(32, 96, 3), (64, 20, 3), (32, 48, 3)])
def test_the_letterbox_is_the_scaled_picture_on_grey(shape: tuple[int, ...]) -> None:
    drawn, image = canvas(), picture(*shape)
    drawn.draw(picture(64, 96, 3))  # what lay there before must be gone
    width, height = drawn.draw(image)
    rows, columns = round(height), round(width)
    np.testing.assert_array_equal(drawn.tensor[0, :rows, :columns], cv2.resize(image, (columns, rows)))
    assert (drawn.tensor[0, rows:] == 114).all()
    assert (drawn.tensor[0, :, columns:] == 114).all()


def test_a_picture_is_stretched_where_the_manifest_says_so() -> None:
    drawn, image = canvas(fit="stretch"), picture(300, 70, 3)
    assert drawn.draw(image) == (96, 64)
    assert drawn.tensor.shape == (1, 64, 96, 3)
    assert not (drawn.tensor[0, :, 60:] == 114).all()


def test_every_pixel_counts_where_a_picture_shrinks_much() -> None:
    image = np.zeros((512, 768, 3), np.uint8)
    drawn = canvas()
    for row, column in ((0, 0), (3, 5), (511, 767), (250, 301)):
        image[:] = 0
        image[row, column] = 255
        drawn.draw(image)
        assert drawn.tensor.any(), (row, column)


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    drawn = canvas()
    for shape in ((1, 1), (1, 500), (1081, 1921), (20_000, 20), (20, 20_000)):
        width, height = drawn.draw(np.full((*shape, 3), 7, np.uint8))
        assert (drawn.tensor[0, : max(int(height), 1), : max(int(width), 1)] == 7).all(), shape


@pytest.mark.parametrize("shape", [(480, 640), (1081, 1927), (37, 1000), (777, 90), (2160, 3839)])
def test_a_place_in_the_input_is_the_same_place_in_the_picture(shape: tuple[int, int]) -> None:
    """A bright corner is where its share says, to half a pixel of the input: odd sizes do not shift it."""
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :, width // 2 :] = 200
    drawn = canvas()
    covered = drawn.draw(image)
    lit = drawn.tensor[0, ..., 0].astype(float) / 200
    rows, columns = drawn._drawn
    x = (columns - lit[rows - 1, :columns].sum()) / covered.width_px
    y = (rows - lit[:rows, columns - 1].sum()) / covered.height_px
    assert x == pytest.approx((width // 2) / width, abs=0.6 / covered.width_px)
    assert y == pytest.approx((height // 2) / height, abs=0.6 / covered.height_px)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("channels", ["bgr", "rgb"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_network_gets_the_order_and_numbers_that_it_wants(layout: str, channels: str, dtype: str) -> None:
    scaling: dict[str, Any] = {"scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "deviation": (0.2, 0.3, 0.4)}
    image = picture(64, 96, 3)
    drawn = canvas(layout=layout, channels=channels, dtype=dtype, **scaling)
    drawn.draw(image)
    wanted = image if channels == "bgr" else image[..., ::-1]
    if dtype == "float32":
        wanted = (wanted / 255 - np.array(scaling["mean"])) / np.array(scaling["deviation"])
    if layout == "nchw":
        wanted = wanted.transpose(2, 0, 1)
    assert drawn.tensor.dtype == dtype
    assert drawn.tensor.flags.c_contiguous
    np.testing.assert_allclose(drawn.tensor[0], wanted, atol=1e-5)


def test_pictures_of_changing_size_do_not_disturb_each_other() -> None:
    drawn = canvas()
    for shape in ((480, 640, 3), (1000, 1000, 3), (480, 640, 3), (50, 900, 3), (700, 701, 3)):
        image = picture(*shape)
        drawn.draw(image)
        fresh = canvas()
        fresh.draw(image)
        np.testing.assert_array_equal(drawn.tensor, fresh.tensor)


def test_the_input_is_drawn_in_place_and_never_moves() -> None:
    for wanted in ({}, {"layout": "nchw", "dtype": "float32", "channels": "rgb"}):
        drawn = canvas(**wanted)
        before = drawn.tensor.ctypes.data
        drawn.draw(picture(480, 640, 3))
        drawn.draw(picture(64, 64, 3))
        assert drawn.tensor.ctypes.data == before


def test_a_view_is_as_good_as_a_copy() -> None:
    image = picture(300, 300, 3)[::-2, ::-1]
    one, other = canvas(), canvas()
    one.draw(image)
    other.draw(image.copy())
    np.testing.assert_array_equal(one.tensor, other.tensor)
