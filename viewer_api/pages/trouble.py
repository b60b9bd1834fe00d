"""What a person sees whose page cannot be given; programs get problem details instead (`viewer_api.problems`)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.responses import Response

from config.logs import correlation_id
from viewer_api.pages.rendering import page

_KNOWN: Final = {
    HTTPStatus.FORBIDDEN: "trouble_403",
    HTTPStatus.NOT_FOUND: "trouble_404",
    HTTPStatus.SERVICE_UNAVAILABLE: "trouble_503",
}


def trouble_page(request: Request, status: int) -> Response | None:
    """The page for an answer of this status; None where there is none, and the answer stays as it is."""
    key = _KNOWN.get(HTTPStatus(status))
    if key is None:
        return None
    return page(request, "trouble.html", status, what=key, correlation=correlation_id())
