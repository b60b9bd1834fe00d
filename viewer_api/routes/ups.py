"""UPS-RS: workitems (PS3.18 11.4 to 11.9). Who is told of them is in `ups_events`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import InvalidQuery, NotPermitted
from archive.people.roles import Right
from archive.standard.uids import is_uid
from viewer_api.addresses import DICOMWEB, dicomweb_root, warning
from viewer_api.datasets import dataset_list, negotiate_list, negotiate_one, one_dataset, page_headers
from viewer_api.deps import ArchiveDep
from viewer_api.etags import versions
from viewer_api.gate import needs
from viewer_api.payload import OptionalPayload, Payload
from viewer_api.query_params import parse_workitem_query
from viewer_api.routes.qido import PARAMETERS
from viewer_api.routes.qido import RESPONSES as FOUND
from viewer_api.same_origin import require_same_origin
from viewer_api.views import FACILITY_HEADER, scope_for

router = APIRouter(prefix=f"{DICOMWEB}/workitems", tags=["UPS-RS"], dependencies=[needs(Right.WORKITEMS)])

_CHANGES: Final = [Depends(require_same_origin)]
_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_DATASET: Final = {"application/dicom+json": {"schema": {"type": "object"}}}
_GIVEN: Final = {**_DATASET, "application/dicom+xml": {"schema": {"type": "string", "format": "binary"}}}
_BODY: Final = {"requestBody": {"required": True, "content": _GIVEN}}
_WARNING: Final = {"Warning": {"description": "299, with what is to be known", "schema": {"type": "string"}}}
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "Attributes or the Transaction UID are missing or wrong", "headers": _WARNING, **_PROBLEM},
    404: {"description": "No such workitem", **_PROBLEM},
    409: {"description": "Not possible in the state that the workitem has", "headers": _WARNING, **_PROBLEM},
    413: {"description": "The body is too large", **_PROBLEM},
    415: {"description": "The body is neither in the DICOM JSON model nor in XML", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}


def _parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


def require_workitem(request: Request, archive: Archive, workitem: str) -> None:
    """Raise `NoSuchWorkitem` for a workitem of another facility; which facility it is of never changes."""
    scope = scope_for(request, Right.WORKITEMS)
    if scope.facilities is not None:
        archive.ups.workitems.get(workitem, scope)


def _facility(request: Request) -> str:
    """Whose work a new workitem is. Raises `NotPermitted` for a caller of several facilities: they have to say which.

    Nothing in a workitem says so, and what nobody owns nobody would see.
    """
    where = scope_for(request, Right.WORKITEMS).facilities
    if where is None:
        return request.headers.get(FACILITY_HEADER, "")
    given = request.headers.get(FACILITY_HEADER, next(iter(where)) if len(where) == 1 else "")
    if given not in where:
        raise NotPermitted(f"{FACILITY_HEADER} has to name the facility whose workitem this is")
    return given


def _uid_of_query(request: Request, *names: str) -> str:
    """A UID given as the query itself (``?1.2.3``, PS3.18 11.4.1) or by name; empty if there is none."""
    found = []
    for name, value in request.query_params.multi_items():
        if name.lower() in names:
            found.append(value)
        elif not value and is_uid(name):
            found.append(name)
        elif name not in ("accept", "charset"):
            raise InvalidQuery(f"{name[:64]!a} is not a parameter of this transaction")
    if len(set(found)) > 1:
        raise InvalidQuery("more than one UID is given")
    return found[0] if found else ""


@router.post(
    "",
    summary="Create a workitem",
    status_code=201,
    response_class=Response,
    dependencies=_CHANGES,
    responses={201: {"description": "Made; Location says where it is", "headers": _WARNING}, **_REFUSED},
    openapi_extra={**_BODY, "parameters": [_parameter("workitem", "The UID that it is to have, if not a new one.")]},
)
def create_workitem(request: Request, archive: ArchiveDep, payload: Payload) -> Response:
    """Put a workitem on the worklist, SCHEDULED (11.4)."""
    uid = _uid_of_query(request, "workitem", "affectedsopinstanceuid")
    made = archive.ups.workitems.create(payload, uid, _facility(request))
    address = f"{dicomweb_root(request)}/workitems/{made.uid}"
    headers = {"Location": address, "Content-Location": address}
    if made.added:
        headers["Warning"] = warning(request, "The Workitem was created with modifications.")
    return Response(status_code=201, headers=headers)


@router.get(
    "",
    summary="Search for workitems",
    response_class=Response,
    responses=FOUND,
    openapi_extra={"parameters": PARAMETERS},
)
def search_workitems(request: Request, archive: ArchiveDep) -> Response:
    """Workitems by their attributes, in order of their start; keys within sequences are written with dots (11.9)."""
    form = negotiate_list(request)
    query = parse_workitem_query(request.query_params.multi_items())
    result = archive.ups.workitems.search(query, scope_for(request, Right.WORKITEMS))
    return dataset_list(result.matches, form, page_headers(request, result, query.offset))


@router.get(
    "/{workitem}",
    summary="Retrieve a workitem",
    response_class=Response,
    responses={
        200: {
            "description": "The workitem without its Transaction UID; its ETag is its version",
            "content": _GIVEN,
        },
        406: {"description": "Only JSON and XML can be given", **_PROBLEM},
        **{status: _REFUSED[status] for status in (400, 404, 503)},
    },
)
def retrieve_workitem(request: Request, archive: ArchiveDep, workitem: str) -> Response:
    """The workitem as it is now (11.5)."""
    form = negotiate_one(request)
    found = archive.ups.workitems.get(workitem, scope_for(request, Right.WORKITEMS))
    headers = {"Cache-Control": "no-cache", "ETag": f'"{found.version}"', "Content-Location": str(request.url)}
    return one_dataset(found.attributes, form, 200, headers)


@router.post(
    "/{workitem}",
    summary="Update a workitem",
    response_class=Response,
    dependencies=_CHANGES,
    responses={
        200: {"description": "Changed"},
        412: {"description": "It has no longer the version of If-Match", **_PROBLEM},
        **_REFUSED,
    },
    openapi_extra={**_BODY, "parameters": [_parameter("transaction-uid", "That of a workitem that is IN PROGRESS.")]},
)
def update_workitem(
    request: Request,
    archive: ArchiveDep,
    workitem: str,
    payload: Payload,
    if_match: Annotated[str | None, Header(description="The ETag that it must have")] = None,
) -> Response:
    """Change attributes of a workitem (11.6)."""
    secret = _uid_of_query(request, "transaction-uid", "transaction", "transactionuid")
    require_workitem(request, archive, workitem)
    archive.ups.workitems.update(workitem, payload, secret, versions(if_match) if if_match is not None else ())
    return Response(headers={"Content-Location": f"{dicomweb_root(request)}/workitems/{workitem}"})


@router.put(
    "/{workitem}/state",
    summary="Change the state of a workitem",
    response_class=Response,
    dependencies=_CHANGES,
    responses={200: {"description": "It has that state", "headers": _WARNING}, **_REFUSED},
    openapi_extra=_BODY,
)
def change_workitem_state(request: Request, archive: ArchiveDep, workitem: str, payload: Payload) -> Response:
    """Claim, complete or cancel a workitem: Procedure Step State and Transaction UID (11.7)."""
    require_workitem(request, archive, workitem)
    if archive.ups.workitems.change_state(workitem, payload):
        return Response()
    state = archive.ups.workitems.get(workitem).attributes["00741000"]["Value"][0]
    text = f"The UPS is already in the requested state of {state}."
    return Response(headers={"Warning": warning(request, text)})


@router.post(
    "/{workitem}/cancelrequest",
    summary="Request that a workitem be canceled",
    status_code=202,
    response_class=Response,
    dependencies=_CHANGES,
    responses={202: {"description": "Canceled, or its subscribers are told", "headers": _WARNING}, **_REFUSED},
    openapi_extra={"requestBody": {"required": False, "content": _GIVEN}},
)
def request_workitem_cancellation(
    request: Request, archive: ArchiveDep, workitem: str, payload: OptionalPayload
) -> Response:
    """A SCHEDULED workitem is canceled; of one IN PROGRESS, its subscribers are told (11.8)."""
    require_workitem(request, archive, workitem)
    if archive.ups.workitems.request_cancel(workitem, payload):
        return Response(status_code=202)
    text = "The UPS is already in the requested state of CANCELED."
    return Response(status_code=202, headers={"Warning": warning(request, text)})
