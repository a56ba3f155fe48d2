"""The network: a backbone that knows ImageNet, a PAN neck and decoupled heads at strides 8, 16 and 32.

Dense 3x3 convolutions and ReLU in neck and heads: few channels, and nothing that 8-bit integers make worse.
"""

# Where torch is not installed it is Any to the type checker, and so is what derives from it.
# mypy: disable-error-code="misc"

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.detectors.training.backbone import CHANNELS, Backbone

STRIDES = (8, 16, 32)
PRIOR = 0.005  # share of anchors that the heads believe in before they learnt anything


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Csp(nn.Module):
    """Half of the channels go through `depth` residual 3x3 pairs, every intermediate result is kept (C2f)."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, *, residual: bool = True) -> None:
        super().__init__()
        half = channels_out // 2
        self.residual = residual
        self.split = Conv(channels_in, 2 * half, 1)
        self.blocks = nn.ModuleList(nn.Sequential(Conv(half, half), Conv(half, half)) for _ in range(depth))
        self.join = Conv((2 + depth) * half, channels_out, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(b, channels_in, h, w) to (b, channels_out, h, w)."""
        parts = list(self.split(features).chunk(2, 1))
        for block in self.blocks:
            found = block(parts[-1])
            parts.append(parts[-1] + found if self.residual else found)
        return self.join(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Three pooled views of the coarsest features: the whole picture is in reach of each anchor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.squeeze = Conv(channels, half, 1)
        self.join = Conv(4 * half, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(b, channels, h, w) to the same shape."""
        views = [self.squeeze(features)]
        for _ in range(3):
            views.append(functional.max_pool2d(views[-1], 5, 1, 2))
        return self.join(torch.cat(views, 1))


class Head(nn.Module):
    """Distances to the four sides in strides, and one logit per class, for each cell of one level."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        hidden = 32
        self.box = nn.Sequential(Conv(channels, hidden), nn.Conv2d(hidden, 4, 1))
        self.score = nn.Sequential(Conv(channels, hidden), nn.Conv2d(hidden, classes, 1))
        nn.init.constant_(self.box[-1].bias, 2.0)
        nn.init.constant_(self.score[-1].bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (b, 4, h * w) and logits (b, classes, h * w)."""
        return self.box(features).flatten(2), self.score(features).flatten(2)


class Network(nn.Module):
    """Pictures (b, 3, h, w) in 0..1, BGR, sides multiples of 32, to raw distances and logits of every anchor."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        fine, middle = CHANNELS
        self.stage32 = nn.Sequential(Conv(middle, 64, 1), Conv(64, 64, 3, 2), Sppf(64))
        neck = 48
        self.lateral = nn.ModuleList(Conv(channels, neck, 1) for channels in (fine, middle, 64))
        self.down16, self.down8 = (Csp(2 * neck, neck, 1, residual=False) for _ in range(2))
        self.stride16, self.stride32 = (Conv(neck, neck, 3, 2) for _ in range(2))
        self.up16, self.up32 = (Csp(2 * neck, neck, 1, residual=False) for _ in range(2))
        self.heads = nn.ModuleList(Head(neck, classes) for _ in STRIDES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (b, n, 4) before softplus and logits (b, n, classes), finest level first."""
        fine, middle = self.backbone(pictures)
        fine, middle, coarse = (
            lateral(x) for lateral, x in zip(self.lateral, (fine, middle, self.stage32(middle)), strict=True)
        )
        middle = self.down16(torch.cat((functional.interpolate(coarse, scale_factor=2.0), middle), 1))
        fine = self.down8(torch.cat((functional.interpolate(middle, scale_factor=2.0), fine), 1))
        middle = self.up16(torch.cat((self.stride16(fine), middle), 1))
        coarse = self.up32(torch.cat((self.stride32(middle), coarse), 1))
        found = [head(level) for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]
        distances = torch.cat([box for box, _ in found], 2).transpose(1, 2)
        logits = torch.cat([score for _, score in found], 2).transpose(1, 2)
        return distances, logits


def anchors(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (n, 2) as x, y in pixels and strides (n, 1) of every anchor, in the order of the network's output."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        centre = (torch.stack((columns, rows), -1).reshape(-1, 2) + 0.5) * stride
        centres.append(centre)
        strides.append(torch.full((len(centre), 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def to_boxes(distances: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes (b, n, 4) as x1 y1 x2 y2 in pixels of the input."""
    sides = functional.softplus(distances) * strides
    return torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), -1)


class Exported(nn.Module):
    """What is shipped: (b, h, w, 3) uint8 BGR in, boxes (b, n, 4) in input pixels and scores (b, n, classes) out."""

    def __init__(self, network: Network, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        centres, strides = anchors(height, width)
        self.register_buffer("centres", centres)
        self.register_buffer("strides", strides)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of each picture."""
        distances, logits = self.network(picture.permute(0, 3, 1, 2).float() * (1 / 255))
        return to_boxes(distances, self.centres, self.strides), logits.sigmoid()
