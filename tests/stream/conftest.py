"""What the tests of the stream share."""

from __future__ import annotations

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the matcher before the first test: half a minute that no test's time limit is meant for."""
    if session.config.option.collectonly or not any("tests/stream" in item.nodeid for item in session.items):
        return
    from stream.matcher import warm

    warm()
