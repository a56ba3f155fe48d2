"""From a network's raw output to boxes, in NumPy alone."""

from __future__ import annotations

from models.detectors.decode.candidates import MOST_BOXES, Candidates, Floats, suppress
from models.detectors.decode.families import DECODERS, Form, FormError, Outputs, decode, decode_anchors, shapes

__all__ = [
    "DECODERS",
    "MOST_BOXES",
    "Candidates",
    "Floats",
    "Form",
    "FormError",
    "Outputs",
    "decode",
    "decode_anchors",
    "shapes",
    "suppress",
]
