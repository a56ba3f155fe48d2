"""The one door to ONNX Runtime: sessions that are opened once, whoever uses them, and run without a copy.

Inputs are read where they lie. IO binding with outputs laid out beforehand was measured and gained nothing on a
processor: 3.15 ms against 3.13 ms for the INT8 detector at 320 px.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from models.detectors.batching import MOST, Batcher
from models.detectors.onnx_file import OnnxFile, read_onnx
from models.errors import ConfigError, Problem

ERRORS: Final = (
    onnx_errors.EPFail,
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)
ELEMENTS: Final = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
RESTORE: Final = "restore the file, or train it with `gridwarden train`"


@dataclass(frozen=True, slots=True)
class Options:
    """How a network is run.

    Attributes:
        threads: within one picture. One is best where each camera has a thread of its own.
        provider: `cpu`, or another that this build of ONNX Runtime has, such as `xnnpack` or `cuda`.
        is_exact: INT8 sums without the saturation of x86 cores that have no VNNI; slower, and only there.
        together: most pictures of waiting cameras that run in one batch.
        optimised_to: write the graph there as ONNX Runtime has rewritten it.
    """

    threads: int = 1
    provider: str = "cpu"
    is_exact: bool = False
    together: int = MOST
    optimised_to: Path | None = None


class Tensor(NamedTuple):
    """An input or output of a graph. A side that the graph leaves open is a name, or None."""

    name: str
    element: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.element} ({sides})"


class Session:
    """An open network. May run for several threads at a time.

    Attributes:
        path: of the file.
        file: what stands in it.
        inputs: in the order of the graph.
        outputs: likewise.
        shared_side: name of the number of pictures, where the graph leaves it open.
    """

    def __init__(self, path: Path, content: bytes, file: OnnxFile, options: Options, sides: Mapping[str, int]) -> None:
        """Open it; `open_session` does so once for all.

        Args:
            path: of the file, for messages and for weights beside it.
            content: of the file.
            file: what stands in it.
            options: how to run it.
            sides: values for sides that the graph leaves open by name.
        """
        self.path = path
        self.file = file
        settings = _settings(path, options)
        for name, side in sides.items():
            settings.add_free_dimension_override_by_name(name, side)
        try:
            self._session = onnxruntime.InferenceSession(content, settings, providers=[_provider(path, options)])
        except ERRORS as error:
            what = f"is no network that ONNX Runtime can open: {_first_line(error)}"
            raise ConfigError([Problem(path, "$", what, "export it again as ONNX")]) from error
        self.inputs = tuple(_tensor(value) for value in self._session.get_inputs())
        self.outputs = tuple(_tensor(value) for value in self._session.get_outputs())
        self._names = [tensor.name for tensor in self.outputs]
        self.shared_side = shared_side(self.inputs, self.outputs)
        self._batcher: Batcher | None = None
        if self.shared_side is not None and self._gives_batches():
            name = self.inputs[0].name
            lanes = max(1, len(os.sched_getaffinity(0)) // options.threads)
            self._batcher = Batcher(lambda pictures: self._run({name: pictures}), lanes=lanes, most=options.together)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name. Contiguous arrays are read where they lie; single pictures that wait run together.

        Raises:
            ConfigError: the network cannot take them.
        """
        if self._batcher is not None and all(len(array) == 1 for array in feeds.values()):
            [picture] = feeds.values()
            return dict(zip(self._names, self._batcher.run(picture), strict=True))
        return dict(zip(self._names, self._run(feeds), strict=True))

    def _gives_batches(self) -> bool:
        """Whether two pictures are answered as two: some graphs leave the side open and hold 1 within."""
        first = self.inputs[0]
        sides = [side for side in first.shape[1:] if isinstance(side, int)]
        if len(sides) != len(first.shape) - 1 or first.element not in ELEMENTS.values():
            return False
        pictures = np.zeros((2, *sides), first.element)
        try:
            return all(len(output) == len(pictures) for output in self._run({first.name: pictures}))
        except ConfigError:
            return False

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._names, feeds)
        except (*ERRORS, ValueError) as error:
            what = f"it cannot be run: {_first_line(error)}"
            raise ConfigError([Problem(self.path, "$", what, "correct `input` in the manifest")]) from error
        return outputs


def shared_side(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str | None:
    """The name of the number of pictures, where a graph with one input leaves it open and all outputs have it first."""
    side = inputs[0].shape[0] if len(inputs) == 1 and inputs[0].shape else None
    return side if isinstance(side, str) and all(output.shape[:1] == (side,) for output in outputs) else None


_opened: WeakValueDictionary[object, Session] = WeakValueDictionary()
_opening = threading.Lock()


def open_session(
    path: Path,
    sha256: str | None,
    options: Options = Options(),
    *,
    external: Mapping[str, str] | None = None,
    sides: Mapping[str, int] | None = None,
) -> Session:
    """The session of a network: one for all cameras that run it in the same way, so that its weights lie there once.

    Args:
        path: of the ONNX file.
        sha256: which it must have; None: it is only looked at.
        options: how to run it.
        external: SHA-256 of the files beside it that hold weights; None: they are only looked at.
        sides: values for sides that the graph leaves open by name.

    Raises:
        ConfigError: it cannot be read, is not what was described, is refused, or cannot be opened.
    """
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        what = f"SHA-256 is {found}, the manifest says {sha256}"
        raise ConfigError([Problem(path, "sha256", what, RESTORE)])
    key = (path.absolute(), found, options, tuple(sorted((sides or {}).items())))
    with _opening:
        session = _opened.get(key)
        file = read_onnx(path, content) if session is None else session.file
        _check_external(path, file, external)
        if session is None:
            session = _opened[key] = Session(path, content, file, options, sides or {})
    return session


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"the network cannot be read: {error.strerror or error}"
        raise ConfigError([Problem(path, "$", what, RESTORE)]) from error


def _check_external(path: Path, file: OnnxFile, hashes: Mapping[str, str] | None) -> None:
    problems = []
    for name in sorted(file.external):
        beside = path.parent / name
        found = hashlib.sha256(_read(beside)).hexdigest()
        if hashes is not None and name not in hashes:
            what = f"{name} holds weights and has no SHA-256"
            problems.append(Problem(path, "external", what, f'name it in the manifest: "{name}" = "{found}"'))
        elif hashes is not None and hashes[name] != found:
            what = f"SHA-256 of {name} is {found}, the manifest says {hashes[name]}"
            problems.append(Problem(beside, "external", what, RESTORE))
    if problems:
        raise ConfigError(problems)


def _settings(path: Path, options: Options) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    # A spinning thread takes the core that the next process on a small machine waits for.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    if options.is_exact:
        settings.add_session_config_entry("session.x64quantprecision", "1")
    if options.optimised_to is not None:
        settings.optimized_model_filepath = str(options.optimised_to)
    return settings


def _provider(path: Path, options: Options) -> str:
    by_name: dict[str, str] = {
        name.removesuffix("ExecutionProvider").lower(): name for name in onnxruntime.get_available_providers()
    }
    if options.provider.lower() not in by_name:
        what = f"this build of ONNX Runtime cannot run on {options.provider!r}"
        raise ConfigError([Problem(path, "provider", what, f"use one of: {', '.join(sorted(by_name))}")])
    return by_name[options.provider.lower()]


def _tensor(value: Any) -> Tensor:  # noqa: ANN401  # onnxruntime is untyped
    return Tensor(value.name, ELEMENTS.get(value.type, value.type), tuple(value.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
