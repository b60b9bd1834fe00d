"""Errors as HTTP: one total table, answered as problem details (RFC 9457).

The same table gives the Failure Reason (0008,1197) of an instance that STOW-RS could not store (PS3.18 I.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from archive import errors
from archive.ups.errors import BadWorkitem, StateConflict
from config.logs import correlation_id
from viewer_api.addresses import DICOMWEB, warning
from viewer_api.audited import refused
from viewer_api.sign_in.returning import sign_in_address, wants_page

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 10
"""Long enough for a database to fail over, short enough for a gateway not to fill its queue."""


class RequestTooLarge(Exception):
    """The body is larger than the settings allow. `limit` is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is larger than {limit} bytes")
        self.limit = limit


class SignInNeeded(Exception):
    """Nobody has signed in, and this is not for everybody."""


class UnsupportedMediaType(Exception):
    """The body is of a media type that the resource does not take; the message says which it takes."""


class Problem(NamedTuple):
    """How one domain error looks from outside."""

    status: HTTPStatus
    title: str
    failure_reason: int


# PS3.18 I.2.2 and PS3.4 B.2.3: Cxxx cannot understand, A7xx out of resources, A9xx dataset does not match SOP class,
# 0110 processing failure, 0111 duplicate SOP instance, 0122 SOP class not supported, 0124 not authorized,
# C122 referenced transfer syntax not supported.
PROBLEMS: Final[dict[type[errors.ArchiveError], Problem]] = {
    errors.ArchiveError: Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", 0x0110),
    errors.BadObject: Problem(HTTPStatus.BAD_REQUEST, "Object refused", 0xC000),
    errors.CannotParse: Problem(HTTPStatus.BAD_REQUEST, "Object cannot be read", 0xC000),
    errors.InvalidUID: Problem(HTTPStatus.BAD_REQUEST, "Invalid UID", 0xC000),
    errors.SOPClassMismatch: Problem(HTTPStatus.CONFLICT, "Object is not what was announced", 0xA900),
    errors.UnsupportedSOPClass: Problem(HTTPStatus.CONFLICT, "SOP class not supported", 0x0122),
    errors.UnsupportedTransferSyntax: Problem(HTTPStatus.CONFLICT, "Transfer syntax not supported", 0xC122),
    errors.ObjectTooLarge: Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Object too large", 0xC000),
    errors.ConflictingDuplicate: Problem(HTTPStatus.CONFLICT, "Stored with other content", 0x0111),
    errors.InvalidQuery: Problem(HTTPStatus.BAD_REQUEST, "Query cannot be understood", 0x0110),
    errors.TooManyMatches: Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Query too broad", 0x0110),
    errors.NotFound: Problem(HTTPStatus.NOT_FOUND, "Not found", 0x0110),
    errors.Forgotten: Problem(HTTPStatus.GONE, "Not kept any more", 0x0110),
    errors.NotAcceptable: Problem(HTTPStatus.NOT_ACCEPTABLE, "Not available in this form", 0x0110),
    errors.NotPermitted: Problem(HTTPStatus.FORBIDDEN, "Not permitted", 0x0124),
    errors.Withdrawn: Problem(HTTPStatus.REQUEST_TIMEOUT, "Request withdrawn", 0x0110),
    errors.InvalidItem: Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Worklist item not valid", 0x0110),
    errors.Conflict: Problem(HTTPStatus.CONFLICT, "Contradicts what is kept", 0x0110),
    errors.Outdated: Problem(HTTPStatus.PRECONDITION_FAILED, "Changed meanwhile", 0x0110),
    errors.Unavailable: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Try again later", 0xA700),
    errors.IndexUnavailable: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Index unavailable", 0xA700),
    errors.StoreUnavailable: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Store unavailable", 0xA700),
}
# Errors of an area that the standard wants answered in another way than their kind.
_OF_AREAS: Final[dict[type[errors.ArchiveError], Problem]] = {
    BadWorkitem: Problem(HTTPStatus.BAD_REQUEST, "Workitem refused", 0x0110),
}


def problem_of(error: errors.ArchiveError | type[errors.ArchiveError]) -> Problem:
    """The row of the table for this error or kind of error, or that of its nearest ancestor."""
    kind = error if isinstance(error, type) else type(error)
    known = PROBLEMS | _OF_AREAS
    return next(known[cls] for cls in kind.__mro__ if cls in known)


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    kind: str = "about:blank",
    headers: dict[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> Response:
    """A problem details document; `correlation` is what support needs to find the log lines. `more` are extensions."""
    body = {"type": kind, "title": title, "status": int(status), "detail": detail, "correlation": correlation_id()}
    body |= more or {}
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def archive_problem(error: errors.ArchiveError) -> Response:
    """The answer to a domain error."""
    problem = problem_of(error)
    # The base class is raised by nobody; a subclass missing from the table must not tell more than 500 does.
    detail = str(error) if problem.status != HTTPStatus.INTERNAL_SERVER_ERROR else "Something went wrong on our side."
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    more = None
    if isinstance(error, errors.InvalidItem) and error.faults:
        more = {"errors": [{"field": field, "detail": text} for field, text in error.faults.items()]}
    return problem_response(problem.status, problem.title, detail, kind=_kind(type(error)), headers=headers, more=more)


def internal_problem() -> Response:
    """The answer to anything unforeseen: nothing of it is told, the log has it under the correlation id."""
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "Something went wrong on our side; the correlation id finds it in the log.",
    )


def too_large_problem(limit: int) -> Response:
    """The answer to a request body over the limit."""
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return problem_response(status, "Request too large", f"The request body is larger than {limit} bytes.")


def install(app: FastAPI) -> None:
    """Make the application answer every error with problem details."""

    def on_archive_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ArchiveError)
        response = archive_problem(error)
        if isinstance(error, errors.NotPermitted | errors.NotFound):
            refused(request, response.status_code, str(error))
        if isinstance(error, BadWorkitem | StateConflict) and error.warning:
            response.headers["Warning"] = warning(request, error.warning)
        return _for_people(request, response.status_code) or response

    def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers) if error.headers else None
        told = problem_response(error.status_code, _phrase(error.status_code), str(error.detail), headers=headers)
        return _for_people(request, error.status_code) or told

    def on_validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(HTTPStatus.BAD_REQUEST, "Bad request", _sentences(error))

    def on_too_large(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestTooLarge)
        return too_large_problem(error.limit)

    def on_unsupported(_: Request, error: Exception) -> Response:
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        return problem_response(status, _phrase(status), str(error))

    def on_sign_in_needed(request: Request, _: Exception) -> Response:
        if wants_page(request):
            headers = {"Cache-Control": "no-store"}
            return RedirectResponse(sign_in_address(request), HTTPStatus.SEE_OTHER, headers)
        refused(request, HTTPStatus.UNAUTHORIZED, "not signed in")
        return problem_response(
            HTTPStatus.UNAUTHORIZED,
            _phrase(HTTPStatus.UNAUTHORIZED),
            "Sign in first, or send an access token.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    app.add_exception_handler(SignInNeeded, on_sign_in_needed)
    app.add_exception_handler(errors.ArchiveError, on_archive_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(RequestTooLarge, on_too_large)
    app.add_exception_handler(UnsupportedMediaType, on_unsupported)


def _for_people(request: Request, status: int) -> Response | None:
    """A page for who opens one; what is below the prefixes of programs and of patients has its own words."""
    if not wants_page(request) or request.url.path.startswith((DICOMWEB, "/s/")):
        return None
    show: Callable[[Request, int], Response | None] = request.app.state.trouble_page
    return show(request, status)


def _kind(cls: type[errors.ArchiveError]) -> str:
    """A stable name of the problem: ``CannotParse`` is ``urn:pacs:problem:cannot-parse``."""
    words = "".join(
        f"-{c.lower()}" if c.isupper() and not before.isupper() else c.lower()
        for before, c in zip(" " + cls.__name__, cls.__name__, strict=False)
    )
    return "urn:pacs:problem:" + words.lstrip("-")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _sentences(error: RequestValidationError) -> str:
    """Which parameter is wrong and why; never its value, which may be a patient's."""
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors())
