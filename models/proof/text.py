"""A proof as an operator reads it: where, when, for what, who was asked, and what to do about it."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Any, Final

from models.catalogue import Catalogue, Category
from models.errors import ConfigError, Problem
from models.people import Employment, May, People, UnitKind
from models.proof import Finding, Kind, Proof

FEW: Final = 6
"""Codes, keys and posts that are named before the rest is counted."""


def lines(proof: Proof, people: People, catalogue: Catalogue) -> Iterator[str]:
    """Yield the findings, holes first, and a line that sums up."""
    for finding in proof.findings:
        yield from _finding(finding, proof, people, catalogue)
    until = f"{_moment(proof.from_ms, people)} to {_moment(proof.until_ms, people)} {people.time_zone}"
    yield (
        f"{proof.cells:,} cells ({proof.groups:,} that differ), {proof.categories} categories, {until}: "
        f"{len(proof.holes)} hole(s), {len(proof.warnings)} warning(s)"
    )


def as_json(proof: Proof, people: People, catalogue: Catalogue) -> dict[str, Any]:
    """Return the same as one JSON object."""
    findings = [
        {
            "kind": one.kind.value,
            "is_hole": one.is_hole,
            "from": _iso(one.from_ms, people),
            "until": _iso(one.until_ms, people),
            "from_ms": one.from_ms,
            "until_ms": one.until_ms,
            "cells": one.cells,
            "categories": one.categories,
            "posts": one.posts,
            "remedy": remedy(one, people, catalogue),
        }
        for one in proof.findings
    ]
    counts = {"cells": proof.cells, "groups": proof.groups, "categories": proof.categories}
    window = {"from_ms": proof.from_ms, "until_ms": proof.until_ms}
    return counts | window | {"holes": len(proof.holes), "warnings": len(proof.warnings), "findings": findings}


def remedy(finding: Finding, people: People, catalogue: Catalogue) -> str:
    """Say what to do about a finding; it looks at how things stand where the finding begins."""
    match finding.kind:
        case Kind.NO_POST:
            return "add a post with the cell in its scope, or give its line a chief"
        case Kind.OFFICE if not finding.posts:
            return "no office stands above: add a post with the role that step 4 of the catalogue asks for"
        case Kind.OFFICE:
            return f"staff {finding.posts[0]} with two for this time"
        case Kind.SECOND:
            return f"name a deputy who is on duty then, or add a shift for one of: {_few(finding.posts)}"
        case Kind.NOBODY:
            category = catalogue.category_by_key[finding.categories[0]]
            obstacles = sorted(set(_obstacles(finding, people, category)))
            return "; ".join(obstacles) or f"add a shift for {finding.posts[0]}, or a deputy who is on duty then"


def _obstacles(finding: Finding, people: People, category: Category) -> Iterator[str]:
    """Yield what keeps those from leading who are on duty."""
    at_ms = finding.from_ms
    for key in finding.posts:
        post = people.post_by_id[key]
        for duty in (*people.duties(key, at_ms), *people.deputy_duties(key, at_ms)):
            unit, person = people.unit_by_id[people.post_by_id[duty.post].unit], people.person_by_id[duty.person]
            may = people.may(post.role, category.key)
            lacking = [name for name in category.qualifications if name not in person.qualifications]
            if person.employment is Employment.VOLUNTEER or unit.kind is UnitKind.VOLUNTEER_GROUP:
                yield f"{person.id} is a volunteer and never leads: add somebody else"
            elif not people.has_contract(unit.id, at_ms):
                yield f"renew the contract of {unit.id}"
            elif may is None or may.rank < May.ASSIST.rank:
                yield f"give {post.role} the right to assist in {category.key}"
            elif lacking:
                yield f"have somebody on duty who is qualified for: {', '.join(lacking)}"


def moment(text: str, people: People) -> int:
    """Return the POSIX ms of ``2026-11-22T08:00``, local time of the roster unless it carries an offset.

    Raises:
        ConfigError: it is no such moment.
    """
    try:
        return people.plan.to_ms(dt.datetime.fromisoformat(text))
    except ValueError as exc:
        problem = Problem("gridwarden check", "--from", f"{text!r} is no time", "write it like 2026-11-22T08:00")
        raise ConfigError([problem]) from exc


def _finding(finding: Finding, proof: Proof, people: People, catalogue: Catalogue) -> Iterator[str]:
    what = {
        Kind.NO_POST: "no post answers",
        Kind.NOBODY: "nobody may lead",
        Kind.OFFICE: "fewer than two at the office",
        Kind.SECOND: "only one may lead",
    }[finding.kind]
    is_all = len(finding.categories) == proof.categories
    categories = "all categories" if is_all else _few(finding.categories)
    span = f"{_moment(finding.from_ms, people)} to {_moment(finding.until_ms, people)}"
    yield f"{'hole' if finding.is_hole else 'warning'}: {what}: {span}: {_few(finding.cells)}: {categories}"
    if finding.posts:
        where = f" in {finding.cells[0]}" if len(finding.cells) > 1 else ""
        yield f"    asked{where}: {_few(finding.posts)}"
    yield f"    remedy: {remedy(finding, people, catalogue)}"


def _few(names: Sequence[str]) -> str:
    rest = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {rest:,} more" if rest > 0 else "")


def _moment(at_ms: int, people: People) -> str:
    return f"{_local(at_ms, people):%a %Y-%m-%d %H:%M}"


def _iso(at_ms: int, people: People) -> str:
    return _local(at_ms, people).isoformat()


def _local(at_ms: int, people: People) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, zoneinfo.ZoneInfo(people.time_zone))
