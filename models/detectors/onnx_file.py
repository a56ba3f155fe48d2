"""What stands in an ONNX file, read before ONNX Runtime opens it, and what of it is refused.

A walk over the protobuf of our own, on purpose: the `onnx` package weighs more than ONNX Runtime's wheel on a Pi, and
ONNX Runtime would open external files and name what it does not know by numbers only. Weights are skipped, not copied.
Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import numpy as np

from models.errors import ConfigError, Problem

KNOWN_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Operators that every build of ONNX Runtime carries."""
SIZE_NOTE: Final = "imgsz"
"""Under which exporters note, as a list, the height and width that sides left open are meant for."""
DEPTH: Final = 32  # of graphs within graphs
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
EXTERNAL: Final = 1
FLOATS: Final = {1: "<f4", 10: "<f2", 11: "<f8"}
EXPORT: Final = "export it as ONNX where it was trained (torch.onnx.export, `yolo export format=onnx`)"


@dataclass(slots=True)
class OnnxFile:
    """What was found.

    Attributes:
        producer: what wrote the file.
        opset: version of the standard operators.
        metadata: what the exporter noted, such as `names` by Ultralytics.
        operators: (domain, name) of every node, subgraphs and functions included.
        functions: (domain, name) of operators that the file defines itself.
        makers: by output of the main graph's nodes, the operator that makes it.
        external: files that hold weights, as the file names them.
        not_numbers: weights that hold a NaN.
    """

    producer: str = ""
    opset: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    operators: list[tuple[str, str]] = field(default_factory=list)
    functions: set[tuple[str, str]] = field(default_factory=set)
    makers: dict[str, str] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    not_numbers: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> list[str]:
        """Operators that neither the file nor ONNX Runtime brings, as domain.name."""
        strange = {pair for pair in self.operators if pair[0] not in KNOWN_DOMAINS} - self.functions
        return sorted(f"{domain}.{name}" for domain, name in strange)


def read_onnx(path: Path, content: bytes) -> OnnxFile:
    """What stands in the ONNX file `path` with that content.

    Raises:
        ConfigError: it is a pickle, it is no ONNX file, or it needs operators, files or numbers that are refused.
    """
    refuse_pickle(path, content)
    found = OnnxFile()
    try:
        _walk_model(memoryview(content), found)
    except (ValueError, IndexError) as error:
        what = f"is no ONNX file, or a part of one: {error}"
        raise ConfigError([Problem(path, "$", what, "copy or export it again")]) from error
    problems = list(_problems(path, found))
    if problems:
        raise ConfigError(problems)
    return found


def refuse_pickle(path: Path, content: bytes) -> None:
    """Refuse what opens by running code that it brings along.

    Raises:
        ConfigError: `path` is a pickle, or an archive as PyTorch wraps one.
    """
    is_pickle = content[:1] == b"\x80" and content[1:2] in {b"\2", b"\3", b"\4", b"\5"}
    if is_pickle or content[:4] == b"PK\x03\x04" or path.suffix in {".pt", ".pth", ".pkl", ".pickle", ".ckpt"}:
        what = "is a pickle: to open it is to run whatever code it holds"
        raise ConfigError([Problem(path, "$", what, EXPORT)])


def _problems(path: Path, found: OnnxFile) -> Iterator[Problem]:
    if not found.operators:
        yield Problem(path, "$", "is no ONNX file: it has no graph", EXPORT)
    for name in found.foreign:
        what = f"needs the custom operator {name}, which is code that no file brings along"
        yield Problem(path, f"graph.{name}", what, "export it without, with standard operators only")
    for location in sorted(found.external):
        if not is_inside(path.parent, location):
            what = f"keeps weights outside its folder, in {location}"
            yield Problem(path, "external_data", what, "export it again with its weights inside, or beside it")
    for name in found.not_numbers:
        what = "holds weights that are not numbers"
        yield Problem(path, f"graph.{name}", what, "its training failed: train it again")


def is_inside(folder: Path, location: str) -> bool:
    """Whether a file, as an ONNX file names it, lies in `folder` or below, links followed."""
    plain = PurePosixPath(location)
    is_windows = "\\" in location or bool(PureWindowsPath(location).drive)
    if not location or is_windows or plain.is_absolute() or ".." in plain.parts:
        return False
    return (folder / plain).resolve().is_relative_to(folder.resolve())


def _fields(buffer: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, value and bytes of each field: the value of a varint, 0 for others; the bytes of a block, or none."""
    position, nothing = 0, buffer[:0]
    while position < len(buffer):
        key, position = _varint(buffer, position)
        if key >> 32:  # others drop what is above, and would read a field here that was hidden from us
            raise ValueError(f"byte {position} is no protobuf")
        kind, value, block = key & 7, 0, nothing
        if kind == VARINT:
            value, position = _varint(buffer, position)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = {FIXED32: 4, FIXED64: 8}.get(kind, 0)
            if kind == BYTES:
                size, position = _varint(buffer, position)
            block, position = buffer[position : position + size], position + size
            if position > len(buffer):
                raise ValueError(f"it ends {position - len(buffer):,} bytes too early")
        else:
            raise ValueError(f"byte {position} is no protobuf")
        yield key >> 3, value, block


def _varint(buffer: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = buffer[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"byte {position} is no protobuf")


def _text(block: memoryview) -> str:
    return str(block, "utf-8")


def _pair(block: memoryview) -> tuple[str, str]:
    values = {number: _text(inner) for number, _, inner in _fields(block)}
    return values.get(1, ""), values.get(2, "")


def _walk_model(buffer: memoryview, found: OnnxFile) -> None:
    for number, _, block in _fields(buffer):
        if number == 2:
            found.producer = f"{_text(block)} {found.producer}".strip()
        elif number == 3:
            found.producer = f"{found.producer} {_text(block)}".strip()
        elif number == 7:
            _walk_graph(block, found, 0)
        elif number == 8:
            values = {inner: (value, name) for inner, value, name in _fields(block)}
            if _text(values.get(1, (0, block[:0]))[1]) in ("", "ai.onnx"):
                found.opset = values.get(2, (0, block))[0]
        elif number == 14:
            found.metadata.update([_pair(block)])
        elif number == 25:
            _walk_function(block, found)


def _walk_function(buffer: memoryview, found: OnnxFile) -> None:
    name = domain = ""
    for number, _, block in _fields(buffer):
        if number == 1:
            name = _text(block)
        elif number == 10:
            domain = _text(block)
        elif number == 7:
            _walk_node(block, found, 1)
    found.functions.add((domain, name))


def _walk_graph(buffer: memoryview, found: OnnxFile, depth: int) -> None:
    if depth > DEPTH:
        raise ValueError(f"graphs lie more than {DEPTH} deep in each other")
    for number, _, block in _fields(buffer):
        if number == 1:
            _walk_node(block, found, depth)
        elif number == 5:
            _walk_tensor(block, found)
        elif number == 15:
            _walk_sparse(block, found)


def _walk_node(buffer: memoryview, found: OnnxFile, depth: int) -> None:
    kind = domain = ""
    outputs = []
    for number, _, block in _fields(buffer):
        if number == 2:
            outputs.append(_text(block))
        elif number == 4:
            kind = _text(block)
        elif number == 5:
            _walk_attribute(block, found, depth)
        elif number == 7:
            domain = _text(block)
    found.operators.append((domain, kind))
    if depth == 0:
        found.makers.update(dict.fromkeys(outputs, kind))


def _walk_attribute(buffer: memoryview, found: OnnxFile, depth: int) -> None:
    for number, _, block in _fields(buffer):
        if number in (5, 10):
            _walk_tensor(block, found)
        elif number in (6, 11):
            _walk_graph(block, found, depth + 1)
        elif number in (22, 23):
            _walk_sparse(block, found)


def _walk_sparse(buffer: memoryview, found: OnnxFile) -> None:
    for number, _, block in _fields(buffer):
        if number in (1, 2):
            _walk_tensor(block, found)


def _walk_tensor(buffer: memoryview, found: OnnxFile) -> None:
    element = location = 0
    name, file, numbers = "", "", []
    for number, value, block in _fields(buffer):
        if number == 2:
            element = value
        elif number == 8:
            name = _text(block)
        elif number in (4, 9, 10):
            numbers.append((number, block))
        elif number == 13:
            key, text = _pair(block)
            file = text if key == "location" else file
        elif number == 14:
            location = value
    if location == EXTERNAL or file:
        found.external.add(file)
    if element in FLOATS and _holds_nan(numbers, FLOATS[element]):
        found.not_numbers.append(name)


def _holds_nan(numbers: Iterable[tuple[int, memoryview]], raw: str) -> bool:
    """Whether floats do, from fields 4 (float), 10 (double), 9 (`raw`, as the type says)."""
    types = {4: "<f4", 10: "<f8", 9: raw}
    arrays = [np.frombuffer(block, types[number]) for number, block in numbers if len(block)]
    return any(bool(np.isnan(array).any()) for array in arrays)
