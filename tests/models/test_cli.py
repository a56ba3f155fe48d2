"""The console script: every package's commands, and a clear word where a package is missing."""

from __future__ import annotations

import argparse

import pytest

from models import cli
from models.errors import ConfigError, Problem


def test_the_help_names_the_commands_of_every_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ("up", "check", "city", "edge", "stream", "alerts", "route", "replay", "ledger", "train", "eval"):
        assert f"\n    {name} " in text


class _Point:
    """An entry point whose command does what a test wants."""

    name = "test"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def load(self) -> object:
        return self._register

    def _register(self, commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        commands.add_parser("fail").set_defaults(run=self._run)

    def _run(self, _args: argparse.Namespace) -> int:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ModuleNotFoundError("no", name="faust.app"), 2, "fail needs faust.app: pip install 'gridwarden[all]'"),
        (ConfigError([Problem("a.toml", "x.y", "is wrong", "mend it")]), 2, "a.toml: x.y: is wrong; mend it"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_one_sentence_and_an_exit_code(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [_Point(error)])
    assert cli.main(["fail"]) == code
    assert text in capsys.readouterr().err


def test_a_module_of_ours_that_is_missing_is_a_bug_and_shows_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = ModuleNotFoundError("no", name="models.nowhere")
    monkeypatch.setattr(cli, "entry_points", lambda group: [_Point(bug)])
    with pytest.raises(ModuleNotFoundError):
        cli.main(["fail"])
