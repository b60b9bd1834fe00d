"""Patients' links as HTTP: everything for whoever holds one is below ``/s``, with a cookie that counts only there.

Below it stand the viewer and DICOMweb once more. So a doctor who opens a patient's link stays signed in elsewhere, and
no page of a link can act with the rights of an account.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from anyio import to_thread
from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from archive.core import Archive
from archive.delivery.link_records import Opened
from archive.people.caller import NOBODY, Caller
from viewer_api.addresses import address_of, base_url
from viewer_api.front import Revision
from viewer_api.gate import LINKED

PREFIX: Final = "/s"
COOKIE: Final = "pacs_link"
_INSIDE: Final = tuple(f"{PREFIX}/{place}" for place in ("viewer", "dicom-web", "static"))
REMEMBERED: Final = 3.0
"""Seconds for which a browser need not be looked up: as long may a withdrawn link still show something."""
_MOST_REMEMBERED: Final = 1000


class BelowPrefix:
    """Marks requests of links, and lets the resources that links may use stand below the prefix."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            if path == PREFIX or path.startswith(f"{PREFIX}/"):
                scope[LINKED] = True
            if any(path == place or path.startswith(f"{place}/") for place in _INSIDE):
                scope["root_path"] = scope.get("root_path", "") + PREFIX
        await self.app(scope, receive, send)


class LinkSignIn:
    """Who holds a link, told by the cookie; `viewer_api.gate.SignIn`."""

    def __init__(self, archive: Archive, changes: Revision) -> None:
        self._archive = archive
        self._changes = changes
        self._at = changes.now()
        self._seen: dict[str, tuple[float, Caller]] = {}

    async def caller(self, connection: HTTPConnection) -> Caller:
        """`NOBODY` without a cookie that holds. Raises `IndexUnavailable`."""
        secret = connection.cookies.get(COOKIE, "")
        if not secret:
            return NOBODY
        changes = self._changes.now()
        if changes != self._at:
            self._seen.clear()
            self._at = changes
        until, known = self._seen.get(secret, (0.0, NOBODY))
        if monotonic() < until:
            return known
        found = await to_thread.run_sync(self._archive.links.caller, secret, address_of(connection))
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        if found is not NOBODY and changes == self._changes.now():
            self._seen[secret] = (monotonic() + REMEMBERED, found)
        return found

    def forget(self) -> None:
        """Look browsers up again when they ask next, in whatever process."""
        self._changes.changed()


def keep(response: Response, request: Request, opened: Opened) -> None:
    """Give the browser its secret."""
    secure = base_url(request).startswith("https:")
    response.set_cookie(COOKIE, opened.secret, path=PREFIX, httponly=True, samesite="lax", secure=secure)


def drop(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(COOKIE, path=PREFIX)
