"""Requests that change something must come from our own pages, or from programs (OWASP, verifying the origin).

A browser says with every POST from which site it comes; another site cannot make it leave that out or say otherwise. A
program says nothing, and cannot be made to act by a page.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import HTTPConnection

from archive.errors import NotPermitted
from viewer_api.addresses import base_url


def require_same_origin(request: HTTPConnection) -> None:
    """Raise `NotPermitted` for a request or websocket that a browser makes for a page of another site."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = {urlsplit(address).netloc for address in (base_url(request), str(request.base_url))}
    # Browsers name the site only where the connection is safe; then it is the better word of the two.
    by_origin = origin is None or urlsplit(origin).netloc in own
    if not (by_origin if site is None else site in ("same-origin", "none")):
        raise NotPermitted("this can only be asked from a page of the archive")


SameOrigin = Annotated[None, Depends(require_same_origin)]
