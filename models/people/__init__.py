"""`people.toml`: who answers for which place, and who is on duty when.

A post is a role in a place; a person holds it while on shift. Every post but the highest has one supervisor, by
`supervises` or `collaborates`, and deputies in order.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from models.content import Content, Text, breadth, covers, grouped
from models.messages import Priority
from models.people.duty import DatedShift, DutyPlan, Rota, Shift, Swap, Term, WeeklyShift, is_within_daily
from models.people.posts import (
    NODE_ROLES,
    AppointedFrom,
    Authority,
    Contract,
    Duty,
    DutyDomain,
    Edge,
    Employment,
    May,
    Person,
    Post,
    Profile,
    QuietHours,
    Role,
    Status,
    Unit,
    UnitKind,
)

if TYPE_CHECKING:
    from models.people.columns import PeopleColumns

__all__ = [
    "AppointedFrom",
    "Authority",
    "Contract",
    "Duty",
    "DutyDomain",
    "Edge",
    "Employment",
    "May",
    "People",
    "Person",
    "Post",
    "Profile",
    "QuietHours",
    "Role",
    "Status",
    "Unit",
    "UnitKind",
    "load",
]


class People(Content, frozen=True, kw_only=True):
    """All posts, persons, shifts and rights of a tenant.

    Attributes:
        profile: which tiers are mandatory.
        node_chiefs_in_chain: building and shop chiefs stand in the vertical chain; by default they collaborate.
        team: the seats that the grid team of each base cell should have, such as ``community_police``.
    """

    time_zone: Text
    profile: Profile = Profile.FIVE_CHIEFS_GRID
    node_chiefs_in_chain: bool = False
    team: tuple[Text, ...] = ()
    units: tuple[Unit, ...] = ()
    persons: tuple[Person, ...] = ()
    posts: tuple[Post, ...] = ()
    weekly_shifts: tuple[WeeklyShift, ...] = ()
    dated_shifts: tuple[DatedShift, ...] = ()
    swaps: tuple[Swap, ...] = ()
    authority: tuple[Authority, ...] = ()

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """All shifts, the weekly ones first."""
        return (*self.weekly_shifts, *self.dated_shifts)

    @cached_property
    def unit_by_id(self) -> Mapping[str, Unit]:
        """Units by id."""
        return {unit.id: unit for unit in self.units}

    @cached_property
    def person_by_id(self) -> Mapping[str, Person]:
        """Persons by id."""
        return {person.id: person for person in self.persons}

    @cached_property
    def post_by_id(self) -> Mapping[str, Post]:
        """Posts by id."""
        return {post.id: post for post in self.posts}

    @cached_property
    def posts_by_scope(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts that answer for a code, in the order of the file."""
        return grouped((code, post) for post in self.posts for code in post.scope)

    @cached_property
    def posts_by_role(self) -> Mapping[Role, tuple[Post, ...]]:
        """Posts of each role, in the order of the file."""
        return grouped((post.role, post) for post in self.posts)

    @cached_property
    def children(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts below each post, by either edge."""
        return grouped((post.supervisor, post) for post in self.posts if post.supervisor)

    def parents(self, post_id: str) -> tuple[Post, ...]:
        """Give the posts above, nearest first."""
        chain: list[Post] = []
        post = self.post_by_id.get(post_id)
        while post and post.supervisor and (post := self.post_by_id.get(post.supervisor)) and post not in chain:
            chain.append(post)
        return tuple(chain)

    def edge_of(self, post: Post) -> Edge:
        """Give how a post is bound to its supervisor: chiefs of a node collaborate where nothing else is said."""
        is_aside = post.role in NODE_ROLES and not self.node_chiefs_in_chain
        return post.edge or (Edge.COLLABORATES if is_aside else Edge.SUPERVISES)

    def subtree(self, post_id: str) -> tuple[Post, ...]:
        """Give the posts that a chief supervises, through all levels, nearest first: those he may see into."""
        below: dict[str, Post] = {}
        ahead = [post_id]
        for above in ahead:
            for post in self.children.get(above, ()):
                if self.edge_of(post) is Edge.SUPERVISES and post.id not in below:
                    below[post.id] = post
                    ahead.append(post.id)
        return tuple(below.values())

    @cached_property
    def posts_of(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts that a person holds by any shift or swap, by post id."""
        held = {(shift.person, shift.post) for shift in self.shifts}
        held |= {(swap.substitute, swap.post) for swap in self.swaps}
        return grouped((person, self.post_by_id[post]) for person, post in sorted(held) if post in self.post_by_id)

    @cached_property
    def deputyships_of(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts for which a person or a post stands as deputy, by his or its id."""
        return grouped((deputy, post) for post in self.posts for deputy in post.deputies)

    @cached_property
    def plan(self) -> DutyPlan:
        """The shifts, ready to be asked."""
        return DutyPlan(self.rota)

    @cached_property
    def rota(self) -> Rota:
        """What decides who is on duty."""
        known = self.person_by_id
        on_shifts = {shift.person for shift in self.shifts} | {swap.substitute for swap in self.swaps}
        return Rota(
            zone=zoneinfo.ZoneInfo(self.time_zone),
            weekly=self.weekly_shifts,
            dated=self.dated_shifts,
            swaps=self.swaps,
            posts=dict(_terms(self.posts)),
            persons=dict(_terms(self.persons)),
            absent=frozenset(on_shifts - known.keys()).union(
                person.id for person in self.persons if person.status is not Status.ACTIVE
            ),
        )

    @cached_property
    def columns(self) -> PeopleColumns:
        """The same as arrays."""
        from models.people.columns import PeopleColumns

        return PeopleColumns.of(self)

    def duties(self, post_id: str, at_ms: int) -> tuple[Duty, ...]:
        """Give who holds a post at a moment and until when, by person id."""
        return tuple(
            Duty(post=post_id, person=span.person, from_ms=span.from_ms, until_ms=span.until_ms)
            for span in self.plan.at(post_id, at_ms)
        )

    def on_duty(self, post_id: str, at_ms: int) -> tuple[Person, ...]:
        """Give the persons who hold a post at a moment, by person id."""
        return tuple(self.person_by_id[duty.person] for duty in self.duties(post_id, at_ms))

    def deputy_duties(self, post_id: str, at_ms: int) -> tuple[Duty, ...]:
        """Give the deputies of a post who are on duty, in their order.

        A post as deputy stands for who holds it; a person as deputy is on duty while he holds any post of his.
        """
        found: list[Duty] = []
        for deputy in self.post_by_id[post_id].deputies:
            posts = (deputy,) if deputy in self.post_by_id else [post.id for post in self.posts_of.get(deputy, ())]
            duties = [duty for post in posts for duty in self.duties(post, at_ms)]
            found += duties if deputy in self.post_by_id else [duty for duty in duties if duty.person == deputy][:1]
        return tuple(found)

    def is_quiet(self, person_id: str, at_ms: int) -> bool:
        """Whether the person's quiet hours run."""
        quiet = self.person_by_id[person_id].quiet_hours
        return quiet is not None and is_within_daily(quiet.start, quiet.end, self.plan.local(at_ms).time())

    @cached_property
    def has_quiet_hours(self) -> bool:
        """Whether anybody has any."""
        return any(person.quiet_hours for person in self.persons)

    def quiet_span(self, person_id: str, at_ms: int) -> tuple[int, int] | None:
        """Give the quiet hours of a person that run at a moment, else the next ones; None where he has none."""
        quiet = self.person_by_id[person_id].quiet_hours
        if quiet is None:
            return None
        day, over_midnight = self.plan.local(at_ms).date(), dt.timedelta(days=quiet.end <= quiet.start)
        spans = (
            tuple(
                self.plan.to_ms(dt.datetime.combine(date, clock))
                for date, clock in ((start, quiet.start), (start + over_midnight, quiet.end))
            )
            for start in (day - dt.timedelta(days=1), day, day + dt.timedelta(days=1))
        )
        return next((from_ms, until_ms) for from_ms, until_ms in spans if until_ms > at_ms)

    def has_contract(self, unit_id: str, at_ms: int) -> bool:
        """Whether a unit may be asked: it has no contract to run out, or one that runs."""
        contract = self.unit_by_id[unit_id].contract
        return contract is None or self._runs((contract.first_day, contract.last_day), at_ms)

    def partners(self, codes: Iterable[str], category: str, priority: Priority, at_ms: int) -> tuple[str, ...]:
        """Give the partners at places for a category, by id: contracts run, volunteers are spared P1 and P2.

        `codes` are those of the places and of the areas above them.
        """
        there = {unit.id: unit for code in codes for unit in self._partners_at.get(code, ())}
        return tuple(
            key
            for key, unit in sorted(there.items())
            if (not unit.categories or any(covers(pattern, category) for pattern in unit.categories))
            and not (unit.kind is UnitKind.VOLUNTEER_GROUP and priority <= Priority.P2)
            and self.has_contract(key, at_ms)
        )

    def may(self, role: Role, category: str) -> May | None:
        """Give what a role may do about a category, by the most specific row; None where no row matches."""
        table = self._authority.get(role, {})
        return next((table[pattern] for pattern in breadth(category) if pattern in table), None)

    @cached_property
    def _authority(self) -> Mapping[Role, Mapping[str, May]]:
        return {role: {row.category: row.may for row in self.authority if row.role is role} for role in Role}

    @cached_property
    def _partners_at(self) -> Mapping[str, tuple[Unit, ...]]:
        return grouped((code, unit) for unit in self.units for code in unit.scope)

    def _runs(self, term: Term, at_ms: int) -> bool:
        from_ms, until_ms = self.plan.term(term)
        return from_ms <= at_ms < until_ms


def _terms(records: Iterable[Post | Person]) -> Iterator[tuple[str, Term]]:
    for record in records:
        if record.first_day or record.last_day:
            yield record.id, (record.first_day, record.last_day)


def load(path: Path) -> People:
    """Read and validate `people.toml`, and the tables in CSV beside it: see `models.people.files`.

    Raises:
        ConfigError: with all mistakes of the files.
    """
    from models.people.files import read

    return read(path)
