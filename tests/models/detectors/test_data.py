from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.detectors.training.augment import Sampler, composite, cut_flames
from models.detectors.training.data import Picture, hold_out, load_corpus, members, to_boxes
from models.errors import SourceError

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no pictures in {DATA}; lay them beside the checkout"),
]

FIRE_HEAD = "file,split,source,source_repo,license,n_fire,n_smoke,width,height,smoke_labelled,group"
STREET_HEAD = "file,split,source,source_repo,license,labelled_classes,augmented_by_source"


def street(seed: int) -> np.ndarray:
    """A picture of blocks that resembles no other seed's."""
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(blocks, (96, 72), interpolation=cv2.INTER_NEAREST)


def burning(seed: int) -> np.ndarray:
    image = street(seed) // 4
    cv2.ellipse(image, (48, 40), (14, 24), 0, 0, 360, (20, 120, 250), -1)
    return image


def pack(path: Path, pictures: dict[str, tuple[np.ndarray, str]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, (image, text) in pictures.items():
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            for inner, content in ((f"images/{name}.jpg", jpeg), (f"labels/{name}.txt", text.encode())):
                member = tarfile.TarInfo(inner)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny data folder whose test tars are no tars: who reads them fails."""
    fire = "0 .5 .55 .4 .8\n"
    train = {f"f{i}": (burning(i), fire) for i in range(4)} | {f"n{i}": (street(10 + i), "") for i in range(40)}
    pack(tmp_path / "fire_smoke_train_0.tar", train)
    pack(tmp_path / "fire_smoke_val.tar", {"v0": (burning(5), fire), "v1": (street(60), "")})
    pack(tmp_path / "street_train.tar", {"s0": (street(70), "3 .5 .5 .2 .2\n"), "s1": (street(10), "")})
    pack(tmp_path / "street_val.tar", {"w0": (street(80), "")})
    for name in ("fire_smoke_test_cctv", "fire_smoke_test_neg", "street_test"):
        (tmp_path / f"{name}.tar").write_bytes(b"no training code may open this")
    rows = [f"f{i}.jpg,train,hiep,r,CC BY 4.0,1,0,96,72,{'yes' if i % 2 else 'unknown'},g" for i in range(4)]
    rows += [f"n{i}.jpg,train,nepal,r,CC BY 4.0,0,0,96,72,neg,g" for i in range(40)]
    rows += ["v0.jpg,val,hiep,r,CC BY 4.0,1,0,96,72,yes,g", "v1.jpg,val,nepal,r,CC BY 4.0,0,0,96,72,neg,g"]
    (tmp_path / "fire_smoke_manifest.csv").write_text("\n".join([FIRE_HEAD, *rows]), encoding="utf-8")
    rows = [f"{name}.jpg,train,nepal,r,CC BY 4.0,motor_vehicle,0" for name in ("s0", "s1", "w0")]
    (tmp_path / "street_manifest.csv").write_text("\n".join([STREET_HEAD, *rows]), encoding="utf-8")
    return tmp_path


def test_yolo_lines_become_corners_within_the_picture() -> None:
    boxes = to_boxes("0 .5 .5 .5 .5\n1 0 0 .5 1\n\n", 100, 200)
    np.testing.assert_allclose(boxes, [[0, 50, 25, 150, 75], [1, 0, 0, 50, 50]])
    assert to_boxes("", 100, 200).shape == (0, 5)


def test_a_missing_tar_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--data"):
        list(members(tmp_path / "nothing.tar"))


def test_training_opens_no_test_set_and_holds_streets_out(folder: Path) -> None:
    corpus = load_corpus(folder)
    learnt = {p.sha256 for p in corpus.fires + corpus.streets}
    unseen = {p.sha256 for p in corpus.held_out + corpus.val}
    assert not learnt & unseen
    assert len(corpus.fires) == 4
    assert len(corpus.streets) + len(corpus.held_out) == 40 + 1 + 1  # the picture that both sets have counts once
    assert len(corpus.held_out) > 1
    assert [p.knows_smoke for p in sorted(corpus.fires, key=lambda p: p.name)] == [False, True, False, True]


def test_near_twins_are_never_torn_apart() -> None:
    nothing = np.zeros((0, 5), np.float32)
    pictures = []
    for seed in range(60):
        for gain in (1.0, 0.8):
            image = (street(seed) * gain).astype(np.uint8)
            pictures.append(
                Picture(f"{seed}", "s", hashlib.sha256(image.tobytes()).hexdigest(), image, nothing, knows_smoke=True)
            )
    kept, out = hold_out(pictures)
    assert not {p.name for p in kept} & {p.name for p in out}
    assert 10 < len(out) < 60


def test_samples_keep_boxes_inside_and_mask_smoke_where_it_is_not_labelled(folder: Path) -> None:
    sampler = Sampler(load_corpus(folder))
    masked = 0
    for seed in range(60):
        image, boxes, knows_smoke = sampler.sample(128, np.random.default_rng(seed), 0.5)
        assert image.shape == (128, 128, 3)
        assert image.dtype == np.uint8
        assert knows_smoke.shape == (16, 16)
        assert (boxes[:, 1:] >= 0).all()
        assert (boxes[:, 1:] <= 128).all()
        assert (boxes[:, 3:] > boxes[:, 1:3]).all()
        masked += bool((knows_smoke == 0).any())
    assert 10 < masked < 60


def test_a_sample_is_the_same_for_the_same_seed(folder: Path) -> None:
    sampler = Sampler(load_corpus(folder))
    first, second = (sampler.sample(128, np.random.default_rng(9), 0.5) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_composite_boxes_what_it_changed_and_leaves_the_street_alone(folder: Path) -> None:
    corpus = load_corpus(folder)
    flames = cut_flames(corpus.fires)
    assert len(flames) == 4
    before = corpus.streets[0].image.copy()
    made = composite(corpus.streets[0], flames, np.random.default_rng(2))
    np.testing.assert_array_equal(corpus.streets[0].image, before)
    assert 1 <= len(made.boxes) <= 3
    assert made.knows_smoke


@pytest.fixture(scope="module")
def tested() -> set[str]:
    return hashes("fire_smoke_test_cctv") | hashes("fire_smoke_test_neg") | hashes("street_test")


@pytest.mark.parametrize("train", ["fire_smoke_train_0", "fire_smoke_train_1", "street_train", "street_val"])
class TestIndependence:
    pytestmark = needs_data

    def test_no_picture_that_is_learnt_or_held_out_is_a_test_picture(self, train: str, tested: set[str]) -> None:
        assert not hashes(train) & tested

    def test_no_picture_that_is_learnt_is_a_validation_picture(self, train: str) -> None:
        if train != "street_val":
            assert not hashes(train) & hashes("fire_smoke_val")


def hashes(name: str) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for _, content, _ in members(DATA / f"{name}.tar")}
