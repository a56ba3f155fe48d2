"""The web application: routes, guards and headers. It serves one page per audience and the API behind it."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import CacheControlHeader, State
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.params import FromQuery
from litestar.static_files import create_static_files_router
from litestar.status_codes import (
    HTTP_303_SEE_OTHER,
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_409_CONFLICT,
    HTTP_500_INTERNAL_SERVER_ERROR,
)
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from alerts.admission import StaleError
from alerts.web import officer, reports, seat
from alerts.web.center import Center, TheCenter
from alerts.web.logins import guard, home
from alerts.web.pages import STATIC, VENDOR
from models.errors import GridwardenError, MessageError

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
HEADERS: Final = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def make_app(center: Center) -> ASGIApp:
    """Return the application over a running service, every answer of it with the security headers."""
    return _with_headers(make_litestar(center))


def make_litestar(center: Center) -> Litestar:
    """Return the application without the headers."""
    return Litestar(
        route_handlers=[login, seat.router, officer.router, reports.router, *_files()],
        guards=[guard],
        dependencies={"center": Provide(lambda: center, sync_to_thread=False)},
        exception_handlers={GridwardenError: _answer_error, HTTPException: _answer_http_error},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        state=State({"logins": center.logins}),
        debug=False,
    )


@get("/login", opt={"for": "public"})
async def login(center: TheCenter, token: FromQuery[str | None] = None) -> Response[bytes]:
    """Turn the secret of a login link into a cookie, and go where the address no longer shows it."""
    who = center.logins.who(token)
    if who is None:
        return _please_log_in()
    response: Response[bytes] = Response(
        b"", status_code=HTTP_303_SEE_OTHER, headers={"Location": home(who)}, cookies=[center.logins.cookie(who)]
    )
    return response


def _files() -> list[Router]:
    """Return the scripts and styles, ours and the libraries'. They are the same for everybody and say nothing."""
    folders = {"/static": STATIC, "/vendor": VENDOR}
    missing = [folder for folder in folders.values() if not folder.is_dir()]
    for folder in missing:
        log.warning("%s is missing: the pages have no map; run: python -m alerts.web.assets", folder)
    return [
        create_static_files_router(
            path=path, directories=[folder], opt={"for": "public"}, cache_control=CacheControlHeader(no_cache=True)
        )
        for path, folder in folders.items()
        if folder not in missing
    ]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the pages get it."""

    error: str
    detail: str


def _please_log_in() -> Response[bytes]:
    html = (STATIC / "login.html").read_bytes()
    return Response(html, media_type="text/html; charset=utf-8", status_code=HTTP_401_UNAUTHORIZED)


def _answer_error(_request: Request[object, object, State], error: GridwardenError) -> Response[Problem]:
    if isinstance(error, StaleError):
        return Response(Problem(error="stale", detail=error.detail), status_code=HTTP_409_CONFLICT)
    if isinstance(error, MessageError):
        return Response(Problem(error=error.reason, detail=error.detail), status_code=HTTP_400_BAD_REQUEST)
    log.error("a request failed: %s", error)
    return Response(Problem(error="storage", detail=str(error)), status_code=HTTP_500_INTERNAL_SERVER_ERROR)


def _answer_http_error(
    request: Request[object, object, State], error: HTTPException
) -> Response[Problem] | Response[bytes]:
    wants_page = "text/html" in request.headers.get("accept", "")
    if isinstance(error, NotAuthorizedException) and wants_page:
        return _please_log_in()
    return Response(Problem(error=str(error.status_code), detail=error.detail), status_code=error.status_code)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """Return `app` with the security headers on every answer, errors included; what names no caching is not cached."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secure(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *HEADERS]
                if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, send_secure)

    return wrapped
