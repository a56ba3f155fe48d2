"""The config folder changes while `alerts` runs."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from models import people
from models.people.files import to_csv, to_toml
from tests.alerts.field import Field, Service
from tests.alerts.test_service import dispatch
from tests.alerts.town import Town
from tests.conftest import wait_until


def write_people(folder: Path, staff: people.People) -> None:
    written = to_csv(staff) if (folder / "people").exists() else {"people.toml": to_toml(staff)}
    for name, content in written.items():
        (folder / name).write_bytes(content)


def test_who_joins_may_log_in_who_leaves_may_not_and_a_mistake_changes_nothing(
    field: Field, service: Service, town: Town
) -> None:
    folder = Path(town.config.folder)
    staff = people.load(folder / "people.toml")
    alert = dispatch(field)
    (folder / "people.toml").write_text("half a fi")
    wait_until(lambda: "is not read again" in service.log.read_text())
    with service.client(alert.person) as officer:
        assert officer.get(f"/officer/{alert.person}/api/alerts").status_code == 200
    newcomer = replace(staff.persons[0], id="p-newcomer", name_en="Nova Newcomer")
    shift = replace(staff.weekly_shifts[0], person=newcomer.id)
    joined = replace(staff, persons=(*staff.persons, newcomer), weekly_shifts=(*staff.weekly_shifts, shift))
    write_people(folder, joined)
    wait_until((town.config.state / "logins" / "p-newcomer").exists)
    wait_until(lambda: "changed config folder" in service.log.read_text())
    with service.client("p-newcomer") as officer:
        assert "Nova Newcomer" in officer.get("/officer/p-newcomer/api/alerts").text
        write_people(folder, staff)
        wait_until(lambda: service.log.read_text().count("changed config folder") == 2)
        assert officer.get("/officer/p-newcomer/api/alerts").status_code == 401
