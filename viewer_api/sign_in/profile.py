"""The page ``/profile``: what somebody may do, and their own password, second factor and sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import NotFound, NotPermitted
from archive.people.errors import BadPassword, Locked, SessionEnded, WrongCredentials
from archive.people.passwords import SHORTEST, SHORTEST_WITH_FACTOR
from archive.people.sessions import Session
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import SIGNED_IN
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.sign_in.pages import Field, faults, forget_known, qr_code

router = APIRouter(prefix="/profile", include_in_schema=False, dependencies=[SIGNED_IN])

_VIETNAM: Final = timezone(timedelta(hours=7))


@router.get("")
def profile(request: Request, archive: ArchiveDep) -> Response:
    """Who is signed in, as what, and where else."""
    return show(request, archive)


@router.get("/alive")
def alive() -> Response:
    """Somebody works in a page that needs nothing else from us: the session is in use (`viewer_api.viewer_session`)."""
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})


@router.post("/password")
def password(
    request: Request, archive: ArchiveDep, current: Field = "", new: Field = "", again: Field = ""
) -> Response:
    """Another password; all other sessions end."""
    if new != again:
        return show(request, archive, "password_differs", HTTPStatus.BAD_REQUEST)
    return _try(
        request,
        archive,
        lambda session: archive.people.own.change_password(session, current, new, address_of(request)),
        "profile_password_changed",
    )


@router.post("/factor")
def factor(request: Request, archive: ArchiveDep) -> Response:
    """Show the QR code of a second factor that is to be set up."""
    try:
        secret, name = archive.people.own.offer_factor(own_session(request))
    except NotPermitted:
        return RedirectResponse("/profile", HTTPStatus.SEE_OTHER)
    return show(request, archive, factor=qr_code(secret, name, texts(language_of(request))("brand")))


@router.post("/factor/prove")
def prove(request: Request, archive: ArchiveDep, code: Field = "") -> Response:
    """Put it in force by its first code."""
    session = own_session(request)
    try:
        codes = archive.people.own.prove_factor(session, code, address_of(request))
    except WrongCredentials:
        secret, name = archive.people.own.offer_factor(session)
        shown = qr_code(secret, name, texts(language_of(request))("brand"))
        return show(request, archive, "factor_wrong", HTTPStatus.FORBIDDEN, factor=shown)
    except Locked:
        return show(request, archive, "sign_in_locked", HTTPStatus.FORBIDDEN)
    except SessionEnded:
        return RedirectResponse("/profile", HTTPStatus.SEE_OTHER)
    forget_known(request)
    return page(request, "recovery.html", codes=codes, to="/profile")


@router.post("/factor/drop")
def drop(request: Request, archive: ArchiveDep, current: Field = "") -> Response:
    """Do without one."""
    return _try(
        request,
        archive,
        lambda session: archive.people.own.drop_factor(session, current, address_of(request)),
        "profile_factor_dropped",
    )


@router.post("/recovery")
def recovery(request: Request, archive: ArchiveDep, current: Field = "") -> Response:
    """New recovery codes."""
    codes: list[str] = []
    answer = _try(
        request,
        archive,
        lambda session: codes.extend(archive.people.own.renew_recovery(session, current, address_of(request))),
        "",
    )
    return page(request, "recovery.html", codes=codes, to="/profile") if codes else answer


@router.post("/sessions")
def sessions(request: Request, archive: ArchiveDep, session: Annotated[int | None, Form()] = None) -> Response:
    """Sign out elsewhere: in one session, or everywhere but here."""
    own = own_session(request)
    if session is None:
        archive.people.own.end_others(own, address_of(request))
    else:
        archive.people.own.end_one(own, session, address_of(request))
    forget_known(request)
    return RedirectResponse("/profile", HTTPStatus.SEE_OTHER)


def _try(request: Request, archive: Archive, act: Callable[[Session], Any], done: str) -> Response:
    try:
        act(own_session(request))
    except BadPassword as error:
        return show(request, archive, faults(error, texts(language_of(request))), HTTPStatus.BAD_REQUEST)
    except Locked:
        return show(request, archive, "sign_in_locked", HTTPStatus.FORBIDDEN)
    except SessionEnded:
        return show(request, archive, "profile_sign_in_again", HTTPStatus.FORBIDDEN)
    except WrongCredentials:
        return show(request, archive, "profile_wrong", HTTPStatus.FORBIDDEN)
    forget_known(request)
    return show(request, archive, done=done)


def own_session(request: Request) -> Session:
    """The session of a browser in which this is asked. Raises `NotFound`."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None or session.kind != "browser":
        raise NotFound("only who has signed in on a page has a profile")
    return session


def show(
    request: Request,
    archive: Archive,
    message: str = "",
    status: int = HTTPStatus.OK,
    done: str = "",
    factor: dict[str, str] | None = None,
) -> Response:
    """The page; `message` is a key of the catalogue, or a text."""
    text = texts(language_of(request))
    session = own_session(request)
    row = archive.people.signing_in.account(session.account)
    return page(
        request,
        "profile.html",
        status,
        session=session,
        roles=[
            (text(f"role_{each.role}"), facility_name(archive, each.facility, text("role_everywhere")))
            for each in session.memberships
        ],
        has_factor=row.factor_at is not None,
        recovery_left=len(row.recovery),
        must_have_factor=archive.people.signing_in.needs_factor(row),
        has_password=bool(row.password_hash),
        passkeys=archive.people.passkeys.of(session.account),
        sessions=archive.people.sessions.of(session.account),
        factor=factor,
        shortest=SHORTEST,
        with_factor=SHORTEST_WITH_FACTOR,
        message=text.get(message) or message,
        done=text.get(done) or "",
        time=lambda at: local_time(at, text.language),
    )


def facility_name(archive: Archive, code: str | None, everywhere: str) -> str:
    """The name of a facility; its code, if it was taken out of the settings."""
    if code is None:
        return everywhere
    facility = archive.peers.facilities.get(code)
    return facility.name if facility else code


def local_time(at: datetime, language: str) -> str:
    """A time as it is in Vietnam, which has one time zone and no summer time."""
    local = at.astimezone(_VIETNAM)
    return local.strftime("%d/%m/%Y %H:%M") if language == "vi" else local.strftime("%Y-%m-%d %H:%M")
