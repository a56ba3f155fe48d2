"""Scores of the detectors, through the runtime of a camera. Needs pycocotools; nothing at run time imports it."""
