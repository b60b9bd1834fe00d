"""The cookie of a session (RFC 6265bis): for this host alone, not for scripts, not sent along by other sites."""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from viewer_api.addresses import base_url

_PLAIN: Final = "pacs-session"
_SECURE: Final = "__Host-pacs-session"
"""Of this name, a browser takes no cookie from another host, or by a connection that is not safe."""
_LONGEST: Final = 100


def secret_of(connection: HTTPConnection) -> str:
    """The secret that the request shows; empty if it shows none."""
    secret = connection.cookies.get(_name(connection), "")
    return secret if len(secret) <= _LONGEST and secret.isascii() else ""


def keep(response: Response, request: HTTPConnection, secret: str) -> None:
    """Give the browser the secret of its session, until it is closed; the archive ends it earlier."""
    # Lax, not strict: a link from the hospital's own system opens what it names.
    response.set_cookie(_name(request), secret, path="/", secure=_is_secure(request), httponly=True, samesite="lax")


def forget(response: Response, request: HTTPConnection) -> None:
    """Take it away again, with what the browser has kept of images."""
    response.delete_cookie(_name(request), path="/", secure=_is_secure(request), httponly=True, samesite="lax")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'


def _name(connection: HTTPConnection) -> str:
    return _SECURE if _is_secure(connection) else _PLAIN


def _is_secure(connection: HTTPConnection) -> bool:
    return base_url(connection).startswith(("https:", "wss:"))
