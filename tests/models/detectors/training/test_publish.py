from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="publishing needs the extra `train`")
pytest.importorskip("onnxscript", reason="publishing needs the extra `train`")

import onnx
import torch

from models.detectors import load, read_manifest
from models.detectors.evaluation import points
from models.detectors.inspection import inspect
from models.detectors.session import Options, open_session
from models.detectors.training import publish as publishing
from models.detectors.training.data import load_corpus
from models.detectors.training.export import export, network_of
from models.detectors.training.network import Exported, Network
from models.detectors.training.publish import (
    calibration,
    count_parameters,
    describe,
    publish,
    with_integers,
    write,
)
from models.detectors.training.quantize import METHODS
from models.detectors.training.recipes import recipe_of
from models.errors import SourceError
from tests.models.detectors.tiny_data import write_tiny_data

RECIPE = replace(recipe_of("fire_smoke"), size_px=64)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Network(2)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)  # a trained network has biases to fold
    path = tmp_path / "best.pt"
    torch.save({"labels": RECIPE.labels, "average": network.state_dict()}, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return write_tiny_data(tmp_path / "data")


@pytest.mark.parametrize("sides", [(96, 96), (64, 96), (96, 32), (32, 64)])
def test_an_exported_file_answers_as_the_network_does(sides: tuple[int, int], checkpoint: Path, tmp_path: Path) -> None:
    network = network_of([checkpoint], RECIPE.labels)
    model = export(network, 96)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    picture = np.random.default_rng(0).integers(0, 256, (2, *sides, 3), np.uint8)
    found = open_session(tmp_path / "net.onnx", None).run({"picture": picture})
    with torch.inference_mode():
        boxes, scores = Exported(network.eval(), *sides)(torch.from_numpy(picture))
    np.testing.assert_allclose(found["boxes"], boxes.numpy(), atol=1e-2)
    np.testing.assert_allclose(found["scores"], scores.numpy(), atol=1e-5)


def test_several_checkpoints_become_the_mean_of_their_weights(checkpoint: Path, tmp_path: Path) -> None:
    other, state = tmp_path / "other.pt", torch.load(checkpoint, weights_only=True)
    doubled = {name: 3 * value if value.is_floating_point() else value for name, value in state["average"].items()}
    torch.save(state | {"average": doubled}, other)
    one, mean = network_of([checkpoint], RECIPE.labels), network_of([checkpoint, other], RECIPE.labels)
    for name, value in mean.state_dict().items():
        factor = 2 if value.is_floating_point() else 1
        torch.testing.assert_close(value, factor * one.state_dict()[name])


def test_a_checkpoint_becomes_a_sealed_detector_and_no_test_is_read(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "LEAST_QUIET", 3)
    monkeypatch.setattr(publishing, "METHODS", {"percentile": METHODS["percentile"]})
    path = publish(RECIPE, [checkpoint], data, tmp_path / "out")  # the test tars of this data are none: it would fail
    manifest = read_manifest(path)
    assert manifest.points_sha256 == manifest.seal
    assert manifest.precisions == ("fp32", "int8")
    assert manifest.scores == ()
    assert manifest.labels == RECIPE.labels
    assert manifest.parameters == count_parameters(checkpoint) == sum(p.numel() for p in Network(2).parameters())
    assert {source.name for source in manifest.sources} == {"hiep", "nepal", "imagenet"}
    for precision in manifest.precisions:
        detector = load(path, precision=precision)
        assert detector.detect(np.zeros((40, 96, 3), np.uint8)) == []
        assert detector._view.session.inputs[0].shape == ("batch", 32, 64, 3)
        found = inspect(path.with_name(manifest.network(precision).file), options=Options())
        wanted = found.manifest.input
        assert (found.family.family, wanted.height_px, wanted.width_px) == ("anchors", 64, 64)


@pytest.mark.parametrize(("ap50", "opened"), [([0.6, 0.495], "int8"), ([0.6, 0.485], "fp32")])
def test_integers_that_lose_more_than_a_point_of_any_label_are_not_opened_by_default(
    ap50: list[float], opened: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def precisions(_described: object, _path: Path, _val: object, precision: str = "fp32") -> list[float]:
        return ap50 if precision == "int8" else [0.55, 0.5]

    monkeypatch.setattr(publishing, "_precisions", precisions)
    monkeypatch.setattr(publishing, "prepare", lambda model, _: model)
    monkeypatch.setattr(publishing, "quantize", lambda model, *_: model)
    monkeypatch.setattr(publishing, "operators", lambda _: {})
    described = describe(RECIPE, write(onnx.ModelProto(), tmp_path / "fire_smoke.onnx"), 1)
    made = with_integers(described, onnx.ModelProto(), [], tmp_path / "fire_smoke.toml", [])
    assert (made.precision, made.precisions) == (opened, ("fp32", "int8"))


def test_a_checkpoint_of_other_labels_is_refused(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"best\.pt: sees fire, smoke, not garbage, "):
        publish(replace(recipe_of("street_order"), size_px=64), [checkpoint], data, tmp_path / "out")


def test_ranges_are_told_on_training_pictures_alone(data: Path) -> None:
    corpus = load_corpus(data, RECIPE)
    canvases = calibration(RECIPE, corpus)
    assert len(canvases) == len(corpus.fires) + len(corpus.streets)
    assert {canvas.shape for canvas in canvases} == {(64, 64, 3)}
    learnt = {p.sha256 for p in (*corpus.fires, *corpus.streets)}
    assert not learnt & {p.sha256 for p in (*corpus.val, *corpus.held_out)}
