"""What all pages share: templates, static files, headers."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from archive.people.roles import Right
from archive.people.sessions import Session
from archive.rejection.causes import View
from viewer_api.gate import known_caller
from viewer_api.pages.language import LANGUAGES, Texts, language_of, remember, texts

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_PLACES: Final[tuple[tuple[str, str, tuple[Right, ...]], ...]] = (
    ("/", "studies_title", (Right.VIEW,)),
    ("/worklist", "worklist_title", (Right.ORDERS,)),
    ("/reports", "reports_title", (Right.REPORT,)),
    ("/links", "links_title", (Right.DELIVER, Right.GRANTS)),
    ("/shared", "share_title", (Right.SHARE, Right.GRANTS)),
    ("/emergency", "emergency_title", (Right.BREAK_GLASS,)),
    ("/accounts", "accounts_title", (Right.ACCOUNTS,)),
    ("/peers", "peers_title", (Right.PEERS,)),
    ("/dashboard", "dash_title", (Right.STATISTICS,)),
    ("/tt54", "tt54_title", (Right.STATISTICS,)),
    ("/queues", "queues_title", (Right.OPERATE,)),
    ("/messages", "messages_title", (Right.OPERATE,)),
    ("/persons", "persons_title", (Right.IDENTITY,)),
    ("/hidden", "hidden_title", (Right.REJECT,)),
    ("/audit", "audit_title", (Right.AUDIT,)),
    ("/index/reports", "figure_reports_title", (Right.STATISTICS,)),
)
"""The pages that are reached from everywhere: address, title, and the rights of which each needs one."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)


def page(request: Request, template: str, status: int = HTTPStatus.OK, **values: Any) -> Response:
    """A page in the language of the reader."""
    text = texts(language_of(request))
    content = (
        _environment()
        .get_template(template)
        .render(
            t=text,
            other_language=next(language for language in LANGUAGES if language != text.language),
            asset=_asset,
            places=_places(request),
            reader=_reader(request),
            **values,
        )
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY,
        "Content-Language": text.language,
        # With "no-referrer", a form would not say that it comes from our own page.
        "Referrer-Policy": "same-origin",
    }
    response = Response(content, status_code=status, headers=headers, media_type="text/html; charset=utf-8")
    remember(response, request)
    return response


def _places(request: Request) -> list[tuple[str, str]]:
    """The pages that the reader may open: the address of each, and the name of its title."""
    archive, caller = request.app.state.archive, known_caller(request)
    shut = set() if View.EVERYTHING in archive.settings.web.views else {"/hidden"}
    places = [place for place in _PLACES if place[0] not in shut]
    return [(path, title) for path, title, rights in places if any(caller.may(right) for right in rights)]


def first_place(request: Request) -> str:
    """Where to begin for who has no right to the first page."""
    return next((path for path, _ in _places(request)), "/profile")


class Reader(NamedTuple):
    """Who is signed in, as the head of each page shows it."""

    name: str
    where: str


def _reader(request: Request) -> Reader | None:
    """None if nobody is signed in by a session."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None or known_caller(request).session is None:
        return None
    facilities = request.app.state.archive.peers.facilities
    codes = sorted({each.facility for each in session.memberships if each.facility is not None})
    names = [facilities[code].name if code in facilities else code for code in codes]
    return Reader(session.display_name, ", ".join(names))


def text_page(template: str, text: Texts, **values: Any) -> str:
    """A page that is no answer to a request, but a file."""
    return _environment().get_template(template).render(t=text, **values)


@lru_cache(maxsize=1)
def fingerprints() -> dict[str, str]:
    """The files that are given out, and a short digest of each."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in sorted(STATIC.iterdir())}


def _asset(name: str) -> str:
    return f"/static/{name}?v={fingerprints()[name]}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
