"""The cookie of a session (RFC 6265bis): for this host alone, not for scripts, not sent along by other sites."""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from viewer_api.addresses import base_url

_SESSION: Final = "pacs-session"
_SAFELY: Final = "__Host-"
"""Of such a name, a browser takes no cookie from another host, or by a connection that is not safe."""
_LONGEST: Final = 100
_TICKET: Final = "pacs-begun"


def ticket_of(connection: HTTPConnection) -> str:
    """What the browser keeps of a sign-in elsewhere that it has begun; empty if there is none."""
    return connection.cookies.get(_of_host(connection, _TICKET), "")


def keep_ticket(response: Response, request: HTTPConnection, ticket: str, seconds: float) -> None:
    """Let the browser bring it back. Lax: it comes back by a link of the other site."""
    response.set_cookie(
        _of_host(request, _TICKET),
        ticket,
        max_age=int(seconds),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",
    )


def forget_ticket(response: Response, request: HTTPConnection) -> None:
    """It is used up."""
    name, secure = _of_host(request, _TICKET), _is_secure(request)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


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
    return _of_host(connection, _SESSION)


def _of_host(connection: HTTPConnection, name: str) -> str:
    return _SAFELY + name if _is_secure(connection) else name


def _is_secure(connection: HTTPConnection) -> bool:
    return base_url(connection).startswith(("https:", "wss:"))
