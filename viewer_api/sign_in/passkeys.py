"""Passkeys by HTTP: JSON for the script ``passkeys.js``, which speaks to the authenticator."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Body, Request
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, NotPermitted
from archive.people.errors import Locked, SessionEnded, WrongCredentials
from archive.people.passkeys import Place
from archive.people.sessions import Session
from viewer_api.addresses import address_of, base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN, SIGNED_IN
from viewer_api.pages.language import language_of, texts
from viewer_api.sign_in.cookies import keep
from viewer_api.sign_in.pages import Field, end_before, forget_known, half_way
from viewer_api.sign_in.profile import own_session, show
from viewer_api.sign_in.returning import SIGN_IN, address, safe

router = APIRouter(include_in_schema=False, dependencies=[OPEN])
own = APIRouter(prefix="/profile/passkeys", include_in_schema=False, dependencies=[SIGNED_IN])

Given = Annotated[dict[str, Any], Body()]
_LONGEST: Final = 4000


@router.post("/sign-in/passkey/options")
def ask(request: Request, archive: ArchiveDep) -> Response:
    """What the browser's authenticator is asked."""
    if request.app.state.throttle.is_shut(address_of(request)):
        return _refused(request, "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS)
    return _json(archive.people.passkeys.ask(place_of(request), half_way(request, archive)))


@router.post("/sign-in/passkey")
def enter(request: Request, archive: ArchiveDep, given: Given) -> Response:
    """Sign in by what it has signed; no password, and no code."""
    host, throttle = address_of(request), request.app.state.throttle
    if throttle.is_shut(host):
        return _refused(request, "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS)
    agent = request.headers.get("user-agent", "")
    try:
        step = archive.people.passkeys.enter(
            place_of(request), _text(given, "ticket"), _object(given, "credential"), host, agent
        )
    except (WrongCredentials, SessionEnded) as error:
        throttle.failed(host)
        key = "sign_in_ended" if isinstance(error, SessionEnded) else "passkey_wrong"
        return _refused(request, key, HTTPStatus.FORBIDDEN)
    end_before(request, archive)
    to = _text(given, "to")
    response = _json({"to": safe(to) if step.stage == "open" else address(SIGN_IN, to)})
    keep(response, request, step.secret)
    return response


@router.post("/sign-in/passkey/new/options")
def offer_first(request: Request, archive: ArchiveDep) -> Response:
    """A passkey as the second factor that a sign-in asks for."""
    session = half_way(request, archive)
    if session is None or session.stage != "enrol":
        return _refused(request, "sign_in_ended", HTTPStatus.FORBIDDEN)
    return _offered(request, archive, session, "")


@router.post("/sign-in/passkey/new")
def add_first(request: Request, archive: ArchiveDep, given: Given) -> Response:
    """Put it in force, and go on into the archive."""
    session = half_way(request, archive)
    if session is None or session.stage != "enrol":
        return _refused(request, "sign_in_ended", HTTPStatus.FORBIDDEN)
    if refusal := _added(request, archive, session, given):
        return refusal
    try:
        step = archive.people.signing_in.go_on(session, address_of(request))
    except SessionEnded:
        return _refused(request, "sign_in_ended", HTTPStatus.FORBIDDEN)
    to = _text(given, "to")
    response = _json({"to": safe(to) if step.stage == "open" else address(SIGN_IN, to)})
    keep(response, request, step.secret)
    return response


@own.post("/options")
def offer(request: Request, archive: ArchiveDep, given: Given) -> Response:
    """Another passkey; the password says that it is the same person."""
    return _offered(request, archive, own_session(request), _text(given, "password"))


@own.post("")
def add(request: Request, archive: ArchiveDep, given: Given) -> Response:
    """Put it in force."""
    if refusal := _added(request, archive, own_session(request), given):
        return refusal
    forget_known(request)
    return _json({"to": "/profile"})


@own.post("/{number}/remove")
def remove(request: Request, archive: ArchiveDep, number: int, current: Field = "") -> Response:
    """Take one away."""
    try:
        archive.people.passkeys.remove(own_session(request), number, current, address_of(request))
    except (Locked, WrongCredentials, SessionEnded) as error:
        return show(request, archive, _confirmation(error), HTTPStatus.FORBIDDEN)
    except NotPermitted:
        return show(request, archive, "passkey_needed", HTTPStatus.FORBIDDEN)
    forget_known(request)
    return RedirectResponse("/profile", HTTPStatus.SEE_OTHER)


def place_of(connection: HTTPConnection) -> Place:
    """Where the browser is, as we are known to it."""
    parts = urlsplit(base_url(connection))
    return Place(parts.hostname or "", f"{parts.scheme}://{parts.netloc}")


def _offered(request: Request, archive: Archive, session: Session, password: str) -> Response:
    passkeys = archive.people.passkeys
    made: dict[str, Any] = {}

    def work() -> None:
        made.update(passkeys.offer(session, place_of(request), password, address_of(request)))

    return _tried(request, work) or _json(made)


def _added(request: Request, archive: Archive, session: Session, given: dict[str, Any]) -> Response | None:
    passkeys, ticket, credential = archive.people.passkeys, _text(given, "ticket"), _object(given, "credential")
    name, host = _text(given, "name"), address_of(request)

    def work() -> None:
        passkeys.add(session, place_of(request), ticket, credential, name, host)

    return _tried(request, work)


def _tried(request: Request, work: Callable[[], None]) -> Response | None:
    """None if it was done."""
    try:
        work()
    except (Locked, WrongCredentials, SessionEnded) as error:
        return _refused(request, _confirmation(error), HTTPStatus.FORBIDDEN)
    except InvalidItem:
        return _refused(request, "passkey_many", HTTPStatus.CONFLICT)
    except Conflict:
        return _refused(request, "passkey_known", HTTPStatus.CONFLICT)
    return None


def _confirmation(error: NotPermitted) -> str:
    """Why it is not believed that it is the same person."""
    if isinstance(error, Locked):
        return "sign_in_locked"
    return "profile_sign_in_again" if isinstance(error, SessionEnded) else "profile_wrong"


def _refused(request: Request, key: str, status: int) -> Response:
    return _json({"message": texts(language_of(request))(key)}, status)


def _json(content: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), int(status), {"Cache-Control": "no-store"}, "application/json")


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""


def _object(given: dict[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name)
    return value if isinstance(value, dict) else {}
