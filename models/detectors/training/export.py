"""A checkpoint becomes an ONNX file: the bytes of a picture in, boxes and scores before suppression out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.detectors.onnx_file import SIZE_NOTE
from models.detectors.training.network import STRIDES, Exported, Network
from models.detectors.training.train import trained

OPSET: Final = 18


def network_of(checkpoints: Sequence[Path], labels: tuple[str, ...]) -> Network:
    """The network of a checkpoint; of several the mean of their weights.

    Of a run and of one that went on from it the mean errs less on what neither has seen (Wortsman et al. 2022,
    "Robust fine-tuning of zero-shot models").

    Raises:
        SourceError: one is no checkpoint of ours, or its scores are of other labels.
    """
    networks = [trained(checkpoint, labels) for checkpoint in checkpoints]
    first, *others = networks
    for mean, *values in zip(*(network.state_dict().values() for network in (first, *others)), strict=True):
        if mean.is_floating_point():
            mean.copy_(torch.stack([mean, *values]).mean(0))
    return first


def export(network: Network, size_px: int) -> onnx.ModelProto:
    """A network as ONNX, for any number of pictures, with sides that are multiples of 32, `size_px` at most."""
    wrapped = Exported(network, size_px, size_px).eval()
    picture = torch.zeros((1, size_px, size_px, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        wrapped,
        (picture,),
        input_names=["picture"],
        output_names=["boxes", "scores"],
        opset_version=OPSET,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto
    strip(model)
    open_sides(model, size_px)
    helper.set_model_props(model, {SIZE_NOTE: str([size_px, size_px])})
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Drop names of source files and modules: they say where it was exported, not what it is."""
    model.doc_string = ""
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.doc_string = ""
        del part.metadata_props[:]


def open_sides(model: onnx.ModelProto, size_px: int) -> None:
    """Let a network that was exported with one square picture take any number of them, and lower or narrower ones.

    Asked for by PyTorch's exporter, open sides are computed anew in every reshape, and positions from them in some
    sixty nodes. A shape can hold what is open as well, and positions are cut out of those of the largest picture.

    Args:
        model: changed in place; its heads end in reshapes, boxes and scores of a level in turn.
        size_px: sides of the picture that it was exported with.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output):
        names = ("batch", "height", "width") if value.name == graph.input[0].name else ("batch", "anchors")
        for side, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            side.dim_param = name
    constants = {one.name: one for one in graph.initializer}
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    for node in reshapes:
        _, channels, _ = numpy_helper.to_array(constants[node.input[1]])
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(np.array([0, channels, -1]), node.input[1]))
        del node.attribute[:]  # `allowzero`: 0 is the side that the input has
    for name in ("centres", "strides"):
        graph.initializer.remove(constants[name])
    first = min(index for index, node in enumerate(graph.node) if {"centres", "strides"} & set(node.input))
    made, values = _positions([node.input[0] for node in reshapes[::2]], size_px)
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*nodes[:first], *made, *nodes[first:]])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())


def _positions(levels: Sequence[str], size_px: int) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]:
    """What makes `centres` and `strides` of every anchor from the features of each level, and its constants."""
    values: dict[str, NDArray[Any]] = {
        "corner": np.zeros(2, np.int64),
        "rows": np.array([-1, 3]),
        "parts": np.array([2, 1]),
    }
    made = []
    for level, stride in zip(levels, STRIDES, strict=True):
        grid, sides, cut = f"grid{stride}", f"sides{stride}", f"cut{stride}"
        centres = (np.indices([size_px // stride] * 2, np.float32)[::-1] + 0.5) * stride
        values[grid] = np.concatenate((centres, np.full_like(centres[:1], stride))).transpose(1, 2, 0)
        made += [
            helper.make_node("Shape", [level], [sides], name=sides, start=2),
            helper.make_node("Slice", [grid, "corner", sides], [cut], name=cut),
            helper.make_node("Reshape", [cut, "rows"], [f"anchors{stride}"], name=f"anchors{stride}"),
        ]
    every = [node.output[0] for node in made if node.op_type == "Reshape"]
    made += [
        helper.make_node("Concat", every, ["every_anchor"], name="every_anchor", axis=0),
        helper.make_node("Split", ["every_anchor", "parts"], ["centres", "strides"], name="centres", axis=1),
    ]
    return made, values
