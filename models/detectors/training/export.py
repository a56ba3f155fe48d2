"""A checkpoint becomes an ONNX file: the bytes of a picture in, boxes and scores before suppression out."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import onnx
import torch

from models.detectors.training.data import LABELS
from models.detectors.training.network import Exported, Network
from models.detectors.training.train import SIZE_PX

OPSET = 17


def export(checkpoint: Path, target: Path) -> str:
    """Write `target` from the weights in `checkpoint`; returns its SHA-256."""
    network = Network(len(LABELS))
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    wrapped = Exported(network, SIZE_PX, SIZE_PX).eval()
    picture = torch.zeros((1, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    target.parent.mkdir(parents=True, exist_ok=True)
    program = torch.onnx.export(
        wrapped,
        (picture,),
        input_names=["picture"],
        output_names=["boxes", "scores"],
        opset_version=OPSET + 1,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def strip(model: onnx.ModelProto) -> None:
    """Drop names of source files and modules: they say where it was exported, not what it is."""
    model.doc_string = ""
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.doc_string = ""
        del part.metadata_props[:]
