"""A checkpoint becomes an ONNX file: the bytes of a picture in, boxes and scores before suppression out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from models.detectors.training.network import Exported, Network
from models.detectors.training.train import trained

OPSET = 18


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
    """A network as ONNX."""
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
    open_batch(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Drop names of source files and modules: they say where it was exported, not what it is."""
    model.doc_string = ""
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.doc_string = ""
        del part.metadata_props[:]


def open_batch(model: onnx.ModelProto) -> None:
    """Let a network that was exported with one picture take any number of them, in place.

    Asked for by PyTorch's exporter, an open side is computed anew in every reshape; a shape can hold it as well.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for constant in graph.initializer:
        if constant.name in shapes:
            sides = numpy_helper.to_array(constant).copy()
            sides[0] = -1
            constant.CopyFrom(numpy_helper.from_array(sides, constant.name))
    del graph.value_info[:]
