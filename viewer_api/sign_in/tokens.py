"""Tokens for programs: client credentials (RFC 6749 4.4) and revocation (RFC 7009).

A program shows its secret, by HTTP Basic or in the form, or an assertion that it has signed (RFC 7523 2.2).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote_plus

import orjson
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archive.core import Archive
from archive.people.errors import WrongCredentials
from archive.people.signatures import LONGEST
from viewer_api.addresses import address_of, base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN
from viewer_api.sign_in.pages import forget_known

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[OPEN])

Field = Annotated[str, Form(max_length=1000)]


Long = Annotated[str, Form(max_length=LONGEST)]
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Shown(NamedTuple):
    """What a request shows of who sends it, beside HTTP Basic."""

    client: str
    secret: str
    kind: str
    assertion: str


class _Refused(Exception):
    """The request breaks RFC 6749 2.3 or 4.4. The message is one of its error codes."""


@router.post("/token")
def token(
    request: Request,
    archive: ArchiveDep,
    grant_type: Field = "",
    client_id: Field = "",
    client_secret: Field = "",
    client_assertion_type: Field = "",
    client_assertion: Long = "",
) -> Response:
    """A token for a program that proves who it is."""
    shown = _Shown(client_id, client_secret, client_assertion_type, client_assertion)
    try:
        proof = _proof(request, archive, shown)
        if grant_type != "client_credentials":
            raise _Refused("unsupported_grant_type" if grant_type else "invalid_request")
        _not_throttled(request)
        made, seconds = archive.people.programs.token(proof(), address_of(request))
    except _Refused as error:
        return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
    except WrongCredentials:
        return _wrong(request)
    return _json({"access_token": made, "token_type": "Bearer", "expires_in": seconds}, HTTPStatus.OK)


@router.post("/revoke")
def revoke(
    request: Request,
    archive: ArchiveDep,
    token: Field = "",
    client_id: Field = "",
    client_secret: Field = "",
    client_assertion_type: Field = "",
    client_assertion: Long = "",
) -> Response:
    """End a token before its time. What is no token of this program is no error (RFC 7009 2.2)."""
    shown = _Shown(client_id, client_secret, client_assertion_type, client_assertion)
    try:
        proof = _proof(request, archive, shown)
        if not token:
            raise _Refused("invalid_request")
        _not_throttled(request)
        archive.people.programs.revoke(proof(), token, address_of(request))
    except _Refused as error:
        return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
    except WrongCredentials:
        return _wrong(request)
    forget_known(request)
    return _json({}, HTTPStatus.OK)


def _proof(request: Request, archive: Archive, shown: _Shown) -> Callable[[], Any]:
    """What finds out which program it is, by the one way that is used (RFC 6749 2.3). Raises `_Refused`."""
    programs, host = archive.people.programs, address_of(request)
    if not (shown.kind or shown.assertion):
        client, secret = _credentials(request, shown.client, shown.secret)
        return lambda: programs.by_secret(client, secret, host)
    if shown.kind != ASSERTION or not shown.assertion or shown.secret or "authorization" in request.headers:
        raise _Refused("invalid_request")
    base = base_url(request)
    # RFC 7523 3 wants us named; which of our addresses that is, makers read in several ways.
    audiences = (f"{base}/oauth/token", f"{base}{request.url.path}", base, f"{base}/")
    return lambda: programs.by_assertion(shown.assertion, shown.client, audiences, host)


def _credentials(request: Request, client: str, secret: str) -> tuple[str, str]:
    """Name and secret, by HTTP Basic or in the form, not by both (RFC 6749 2.3.1). Raises `_Refused`."""
    header = request.headers.get("authorization", "")
    if not header:
        if not client or not secret:
            raise _Refused("invalid_request")
        return client, secret
    kind, _, given = header.partition(" ")
    if kind.lower() != "basic" or secret:
        raise _Refused("invalid_request")
    try:
        name, colon, password = b64decode(given.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _Refused("invalid_request") from None
    if not colon or (client and client != unquote_plus(name)):
        raise _Refused("invalid_request")
    return unquote_plus(name), unquote_plus(password)


def _not_throttled(request: Request) -> None:
    """Raises `WrongCredentials` without looking, for an address that has failed too often."""
    if request.app.state.throttle.is_shut(address_of(request)):
        raise WrongCredentials


def _wrong(request: Request) -> Response:
    request.app.state.throttle.failed(address_of(request))
    response = _json({"error": "invalid_client"}, HTTPStatus.UNAUTHORIZED)
    response.headers["WWW-Authenticate"] = 'Basic realm="PACS"'
    return response


def _json(content: dict[str, object], status: HTTPStatus) -> Response:
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return Response(orjson.dumps(content), int(status), headers, "application/json")
