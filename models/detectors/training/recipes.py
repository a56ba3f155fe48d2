"""What each network learns, and from which pictures: read by training, by scoring and by export alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, get_args

from models.errors import ConfigError, Problem

Part = Literal["masking", "mosaic", "composites", "hard_negatives"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)  # of the method, which an ablation can leave out

FIRE_SMOKE: Final = ("fire", "smoke")
STREET: Final = ("garbage", "garbage_bin", "overflow", "motor_vehicle", "two_wheeler", "three_wheeler")
STREET_FILE: Final = (*STREET, "pothole")  # as the label files number them; nothing here learns the last one

FIRE_SHARES: Final = MappingProxyType({"contfire": 0.20, "hiep": 0.26, "hiep_unknown": 0.14, "smallfire": 0.01})
STREET_SHARES: Final = MappingProxyType({"garbage111": 0.5, "nepal": 0.5})


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network.

    Attributes:
        name: of the network, and of its files.
        labels: in the order of its scores.
        shares: how often pictures of a source are drawn; those that are not named share what `others` says. The largest
            source of fires is mostly lighters, candles and matches close up, so it is drawn less often than its size.
        others: share of the draws for all remaining sources together.
        together: labels that one box can rightly carry at once. A box of any label is known to be none of the others,
            whoever drew it.
        held_out_percent: of the training pictures without fire, kept back to choose thresholds on.
        size_px: of the square input.
        overlap: IoU above which the lower of two boxes of a label goes, in what is published. By validation: of .3
            to .7, .5 draws fire and smoke as well as any (AP50) and splits them least (hit-AP); objects are best at .6.
    """

    name: str
    labels: tuple[str, ...]
    shares: MappingProxyType[str, float]
    others: float = 0.0
    together: tuple[tuple[str, str], ...] = field(default=(("fire", "smoke"),))
    held_out_percent: int = 0
    size_px: int = 320
    overlap: float = 0.6

    @property
    def sees_fire(self) -> bool:
        """Whether the pictures of fires are needed."""
        return "fire" in self.labels

    @property
    def sees_streets(self) -> bool:
        """Whether the boxes of the street pictures are needed."""
        return "garbage" in self.labels


def _mixed(fires: float) -> MappingProxyType[str, float]:
    """Fires and streets, `fires` being the share of the former."""
    whole = sum(FIRE_SHARES.values())
    rest = {name: share * (1 - fires) for name, share in STREET_SHARES.items()}
    return MappingProxyType({name: share / whole * fires for name, share in FIRE_SHARES.items()} | rest)


RECIPES: Final = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("fire_smoke", FIRE_SMOKE, _mixed(0.6), others=0.02, held_out_percent=33, overlap=0.5),
            Recipe("street_order", STREET, STREET_SHARES),
        )
    }
)


def recipe_of(name: str) -> Recipe:
    """The recipe of a network.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in RECIPES:
        what, remedy = f"nothing here trains {name}", f"use one of {', '.join(RECIPES)}"
        raise ConfigError([Problem("gridwarden train", "name", what, remedy)])
    return RECIPES[name]
