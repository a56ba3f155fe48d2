"""Who may see what: one secret per person, made at the start, kept in files that only the service can read.

A login link carries the secret once; the browser then holds it in a cookie that no script can read and no other site
can make it send. The seat's cookie is valid everywhere, an officer's only below his own path, so that both pages can be
open in one browser.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

SEAT: Final = "seat"
SEAT_COOKIE: Final = "gw_seat"
OFFICER_COOKIE: Final = "gw_officer"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Connection = ASGIConnection[Any, Any, Any, Any]


class Logins:
    """The secrets, looked up by their hash so that the time of a look-up says nothing about them."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = dict(tokens)
        self._who = {_hash(token): who for who, token in tokens.items()}

    def __repr__(self) -> str:
        return f"Logins({sorted(self._tokens)})"

    @classmethod
    def load(cls, folder: Path, persons: Iterable[str]) -> Logins:
        """Read the secrets of the seat and of `persons` from `folder`; make those that are missing (0600)."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        logins = cls({})
        logins.admit(folder, persons)
        return logins

    def admit(self, folder: Path, persons: Iterable[str]) -> None:
        """Let the seat and `persons` in, and nobody else, by their secrets in `folder`; make those that are missing."""
        self._tokens = {who: _token(folder / who) for who in (SEAT, *persons)}
        self._who = {_hash(token): who for who, token in self._tokens.items()}

    def who(self, token: str | None) -> str | None:
        """Return whose secret `token` is, or None."""
        return self._who.get(_hash(token)) if token else None

    def token(self, who: str) -> str:
        """Return the secret of `who`.

        Raises:
            KeyError: nobody of that name may log in.
        """
        return self._tokens[who]

    def cookie(self, who: str) -> Cookie:
        """Return the cookie that logs `who` in."""
        seat = who == SEAT
        return Cookie(
            key=SEAT_COOKIE if seat else OFFICER_COOKIE,
            value=self._tokens[who],
            path=home(who),
            httponly=True,
            samesite="strict",
        )


def home(who: str) -> str:
    """Return the path of somebody's page."""
    return "/" if who == SEAT else f"/officer/{who}/"


def guard(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a request through only where the handler says for whom it is. A handler that says nothing is for nobody.

    Raises:
        NotAuthorizedException: no login, or somebody else's.
        PermissionDeniedException: another site asked the browser to send this.
    """
    audience = handler.opt.get("for")
    if connection.scope.get("method") not in _SAFE:
        _require_same_origin(connection)
    if audience == "public":
        return
    logins: Logins = connection.app.state.logins
    if audience == "seat" and logins.who(connection.cookies.get(SEAT_COOKIE)) == SEAT:
        return
    if audience == "officer":
        who = logins.who(connection.cookies.get(OFFICER_COOKIE))
        if who is not None and who == connection.path_params.get("person"):
            return
    raise NotAuthorizedException("open the login link of this service")


def _require_same_origin(connection: Connection) -> None:
    origin, host = connection.headers.get("origin", ""), connection.headers.get("host", "")
    if not host or origin.partition("://")[2] != host:
        raise PermissionDeniedException("this request does not come from our own page")


def _token(path: Path) -> str:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    token = secrets.token_urlsafe(32)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
