"""Who calls, and whether they may: every route says which right it needs, or that it is open to all.

A route that says neither stops the start of the service (`check`): what is forgotten stays shut.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, cast

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from archive.errors import NotPermitted
from archive.people.caller import ANYBODY, NOBODY, Caller, Kind
from archive.people.roles import Right
from viewer_api import audited
from viewer_api.problems import SignInNeeded
from viewer_api.same_origin import require_same_origin

_OPEN_ALWAYS: Final = frozenset(("/openapi.json",))
"""Routes of the framework."""
_READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))


LINKED: Final = "pacs.linked"
"""In the scope of requests below the path of patients' links."""


class SignIn(Protocol):
    """Finds out who calls."""

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Never raises for wrong credentials: then it is `NOBODY`. Raises `IndexUnavailable`."""


class NoSignIn:
    """For a service on loopback that asks nobody who they are."""

    async def caller(self, connection: HTTPConnection) -> Caller:
        del connection
        return ANYBODY


class Needs:
    """A dependency that lets through who has one of these rights somewhere; where, the archive's predicate decides."""

    def __init__(self, *rights: Right, everywhere: bool = False) -> None:
        self.rights = rights
        self.everywhere = everywhere

    async def __call__(self, connection: HTTPConnection) -> Caller:
        """Raises `SignInNeeded` (401), `NotPermitted` (403)."""
        connection.state.right = self.rights[0]
        refuse_other_sites(connection)
        caller = admit(await caller_of(connection), *self.rights)
        if self.everywhere and not any(caller.may_everywhere(right) for right in self.rights):
            raise NotPermitted("this is about all facilities: the right is needed for the whole province")
        held = next(right for right in self.rights if caller.may(right))
        if held in audited.NOT_BY_THEMSELVES:
            await to_thread.run_sync(audited.used, connection, connection.app.state.archive, held)
        return caller


def admit(caller: Caller, *rights: Right) -> Caller:
    """Let through who has one of these rights. Raises `SignInNeeded` (401), `NotPermitted` (403)."""
    if not any(caller.may(right) for right in rights):
        if caller.kind is Kind.NOBODY:
            raise SignInNeeded
        caller.require(rights[0])
    return caller


class Open:
    """A dependency that says: this is for everybody."""

    async def __call__(self, connection: HTTPConnection) -> None:
        # Nobody is asked who they are: this must work when the database does not. Patients' pages are for all, too, and
        # look different to who has opened a link.
        refuse_other_sites(connection)
        if connection.scope.get(LINKED):
            await caller_of(connection)


class Asked(Open):
    """A dependency for what is partly for everybody: who calls is asked, and the function decides by it."""

    async def __call__(self, connection: HTTPConnection) -> None:
        refuse_other_sites(connection)
        await caller_of(connection)


def needs(*rights: Right, everywhere: bool = False) -> Any:
    """For the `dependencies` of a router or route: one of these rights; with `everywhere` for the whole province."""
    return Depends(Needs(*rights, everywhere=everywhere))


OPEN: Final[Any] = Depends(Open())
ASKED: Final[Any] = Depends(Asked())
SIGNED_IN: Final[Any] = Depends(Needs(*Right))
"""Somebody with any right at all."""


def refuse_other_sites(connection: HTTPConnection) -> None:
    """Raise `NotPermitted` if a page of another site wants something changed; true of every route, by one rule.

    Reading needs no such rule: other sites cannot see the answer. A token is not sent along by a browser by itself.
    """
    changes = connection.scope["type"] != "http" or connection.scope["method"] not in _READING
    if changes and not connection.headers.get("authorization", "").lower().startswith("bearer "):
        require_same_origin(connection)


async def caller_of(connection: HTTPConnection) -> Caller:
    """Who calls; asked once for each request."""
    found = getattr(connection.state, "caller", None)
    if found is None:
        state = connection.app.state
        # A patient's link and an account never count together, though one browser may have both.
        sign_in: SignIn = state.link_sign_in if connection.scope.get(LINKED) else state.sign_in
        found = connection.state.caller = await sign_in.caller(connection)
    return cast(Caller, found)


def known_caller(connection: HTTPConnection) -> Caller:
    """The same, in the function of a route: its dependency has asked."""
    return cast(Caller, getattr(connection.state, "caller", NOBODY))


def check(app: FastAPI) -> None:
    """Raise `RuntimeError` for a route that does not say who may use it."""
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        calls = [] if dependant is None else [each.call for each in dependant.dependencies]
        if not any(isinstance(call, Needs | Open) for call in calls) and context.path not in _OPEN_ALWAYS:
            raise RuntimeError(f"{context.path} does not say who may use it: viewer_api.gate")
