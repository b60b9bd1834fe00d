"""Tokens for programs: client credentials (RFC 6749 4.4) and revocation (RFC 7009)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import unquote_plus

import orjson
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archive.people.errors import WrongCredentials
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN
from viewer_api.sign_in.pages import forget_known

router = APIRouter(prefix="/oauth", include_in_schema=False, dependencies=[OPEN])

_LONGEST: Final = 1000
Field = Annotated[str, Form(max_length=_LONGEST)]


class _Refused(Exception):
    """The request breaks RFC 6749 2.3 or 4.4. The message is one of its error codes."""


@router.post("/token")
def token(
    request: Request, archive: ArchiveDep, grant_type: Field = "", client_id: Field = "", client_secret: Field = ""
) -> Response:
    """A token for a program that shows the secret of its account."""
    try:
        client, secret = _credentials(request, client_id, client_secret)
        if grant_type != "client_credentials":
            raise _Refused("unsupported_grant_type" if grant_type else "invalid_request")
        _not_throttled(request)
        made, seconds = archive.people.programs.token(client, secret, address_of(request))
    except _Refused as error:
        return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
    except WrongCredentials:
        return _wrong(request)
    return _json({"access_token": made, "token_type": "Bearer", "expires_in": seconds}, HTTPStatus.OK)


@router.post("/revoke")
def revoke(
    request: Request, archive: ArchiveDep, token: Field = "", client_id: Field = "", client_secret: Field = ""
) -> Response:
    """End a token before its time. What is no token of this program is no error (RFC 7009 2.2)."""
    try:
        client, secret = _credentials(request, client_id, client_secret)
        if not token:
            raise _Refused("invalid_request")
        _not_throttled(request)
        archive.people.programs.revoke(client, secret, token, address_of(request))
    except _Refused as error:
        return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
    except WrongCredentials:
        return _wrong(request)
    forget_known(request)
    return _json({}, HTTPStatus.OK)


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
