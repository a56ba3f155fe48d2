from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from models.detectors import commands
from models.errors import ConfigError


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", ("train", "fire_smoke")),
        ("train", ("publish", "fire_smoke", "best.pt")),
        ("eval", ("eval", "fire_smoke")),
    ],
)
def test_a_command_without_its_extra_names_it(
    name: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(commands.NEEDED, name, ("cv2", "no_such_package"))
    args = parse(*words, "--data", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no_such_package not installed; pip install 'gridwarden\[edge,train\]'"):
        args.run(args)


def test_the_pictures_beside_the_checkout_are_taken_where_nobody_says(tmp_path: Path) -> None:
    for words in (("train", "fire_smoke"), ("publish", "fire_smoke", "best.pt"), ("eval", "fire_smoke")):
        assert parse(*words).data == Path("../shared/data")
        assert parse(*words, "--data", str(tmp_path)).data == tmp_path
