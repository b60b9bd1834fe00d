"""Which view of the archive a request has: what of the rejected and quarantined it sees."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request

from archive.core import Archive
from archive.errors import InvalidQuery, NotPermitted
from archive.people.roles import Right
from archive.records import Scope
from archive.rejection.causes import View
from viewer_api.gate import known_caller

VIEW: Final = "view"
FACILITY_HEADER: Final = "X-Facility"
"""Says for which of their facilities a caller stores something, where nothing in it says so."""
PARAMETER: Final[dict[str, Any]] = {
    "name": VIEW,
    "in": "query",
    "description": "What of the hidden to show, where the settings allow it: `clinical`, `quality` or `everything`.",
    "schema": {"type": "string", "enum": [view.value for view in View]},
}


def scope_of(request: Request) -> Scope:
    """What the request may see. Raises `InvalidQuery` (400), or `NotPermitted` (403) for a view not in the settings."""
    return known_caller(request).scope(view_of(request))


def copying_scope_of(request: Request) -> Scope:
    """What the request may take away; raises the same."""
    return known_caller(request).scope(view_of(request), Right.COPY)


def feed_scope_of(request: Request) -> Scope:
    """Of whose studies the request may follow the changes; raises the same."""
    return known_caller(request).scope(view_of(request), Right.FEED)


def scope_for(request: Request, right: Right) -> Scope:
    """Where the caller has a right that is not about looking at images, such as orders. Raises `NotPermitted`."""
    return known_caller(request).scope(right=right)


def view_suffix(request: Request) -> str:
    """What the addresses in an answer must end with, so that they lead to the same view."""
    return f"?{VIEW}={view_of(request)}" if request.query_params.get(VIEW) else ""


def view_of(request: Request) -> View:
    """The view that the request asks for, or the one of the settings. Raises as `scope_of` does."""
    archive: Archive = request.app.state.archive
    allowed = archive.settings.web.views
    name = request.query_params.get(VIEW)
    if not name:
        return View(allowed[0])
    if name not in [view.value for view in View]:
        raise InvalidQuery("view is clinical, quality or everything")
    if name not in allowed:
        raise NotPermitted("this view is not open here")
    return View(name)
