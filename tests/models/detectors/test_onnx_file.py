"""What an ONNX file may not hold, and how that is said; files are written by hand, and by `onnx` itself."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.detectors import load
from models.detectors.manifest import ZOO
from models.detectors.onnx_file import DEPTH, OnnxFile, is_inside, read_onnx
from models.errors import ConfigError
from tests.models.detectors.tiny_onnx import OURS, chunk, fixed, node, number, tensor, varint, write_detector

OUTPUTS = {"boxes": np.zeros((1, 3, 4), np.float32), "scores": np.zeros((1, 3, 2), np.float32)}


def read(content: bytes, path: Path = Path("folder/net.onnx")) -> OnnxFile:
    return read_onnx(path, content)


def test_what_stands_in_a_file_is_read() -> None:
    found = read(fixed(OUTPUTS, OURS, metadata={"names": "{0: 'fire'}", "stride": "32"}))
    assert (found.producer, found.opset) == ("by hand", 17)
    assert found.metadata == {"names": "{0: 'fire'}", "stride": "32"}
    assert found.operators == [("", "Identity"), ("", "Identity"), ("", "Shape")]
    assert found.makers["scores"] == "Identity"
    assert found.external == set()


def test_the_shipped_network_is_read_as_onnx_itself_reads_it() -> None:
    import onnx

    content = (ZOO / "fire_smoke.onnx").read_bytes()
    model = onnx.load_from_string(content)
    found = read(content)
    assert found.operators == [(one.domain, one.op_type) for one in model.graph.node]
    assert found.opset == next(one.version for one in model.opset_import if not one.domain)
    assert found.producer == f"{model.producer_name} {model.producer_version}"


@pytest.mark.parametrize("domain", ["my.company", "ai.onnx.contrib", "ai.onnx.training"])
def test_a_custom_operator_is_refused_by_name(domain: str) -> None:
    content = fixed(OUTPUTS, OURS, nodes=[node("Magic", "picture", "x", domain=domain)])
    with pytest.raises(ConfigError, match=rf"graph\.{domain}\.Magic: needs the custom operator .*; export it"):
        read(content)


def test_a_custom_operator_is_found_in_a_branch_and_in_a_function() -> None:
    magic = node("Magic", "a", "b", domain="deep")
    branch = chunk(5, chunk(1, "then_branch") + chunk(6, chunk(1, magic)))
    with pytest.raises(ConfigError, match=r"deep\.Magic"):
        read(fixed(OUTPUTS, OURS, nodes=[node("If", "c", "d", attribute=branch)]))
    function = chunk(25, chunk(1, "Ours") + chunk(10, "local") + chunk(7, magic))
    with pytest.raises(ConfigError, match=r"deep\.Magic"):
        read(fixed(OUTPUTS, OURS, nodes=[node("Ours", "a", "b", domain="local")], tail=function))


def test_an_operator_that_the_file_defines_itself_is_no_custom_operator() -> None:
    function = chunk(25, chunk(1, "Ours") + chunk(10, "local") + chunk(7, node("Relu", "a", "b")))
    found = read(fixed(OUTPUTS, OURS, nodes=[node("Ours", "picture", "x", domain="local")], tail=function))
    assert found.functions == {("local", "Ours")}
    assert found.foreign == []


def test_operators_that_every_onnx_runtime_carries_are_none_either() -> None:
    domains = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
    content = fixed(OUTPUTS, OURS, nodes=[node("Any", "a", "b", domain=domain) for domain in domains])
    assert read(content).foreign == []


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "C:weights.bin", "..\\weights.bin", ""]
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    if not location:
        assert not is_inside(tmp_path, location)
        return
    with pytest.raises(ConfigError, match=r"external_data: keeps weights outside its folder, in .*; export it again"):
        load(write_detector(tmp_path, fixed(OUTPUTS, OURS, external=location)))


def test_a_link_out_of_the_folder_is_outside(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"")
    (folder / "linked.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "inner").mkdir()
    assert not is_inside(folder, "linked.bin")
    assert is_inside(folder, "inner/weights.bin")
    with pytest.raises(ConfigError, match=r"outside its folder, in linked\.bin"):
        load(write_detector(folder, fixed(OUTPUTS, OURS, external="linked.bin")))


def test_weights_beside_the_file_are_used_when_their_hash_is_named(tmp_path: Path) -> None:
    # Both outputs begin where the file does: the first two numbers are the scores as well.
    boxes = np.array([[[0.9, 0, 160, 320]]], np.float32)
    content = fixed({"boxes": boxes, "scores": boxes[..., :2]}, OURS, external="weights.bin")
    weights = boxes.tobytes()
    (tmp_path / "weights.bin").write_bytes(weights)
    found = hashlib.sha256(weights).hexdigest()
    with pytest.raises(ConfigError, match=rf'has no SHA-256; name it in the manifest: "weights\.bin" = "{found}"'):
        load(write_detector(tmp_path, content))
    with pytest.raises(ConfigError, match=rf"SHA-256 of weights\.bin is {found}, the manifest says 0000"):
        load(write_detector(tmp_path, content, external={"weights.bin": "0" * 64}))
    detector = load(write_detector(tmp_path, content, external={"weights.bin": found}))
    [box] = detector.detect(np.zeros((320, 320, 3), np.uint8))
    assert (box.label, box.x2, box.y2) == ("fire", 0.5, 1.0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ConfigError, match=r"weights\.bin: \$: the network cannot be read"):
        load(write_detector(tmp_path, content, external={"weights.bin": found}))


class Evil:
    """Runs code when it is opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("was_here"),))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.onnx", "net.pt"):
        with pytest.raises(ConfigError, match=r"is a pickle: to open it is to run whatever code .*; export it as ONNX"):
            read(pickle.dumps(Evil(), protocol), tmp_path / name)
    assert not (tmp_path / "was_here").exists()


def test_an_archive_as_pytorch_writes_it_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Evil()))
    content = (tmp_path / "net.pt").read_bytes()
    for name in ("net.onnx", "net.pth"):
        with pytest.raises(ConfigError, match="is a pickle"):
            read(content, tmp_path / name)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pkl", "net.ckpt"])
def test_a_name_of_a_pickle_is_refused_whatever_it_holds(name: str) -> None:
    with pytest.raises(ConfigError, match="is a pickle"):
        read(fixed(OUTPUTS, OURS), Path(name))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 20,
        b"GIF89a",
        varint(7 << 3 | 2) + varint(2**60),
        chunk(7, b"\x0a\xff"),
        chunk(7, chunk(1, chunk(4, b"\xff\xfe"))),
        number(1, 8),
    ],
)
def test_what_is_no_onnx_file_is_named_so(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"net\.onnx: \$: is no ONNX file"):
        read(content)


def test_every_cut_of_a_file_is_refused_or_read_but_never_crashes() -> None:
    content = fixed(OUTPUTS, OURS)
    for length in range(len(content)):
        with contextlib.suppress(ConfigError):  # some cuts leave a shorter file that is whole
            read(content[:length])


def test_every_changed_byte_is_refused_or_read_but_never_crashes() -> None:
    content = bytearray(fixed(OUTPUTS, OURS, metadata={"names": "['fire']"}))
    rng = np.random.default_rng(4)
    for _ in range(2000):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            changed[place] = rng.integers(0, 256)
        with contextlib.suppress(ConfigError):
            read(bytes(changed))


def test_a_field_that_is_hidden_behind_high_bits_is_refused() -> None:
    """ONNX Runtime drops all but 32 bits of a field's key: weights in a file could hide from their hash."""
    hidden = varint(14 << 3 | 1 << 32) + number(0, 1)[1:]
    block = number(2, 1) + chunk(8, "w") + hidden
    with pytest.raises(ConfigError, match=r"is no ONNX file, or a part of one: byte \d+ is no protobuf"):
        read(chunk(7, chunk(1, node("Relu", "a", "b")) + chunk(5, block)))


def test_graphs_that_lie_too_deep_in_each_other_are_refused() -> None:
    graph = chunk(1, node("Relu", "a", "b"))
    for _ in range(DEPTH + 2):
        graph = chunk(1, node("If", "a", "b", attribute=chunk(5, chunk(6, graph))))
    with pytest.raises(ConfigError, match=f"graphs lie more than {DEPTH} deep"):
        read(chunk(7, graph))


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "typed", "attribute", "sparse"])
def test_weights_that_are_not_numbers_are_found_wherever_they_stand(kind: str) -> None:
    values = np.array([1, np.nan, 2], np.float32)
    raw = {"float32": (1, "<f4"), "float16": (10, "<f2"), "float64": (11, "<f8")}
    if kind in raw:
        element, layout = raw[kind]
        block = number(2, element) + chunk(8, "w") + chunk(9, values.astype(layout).tobytes())
    else:
        block = number(2, 1) + chunk(8, "w") + chunk(4, values.tobytes())
    graph = chunk(1, node("Relu", "a", "b")) + chunk(5, block)
    if kind == "attribute":
        graph = chunk(1, node("Constant", "", "b", attribute=chunk(5, chunk(5, block))))
    if kind == "sparse":
        graph = chunk(1, node("Relu", "a", "b")) + chunk(15, chunk(1, block))
    with pytest.raises(ConfigError, match=r"graph\.w: holds weights that are not numbers; its training failed"):
        read(chunk(7, graph))


def test_whole_numbers_and_infinities_are_numbers() -> None:
    infinite = tensor("limit", np.array([-np.inf, np.inf], np.float32))
    whole = tensor("shape", np.frombuffer(b"\xff" * 16, np.int64))
    assert read(chunk(7, chunk(1, node("Relu", "a", "b")) + chunk(5, infinite) + chunk(5, whole))).not_numbers == []
