"""Finds out who calls: by the cookie of a browser's session, or by the token of a program.

What was found is remembered for seconds, so that the thousands of requests of a viewer cost one look into the
database. So long does what an administrator takes away stay in the hands of who had it, in other web services;
processes of the same service tell each other.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import replace
from time import monotonic
from typing import Final, NamedTuple

from anyio import to_thread
from starlette.requests import HTTPConnection

from archive.core import Archive
from archive.people.caller import NOBODY, Caller
from archive.people.sessions import Session, digest
from viewer_api.addresses import address_of
from viewer_api.front import Revision
from viewer_api.sign_in.cookies import secret_of

REMEMBERED: Final = 3.0
"""Seconds."""
UNATTENDED: Final = "x-unattended"
"""With this header, a page says that it asks by itself, and nobody uses the session by that."""
_MOST: Final = 10_000
_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/=-]{1,100}) *", re.IGNORECASE)


class _Found(NamedTuple):
    until: float
    session: Session
    caller: Caller
    touched: bool


class SessionSignIn:
    """Sign-in by sessions and tokens; see `viewer_api.gate.SignIn`."""

    def __init__(self, archive: Archive, changes: Revision) -> None:
        self._sessions = archive.people.sessions
        self._changes = changes
        self._seen = changes.now()
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Found] = OrderedDict()

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises `IndexUnavailable`."""
        session, caller = await self._found(connection)
        connection.state.session = session
        return caller if session is not None and session.stage == "open" else NOBODY

    async def half_way(self, connection: HTTPConnection) -> Session | None:
        """The session of a browser, whatever is still missing in it."""
        secret = secret_of(connection)
        return await to_thread.run_sync(self._sessions.find, secret, "browser") if secret else None

    def forget_all(self) -> None:
        """Look anew at everybody: sessions or accounts were changed."""
        self._changes.changed()

    async def _found(self, connection: HTTPConnection) -> tuple[Session | None, Caller]:
        authorization = connection.headers.get("authorization", "")
        if authorization:
            # Whoever shows a token is who the token says, or nobody: not also who the cookie says.
            match = _BEARER.fullmatch(authorization)
            kind, secret = "token", match[1] if match else ""
        else:
            kind, secret = "browser", secret_of(connection)
        if not secret:
            return None, NOBODY
        touch = UNATTENDED not in connection.headers
        key = kind.encode() + digest(secret)
        changes = self._up_to_date()
        found = self._known.get(key)
        if found is None or found.until < monotonic() or (touch and not found.touched):
            session = await to_thread.run_sync(lambda: self._sessions.find(secret, kind, touch=touch))
            if session is None:
                with self._lock:
                    self._known.pop(key, None)
                return None, NOBODY
            found = _Found(monotonic() + REMEMBERED, session, session.caller(""), touch)
            self._remember(key, found, changes)
        return found.session, replace(found.caller, address=address_of(connection))

    def _up_to_date(self) -> int:
        """Forget what was found before the last change, and give its number."""
        now = self._changes.now()
        if now != self._seen:
            with self._lock:
                self._known.clear()
                self._seen = now
        return now

    def _remember(self, key: bytes, found: _Found, changes: int) -> None:
        with self._lock:
            if changes != self._changes.now():
                return  # it was asked for before something changed
            self._known[key] = found
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
