"""Names for ids: what pages and alerts say instead of codes. An id that no file knows stands for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from alerts.entries import Intent
from alerts.escalation import Limits, limits_of
from alerts.words import LABELS, headline
from models import catalogue, people, places
from models.catalogue import Catalogue
from models.config import Config
from models.messages import Incident, Priority
from models.people import People
from models.places import Places
from models.words import DUTIES, Words


class Names:
    """The config content that `alerts` reads. It decides nothing: who is asked stands in the order."""

    def __init__(self, content: Catalogue, who: People, where: Places) -> None:
        self.catalogue = content
        self.people = who
        self.places = where
        self.limits: dict[Priority, Limits] = limits_of(content.clocks)
        self._basis_en = {one.basis: one.basis_en for one in content.categories if one.basis_en}

    @classmethod
    def load(cls, config: Config) -> Self:
        """Read the config folder.

        Raises:
            ConfigError: what one of the files says.
        """
        folder = Path(config.folder)
        return cls(
            catalogue.load(folder / "catalogue.toml"),
            people.load(folder / "people.toml"),
            # Whoever made the folder ran `gridwarden check`; geometry is only drawn here.
            places.load(folder / "places.geojson", geometry=False, max_bytes=config.max_file_bytes),
        )

    def person(self, person_id: str) -> Words:
        """Return the name of a person."""
        person = self.people.person_by_id.get(person_id)
        return Words(person.display_name, person.name_en) if person else Words(person_id, person_id)

    def post(self, post_id: str) -> Words:
        """Return the name of a post."""
        post = self.people.post_by_id.get(post_id)
        return Words(post.name, post.name_en) if post else Words(post_id, post_id)

    def unit(self, unit_id: str) -> Words:
        """Return the name of a unit."""
        unit = self.people.unit_by_id.get(unit_id)
        return Words(unit.name, unit.name_en) if unit else Words(unit_id, unit_id)

    def basis(self, basis: str) -> Words:
        """Return a rule by which a unit leads; where the catalogue has it in one language only, as it stands."""
        return Words(basis, self._basis_en.get(basis, basis))

    def scope(self, post_id: str) -> tuple[str, ...]:
        """Return the codes of the places that a post answers for."""
        post = self.people.post_by_id.get(post_id)
        return post.scope if post else ()

    def category(self, key: str, label: str = "") -> Words:
        """Return the name of a category, or of the label that was seen."""
        category = self.catalogue.category_by_key.get(key)
        if category is not None:
            return Words(category.name, category.name_en)
        return LABELS.get(label, Words(key, key))

    def domain(self, key: str) -> Words:
        """Return the duty that a category falls under, nothing where no catalogue has it."""
        category = self.catalogue.category_by_key.get(key)
        return DUTIES[category.domain] if category else Words("", "")

    def duties(self, post_id: str) -> tuple[Words, ...]:
        """Return what a post looks after."""
        post = self.people.post_by_id.get(post_id)
        return tuple(DUTIES[duty] for duty in post.duties) if post else ()

    def area(self, code: str) -> Words:
        """Return the name of a cell, node, line or administrative area."""
        for known in (self.places.cell_by_code, self.places.node_by_code, self.places.line_by_code):
            place = known.get(code)
            if place is not None:
                return Words(place.name, place.name_en)
        area = self.places.area_by_code.get(code)
        return Words(area.name, area.name_en) if area else Words(code, code)

    def place(self, incident: Incident) -> Words:
        """Return where an incident is: the node if there is one, and the cell."""
        codes = [incident.areas[layer] for layer in ("node", "line", "cell") if layer in incident.areas]
        if not codes:
            spot = f"{incident.position.lon_deg:.5f}, {incident.position.lat_deg:.5f}"
            return Words(spot, spot)
        near, cell = self.area(codes[0]), self.area(codes[-1])
        return near if near == cell else Words(f"{cell.zh} {near.zh}", f"{near.en}, {cell.en}")

    def headline(self, incident: Incident) -> Words:
        """Return an incident in one line."""
        return headline(incident.stage, self.category(incident.category, incident.label), self.place(incident))

    def addressee(self, intent: Intent) -> Words:
        """Return who is told."""
        return self.person(intent.person)
