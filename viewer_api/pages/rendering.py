"""What all pages share: templates, static files, headers."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from archive.rejection.causes import View
from viewer_api.pages.language import LANGUAGES, language_of, remember, texts

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_PLACES: Final[tuple[tuple[str, str], ...]] = (
    ("/", "studies_title"),
    ("/worklist", "worklist_title"),
    ("/links", "links_title"),
    ("/queues", "queues_title"),
    ("/hidden", "hidden_title"),
)
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
            **values,
        )
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY,
        "Content-Language": text.language,
    }
    response = Response(content, status_code=status, headers=headers, media_type="text/html; charset=utf-8")
    remember(response, request)
    return response


def _places(request: Request) -> list[tuple[str, str]]:
    """The pages that the reader may open: the address of each, and the name of its title."""
    allowed = request.app.state.archive.settings.web.views
    return [place for place in _PLACES if place[0] != "/hidden" or View.EVERYTHING in allowed]


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
