"""The page behind a link by which somebody sets the password of their account; made for a phone."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import Unavailable
from archive.people.errors import BadPassword, SessionEnded, WrongCredentials
from archive.people.passwords import SHORTEST, SHORTEST_WITH_FACTOR
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.sign_in.pages import Field, end_before, faults, go_on

PATH = "/set-up"
router = APIRouter(prefix=PATH, include_in_schema=False, dependencies=[OPEN])


@router.get("/{secret}")
def show(request: Request, archive: ArchiveDep, secret: str) -> Response:
    """The form. To look at it does not use the link up."""
    return _show(request, archive, secret)


@router.post("/{secret}")
def use(request: Request, archive: ArchiveDep, secret: str, new: Field = "", again: Field = "") -> Response:
    """Set the password, and go on into the archive."""
    if new != again:
        return _show(request, archive, secret, "password_differs", HTTPStatus.BAD_REQUEST)
    agent = request.headers.get("user-agent", "")
    try:
        step = archive.people.set_up.use(secret, new, address_of(request), agent)
    except BadPassword as error:
        said = faults(error, texts(language_of(request)))
        return _show(request, archive, secret, said, HTTPStatus.BAD_REQUEST)
    except (SessionEnded, WrongCredentials):
        return _show(request, archive, secret)
    except Unavailable as error:
        return _show(request, archive, secret, "error_unavailable", problem_of(error).status)
    end_before(request, archive)
    return go_on(request, step, "")


def _show(request: Request, archive: Archive, secret: str, message: str = "", status: int = HTTPStatus.OK) -> Response:
    host, throttle = address_of(request), request.app.state.throttle
    text, account = texts(language_of(request)), None
    if throttle.is_shut(host):
        message, status = "sign_in_throttled", HTTPStatus.TOO_MANY_REQUESTS
    else:
        try:
            account = archive.people.set_up.account(secret)
        except SessionEnded:
            throttle.failed(host)
            message, status = "set_up_gone", HTTPStatus.NOT_FOUND
    response = page(
        request,
        "set_up.html",
        status,
        account=account,
        address=f"{PATH}/{secret}",
        message=text.get(message) or message,
        shortest=SHORTEST,
        with_factor=SHORTEST_WITH_FACTOR,
    )
    response.headers["X-Robots-Tag"] = "noindex"
    return response
