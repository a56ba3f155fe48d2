"""Losses and validation figures over the epochs, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def draw_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Write the picture of a run so far."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = [key for key in history[-1] if key.startswith(("ap50", "recall", "fitness", "foreign"))]
    for axes, keys in ((left, ["box", "score"]), (right, shown)):
        for key in keys:
            axes.plot([row["epoch"] for row in history], [row[key] for row in history], label=key)
        axes.set_xlabel("epoch")
        axes.legend(fontsize="small")
    left.set_title("training loss")
    right.set_title("validation")
    figure.savefig(path, dpi=90)
    plt.close(figure)
