"""The repository keeps its own promises: names, entry points, docs, sizes."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest

from models.supervise import gridwarden

ROOT = Path(__file__).parents[1]
PACKAGES = ("alerts", "edge", "models", "stream")


def python_files(*folders: str) -> list[Path]:
    return [
        path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts
    ]


def test_each_top_level_name_is_ours_alone() -> None:
    owners = packages_distributions()
    assert {name: set(owners[name]) for name in PACKAGES if name in owners} == {
        name: {"gridwarden"} for name in PACKAGES if name in owners
    }
    for name in PACKAGES:
        code = f"import {name}; print({name}.__file__)"
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/")
        assert Path(done.stdout.strip()).is_relative_to(ROOT)


def test_the_distribution_cannot_be_uploaded_by_accident() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert project["license"] == "Apache-2.0"


def test_every_entry_point_of_ours_loads() -> None:
    points = [*entry_points(group="gridwarden.commands"), *entry_points(group="faust.transports")]
    ours = [point for point in points if point.value.partition(".")[0] in PACKAGES]
    assert {point.name for point in ours} >= {"models", "edge", "stream", "alerts", "sqlite"}
    for point in ours:
        point.load()


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("word", ["faust", "numba", "litestar", "sqlalchemy", "shapely"])
def test_a_pi_that_only_watches_never_loads_what_it_does_not_need(word: str) -> None:
    code = f"import sys, edge.agent, models.detectors.runtime; sys.exit({word!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_has_800_lines_and_no_function_100() -> None:
    files = python_files(*PACKAGES, "benchmarks", "tests")
    assert [str(path) for path in files if path.read_text().count("\n") >= 800] == []
    assert [where for path in files for where, lines in functions(path) if lines >= 100] == []


def functions(path: Path) -> list[tuple[str, int]]:
    nodes = ast.walk(ast.parse(path.read_text()))
    found = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno) for node in found]


def test_each_dependency_has_one_door() -> None:
    doors = {
        "paho": {"models/link.py", "models/packets.py"},
        "onnxruntime": {"models/detectors/session.py", "models/detectors/training/quantize.py"},
        "numba": {"stream/kernels.py"},
        "iotcore": {"models/broker.py"},
        "influxdb_client": {"stream/history/influx.py"},
        "google.protobuf": {"stream/adapters/sparkplug.py"},
        "prometheus_client": {"models/metrics.py"},
    }
    for word, allowed in doors.items():
        found = {str(path.relative_to(ROOT)) for path in python_files(*PACKAGES) if imports(path, word)}
        assert found == allowed, word
    folders = {"faust": "stream", "sqlalchemy": "alerts", "litestar": "alerts", "torch": "models"}
    for word, folder in folders.items():
        found = {path.relative_to(ROOT).parts[0] for path in python_files(*PACKAGES) if imports(path, word)}
        assert found == {folder}, word


def imports(path: Path, word: str) -> bool:
    return bool(re.search(rf"^\s*(?:import|from) {word}\b", path.read_text(), re.MULTILINE))


def test_every_command_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)", text))
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= targets
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
    commands = set(re.findall(r"\bgridwarden ([a-z]+)\b", text))
    assert commands
    for name in commands:
        done = subprocess.run(gridwarden(name, "--help"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"gridwarden {name}: {done.stderr}"
    for module in set(re.findall(r"python -m ([a-z_.]+)", text)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_ci_calls_exactly_make_test() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "exec make test"


@pytest.mark.slow
def test_the_wheel_carries_the_network_the_pages_and_the_demo_clip(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"SOURCE_DATE_EPOCH": "0"})
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "models/detectors/zoo/fire_smoke.onnx",
        "models/data/catalogue.toml",
        "models/data/messages.schema.json",
        "edge/demo/street_fire.mp4",
        "alerts/web/static/seat.html",
    ):
        assert name in names
    assert any(name.startswith("alerts/web/vendor/leaflet/") for name in names), "run: make assets"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "gridwarden-0.1.0.dist-info"}
