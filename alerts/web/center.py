"""What every route works with."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.di import NamedDependency

from alerts.dispatcher import Dispatcher
from alerts.office import Office
from alerts.web.logins import Logins
from alerts.web.places import Map


@dataclass(slots=True)
class Center:
    """The running service as its pages see it.

    Attributes:
        city: the map; another one when the places change.
        demo_logins: the seat may open an officer's page.
    """

    office: Office
    dispatcher: Dispatcher
    logins: Logins
    city: Map
    demo_logins: bool


TheCenter = NamedDependency[Center]
"""The type of a route's argument `center`."""
