"""The pages of the sign-in: name and password, second factor, and what must be put right before the archive opens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import segno
from anyio import to_thread
from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, Unavailable
from archive.people import factor
from archive.people.errors import BadPassword, Locked, SessionEnded, WrongCredentials
from archive.people.passwords import SHORTEST, SHORTEST_WITH_FACTOR
from archive.people.sessions import Session
from archive.people.signing_in import Step
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN, caller_of, known_caller
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.sign_in.cookies import forget, keep, secret_of
from viewer_api.sign_in.finding import SessionSignIn
from viewer_api.sign_in.leaving import way_out
from viewer_api.sign_in.returning import SIGN_IN, address, safe

router = APIRouter(include_in_schema=False, dependencies=[OPEN])

_LONGEST_FIELD: Final = 1000
To = Annotated[str, Form(max_length=4 * _LONGEST_FIELD)]
Field = Annotated[str, Form(max_length=_LONGEST_FIELD)]


@router.get(SIGN_IN)
def sign_in(request: Request, archive: ArchiveDep, to: str = "") -> Response:
    """The form for what is missing now."""
    if archive.settings.access.sign_in == "off":
        return go(safe(to))
    session = half_way(request, archive)
    if session is not None and session.stage == "open":
        return go(safe(to))
    return form(request, archive, session, to)


@router.post(SIGN_IN)
def begin(request: Request, archive: ArchiveDep, name: Field = "", password: Field = "", to: To = "") -> Response:
    """Name and password. A session that the browser has ends: nobody else can have given it to the browser."""
    host, throttle = address_of(request), request.app.state.throttle
    if throttle.is_shut(host):
        return form(request, archive, None, to, "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        step = archive.people.signing_in.by_password(name, password, host, request.headers.get("user-agent", ""))
    except (WrongCredentials, Locked) as error:
        throttle.failed(host)
        return form(request, archive, None, to, _message(error), HTTPStatus.FORBIDDEN)
    except Unavailable as error:
        return form(request, archive, None, to, "error_unavailable", problem_of(error).status)
    end_before(request, archive)
    return go_on(request, step, to)


@router.post("/sign-in/code")
def code(request: Request, archive: ArchiveDep, code: Field = "", to: To = "") -> Response:
    """The code of the second factor."""
    session = half_way(request, archive)
    if session is None or session.stage != "code":
        return go(address(SIGN_IN, to))
    try:
        step = archive.people.signing_in.by_code(session, code, address_of(request))
    except (WrongCredentials, Locked, SessionEnded) as error:
        request.app.state.throttle.failed(address_of(request))
        left = session if isinstance(error, WrongCredentials) else None
        return form(request, archive, left, to, _message(error), HTTPStatus.FORBIDDEN)
    return go_on(request, step, to)


@router.post("/sign-in/password")
def password(request: Request, archive: ArchiveDep, new: Field = "", again: Field = "", to: To = "") -> Response:
    """An own password in place of a one-time one or an old one."""
    session = half_way(request, archive)
    if session is None or session.stage != "password":
        return go(address(SIGN_IN, to))
    if new != again:
        return form(request, archive, session, to, "password_differs", HTTPStatus.BAD_REQUEST)
    try:
        archive.people.own.change_password(session, None, new, address_of(request))
        step = archive.people.signing_in.go_on(session, address_of(request))
    except BadPassword as error:
        text = texts(language_of(request))
        return form(request, archive, session, to, faults(error, text), HTTPStatus.BAD_REQUEST)
    except SessionEnded as error:
        return form(request, archive, None, to, _message(error), HTTPStatus.FORBIDDEN)
    return go_on(request, step, to)


@router.post("/sign-in/factor")
def enrol(request: Request, archive: ArchiveDep, code: Field = "", to: To = "") -> Response:
    """The first code of a new second factor. Answers with the recovery codes."""
    session = half_way(request, archive)
    if session is None or session.stage != "enrol":
        return go(address(SIGN_IN, to))
    try:
        codes = archive.people.own.prove_factor(session, code, address_of(request))
        step = archive.people.signing_in.go_on(session, address_of(request))
    except WrongCredentials:
        return form(request, archive, session, to, "factor_wrong", HTTPStatus.FORBIDDEN)
    except (Locked, SessionEnded) as error:
        return form(request, archive, None, to, _message(error), HTTPStatus.FORBIDDEN)
    response = page(request, "recovery.html", codes=codes, to=safe(to))
    keep(response, request, step.secret)
    return response


@router.post("/sign-out")
async def sign_out(request: Request, archive: ArchiveDep) -> Response:
    """End the session, also one that is half way."""
    await caller_of(request)
    session: Session | None = getattr(request.state, "session", None)
    caller, elsewhere = known_caller(request), ""
    if caller.session is not None:
        elsewhere = await to_thread.run_sync(way_out, request, archive, caller.session)
        await to_thread.run_sync(archive.people.signing_in.sign_out, caller)
    elif session is not None:
        await to_thread.run_sync(archive.people.sessions.end, session.account, session.id)
    forget_known(request)
    # Not by a redirect: our policy lets forms lead to nobody else.
    response = page(request, "signed_out.html", elsewhere=elsewhere) if elsewhere else go(SIGN_IN)
    forget(response, request)
    return response


def end_before(request: Request, archive: Archive) -> None:
    """End the session that the browser has: somebody else's, or one that was planted."""
    if (before := half_way(request, archive)) is not None:
        archive.people.sessions.end(before.account, before.id)
        forget_known(request)


def forget_known(request: Request) -> None:
    """Have everybody looked up anew, because sessions or accounts were changed."""
    finder = request.app.state.sign_in
    if isinstance(finder, SessionSignIn):
        finder.forget_all()


def faults(error: BadPassword, text: Texts) -> str:
    """What is wrong with a password, in sentences."""
    values = {"shortest": SHORTEST, "with_factor": SHORTEST_WITH_FACTOR}
    return " ".join(text(f"password_fault_{key}", **values) for key in error.keys)


def qr_code(secret: bytes, name: str, issuer: str) -> dict[str, str]:
    """What an authenticator needs: as a picture, and to be typed."""
    picture = segno.make(factor.address(secret, name, issuer), error="m")
    typed = factor.text(secret)
    return {
        "picture": picture.svg_data_uri(scale=4, border=4, light="#fff"),
        "secret": " ".join(typed[at : at + 4] for at in range(0, len(typed), 4)),
    }


def half_way(request: Request, archive: Archive) -> Session | None:
    """The session that the browser has, whatever is still missing in it."""
    secret = secret_of(request)
    return archive.people.sessions.find(secret, "browser") if secret else None


def form(
    request: Request,
    archive: Archive,
    session: Session | None,
    to: str,
    message: str = "",
    status: int = HTTPStatus.OK,
) -> Response:
    """The page for what is missing now; `message` is a key of the catalogue, or a text."""
    text = texts(language_of(request))
    values: dict[str, Any] = {"stage": session.stage if session else "begin", "to": safe(to), "factor": None}
    values |= {"has_codes": True, "has_passkey": True}
    if session is not None and session.stage == "code":
        row = archive.people.signing_in.account(session.account)
        values |= {"has_codes": row.factor_at is not None, "has_passkey": row.has_passkey}
    if session is not None and session.stage == "enrol":
        secret, name = archive.people.own.offer_factor(session)
        values["factor"] = qr_code(secret, name, text("brand"))
    return page(
        request,
        "sign_in.html",
        status,
        message=text.get(message) or message,
        shortest=SHORTEST,
        with_factor=SHORTEST_WITH_FACTOR,
        providers=[(each.name, each.label) for each in archive.settings.oidc],
        **values,
    )


def go_on(request: Request, step: Step, to: str) -> Response:
    """To the next step of a sign-in, or to where somebody wanted to go."""
    response = go(safe(to) if step.stage == "open" else address(SIGN_IN, to))
    keep(response, request, step.secret)
    return response


def go(path: str) -> Response:
    """To another of our addresses."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _message(error: ArchiveError) -> str:
    if isinstance(error, Locked):
        return "sign_in_locked"
    return "sign_in_ended" if isinstance(error, SessionEnded) else "sign_in_wrong"
