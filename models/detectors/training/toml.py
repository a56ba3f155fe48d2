"""Writes a manifest as TOML, one line a figure: the standard library only reads it."""

from __future__ import annotations

import json
import re

import msgspec

from models.detectors.manifest import Manifest


def to_toml(manifest: Manifest) -> str:
    """The manifest as a person would write it: plain values, then lists of rows, then tables."""
    values = {key: value for key, value in msgspec.to_builtins(manifest).items() if value not in (None, (), [], {})}
    plain, rows, tables = [], [], []
    for key, value in values.items():
        if isinstance(value, dict):
            tables += ["", f"[{key}]", *(f"{quoted(name)} = {inline(inner)}" for name, inner in value.items())]
        elif isinstance(value, list | tuple) and isinstance(value[0], dict):
            rows += ["", f"{key} = [", *(f"  {inline(row)}," for row in value), "]"]
        else:
            plain.append(f"{key} = {inline(value)}")
    # A list that came after a table would belong to it.
    return "\n".join([*plain, *rows, *tables]) + "\n"


def quoted(name: str) -> str:
    """A key, in quotes where it is not plain: a dot would make a table of it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def inline(value: object) -> str:
    """A value within one line. None has no form in TOML: a table leaves it out."""
    if isinstance(value, dict):
        parts = (f"{quoted(key)} = {inline(inner)}" for key, inner in value.items() if inner is not None)
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)
