"""Back to where somebody wanted to go before signing in, and never to another site."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request

HOME: Final = "/"
SIGN_IN: Final = "/sign-in"
_LONGEST: Final = 2000
_ELSEWHERE: Final = ("/sign-in", "/sign-out", "/s/", "/oauth/", "/static/")


def safe(path: str) -> str:
    """The path, if it is one of ours and a browser cannot take it for anything else; else the first page."""
    if not 0 < len(path) <= _LONGEST or not path.startswith("/") or path[1:2] in ("/", "\\"):
        return HOME
    if "\\" in path or any(not 0x20 < ord(each) < 0x7F for each in path):
        return HOME
    try:
        parts = urlsplit(path)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or path.startswith(_ELSEWHERE):
        return HOME
    return path


def wants_page(request: Request) -> bool:
    """Whether it is a browser that goes to a page, not a script or a program."""
    mode = request.headers.get("sec-fetch-mode", "navigate")
    return mode == "navigate" and "text/html" in request.headers.get("accept", "")


def sign_in_address(request: Request) -> str:
    """Where to sign in, and come back to what was asked for."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return address(SIGN_IN, wanted if request.method in ("GET", "HEAD") else HOME)


def address(page: str, to: str) -> str:
    """A page of the sign-in with the way back."""
    back = safe(to)
    return page if back == HOME else f"{page}?to={quote(back, safe='')}"
