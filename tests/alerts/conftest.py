from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.config import Mqtt
from tests.alerts.field import Field, Service
from tests.alerts.town import Town, build, found


@pytest.fixture(scope="session")
def first_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found(tmp_path_factory.mktemp("first") / "town")


@pytest.fixture
def town(tmp_path: Path, mqtt_broker: Mqtt, first_town: Path) -> Town:
    return build(tmp_path / "town", mqtt_broker, like=first_town)


@pytest.fixture
def field(town: Town) -> Iterator[Field]:
    with Field(town) as everybody_else:
        yield everybody_else


@pytest.fixture
def service(town: Town) -> Iterator[Service]:
    with Service(town) as running:
        yield running
