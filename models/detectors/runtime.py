"""A picture in, boxes out: canvas, session and decoder of one detector."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.detectors.canvas import Canvas, Covered, check_picture
from models.detectors.decode import Candidates, Form, FormError, Outputs, decode
from models.detectors.decode.guess import guess
from models.detectors.manifest import Input, Manifest, Precision, path_of, read_manifest
from models.detectors.session import Options, Session, open_session
from models.errors import ConfigError, Problem

log = logging.getLogger(__name__)

SIZE_INPUT: Final = "int64"  # of the second input that the authors' RT-DETR has
USUAL: Final = (1080, 1920)  # height and width of what most cameras give: opened first


@dataclass(frozen=True, slots=True)
class Box:
    """A thing seen: corners as shares of the picture's width and height, 0..1, x1 <= x2 and y1 <= y2."""

    label: str
    confidence: float
    x1: float
    y1: float
    x2: float
    y2: float


class _View(NamedTuple):
    """The network for pictures of one shape: what they are drawn into, and the session that reads it."""

    wanted: Input
    canvas: Canvas
    session: Session
    feeds: dict[str, NDArray[Any]]


class Detector:
    """One network and the memory of one camera. Not for two threads at once: the input is drawn in place.

    Detectors of the same network and options share its sessions, and so its weights. Where the network takes pictures
    in their own shape there is one for each shape: opened, once, when the first such picture comes.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        *,
        threads: int = 1,
        provider: str = "cpu",
        floor: float = 0.05,
        precision: Precision | None = None,
        is_exact: bool = False,
    ) -> None:
        """Open the network and run it once.

        Args:
            name_or_path: `fire_smoke`, or the path of a manifest.
            threads: of ONNX Runtime within one picture.
            provider: of ONNX Runtime, such as `cpu`.
            floor: lowest confidence that `detect` reports.
            precision: which of the shipped networks; None: the manifest's own choice.
            is_exact: INT8 sums without saturation (`session.Options`).

        Raises:
            ConfigError: no such model, its file is not the one that the manifest describes, or it cannot be used.
        """
        self.manifest: Manifest = read_manifest(name_or_path)
        self.floor = floor
        self.precision: Precision = precision or self.manifest.precision
        self._network = self.manifest.network(self.precision)
        self._path = path_of(name_or_path).with_name(self._network.file)
        self._options = Options(threads=threads, provider=provider, is_exact=is_exact)
        self._views: dict[tuple[int, int], _View] = {}
        self._view = self._view_of(*USUAL)
        self.family: str = self.manifest.family or ""
        self._check(self.infer())

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can see."""
        return self.manifest.labels

    def detect(self, image_bgr: NDArray[np.uint8]) -> list[Box]:
        """What is seen on a picture, best first.

        Args:
            image_bgr: (h, w, 3) uint8, any size from 1x1 on.

        Raises:
            SourceError: it is not such a picture.
            ConfigError: the network gave what the manifest does not describe.
        """
        covered = self.draw(image_bgr)
        return self.boxes(self.decode(self.infer()), covered)

    def draw(self, image_bgr: NDArray[np.uint8]) -> Covered:
        """Put a picture into the network's input.

        Raises:
            SourceError: it is not a picture that can be drawn.
        """
        check_picture(image_bgr)
        self._view = self._view_of(*image_bgr.shape[:2])
        return self._view.canvas.draw(image_bgr)

    def infer(self) -> Outputs:
        """Run the network on what was drawn last."""
        return self._view.session.run(self._view.feeds)

    def decode(self, outputs: Outputs) -> Candidates:
        """What is left of its outputs, in pixels of its input."""
        wanted = self._view.wanted
        form = Form(
            labels=len(self.labels),
            height_px=wanted.height_px,
            width_px=wanted.width_px,
            floor=self.floor,
            overlap=self.manifest.overlap,
            activation=self.manifest.activation,
        )
        try:
            return decode(self.family, outputs, form)
        except FormError as error:
            remedy = "correct `labels` or `family` in the manifest"
            raise self._unusable(f"gives {error} in the family {self.family}", remedy) from error

    def boxes(self, found: Candidates, covered: Covered) -> list[Box]:
        """What was found, as shares of the picture that was drawn, best first."""
        corners = (found.boxes_px / np.array([*covered] * 2, np.float32)).clip(0.0, 1.0)
        order = np.argsort(-found.scores, kind="stable")
        rows = zip(found.classes[order].tolist(), found.scores[order].tolist(), corners[order].tolist(), strict=True)
        return [Box(self.labels[label], score, *corner) for label, score, corner in rows]

    def _view_of(self, height: int, width: int) -> _View:
        """What a picture of so many pixels is shown to."""
        wanted = self.manifest.input.cut_to(height, width)
        sides = wanted.height_px, wanted.width_px
        if sides not in self._views:
            canvas = Canvas(wanted)
            session = self._open(canvas.tensor.shape)
            self._views[sides] = _View(wanted, canvas, session, self._lay_out(session, wanted, canvas.tensor))
        return self._views[sides]

    def _open(self, shape: tuple[int, ...]) -> Session:
        external = self.manifest.external
        session = open_session(self._path, self._network.sha256, self._options, external=external)
        # What the graph leaves open is fixed here, so that memory and constants are laid out once; the number of
        # pictures is not, where those of several cameras can run together.
        sides = zip(session.inputs[0].shape, shape, strict=False)
        left_open = {side: value for side, value in sides if isinstance(side, str) and side != session.shared_side}
        if not left_open:
            return session
        return open_session(self._path, self._network.sha256, self._options, external=external, sides=left_open)

    def _lay_out(self, session: Session, wanted: Input, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What the network is run with: the canvas, and the size for those that ask for it."""
        first, *others = session.inputs
        fits = len(first.shape) == 4 and all(
            not isinstance(side, int) or side == own for side, own in zip(first.shape, tensor.shape, strict=False)
        )
        if first.name != wanted.name or first.element != wanted.dtype or not fits:
            what = f"takes {first}, the manifest says {wanted.name} {wanted.dtype} {tensor.shape}"
            raise self._unusable(what, "correct `input` in the manifest; `gridwarden model inspect` writes one")
        feeds: dict[str, NDArray[Any]] = {first.name: tensor}
        for other in others:
            if other.element != SIZE_INPUT or other.shape[-1:] != (2,):
                raise self._unusable(f"wants a second input, {other}", "export it so that it takes a picture alone")
            feeds[other.name] = np.array([[wanted.width_px, wanted.height_px]], np.int64)
        return feeds

    def _check(self, outputs: Outputs) -> None:
        """Look at what it says of plain grey: a network that cannot answer must not look like a quiet street."""
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                what = f"gives numbers that are not finite in {name}"
                raise self._unusable(what, "its weights are damaged: restore the file")
        if not self.family:
            self.family = self._guess(outputs)
        self.decode(outputs)

    def _guess(self, outputs: Outputs) -> str:
        wanted = self._view.wanted
        try:
            found = guess(
                outputs,
                height_px=wanted.height_px,
                width_px=wanted.width_px,
                labels=len(self.labels),
                inputs=len(self._view.session.inputs),
            )
        except FormError as error:
            raise self._unusable(f"gives {error}", "export it in one of the families of the manifest") from error
        log.warning("%s: the manifest names no family; guessed %s: %s", self._path, found.family, found.because)
        return found.family

    def _unusable(self, what: str, remedy: str) -> ConfigError:
        return ConfigError([Problem(self._path, "$", what, remedy)])
