"""Worklist items and performed procedure steps over HTTP, for hospital information systems.

An item is a flat object of DICOM keywords; `Facility`, `Version` and some more are ours. A POST of the same order
(facility, AccessionNumber, RequestedProcedureID, ScheduledProcedureStepID) brings it up to date, so a sender that is
not sure may simply send again.
"""

from __future__ import annotations

from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Body, Header, Query, Request
from starlette.responses import Response

from archive.core import Archive
from archive.people.roles import Right
from archive.standard.uids import check_uid
from archive.worklist.listing import ItemSearch
from archive.worklist.rows import WorklistEntry
from archive.worklist.steps import StepEntry, StepSearch
from config.services import ItemStatus
from viewer_api.deps import ArchiveDep
from viewer_api.etags import versions
from viewer_api.gate import known_caller, needs
from viewer_api.views import scope_for

router = APIRouter(prefix="/worklist", tags=["Worklist"], dependencies=[needs(Right.ORDERS)])

READ_ONLY: Final = frozenset(
    ("Id", "Version", "ClosedBy", "Source", "CreatedAt", "UpdatedAt", "NumberOfStudyRelatedInstances")
)
"""Of an item, what we say of it; ignored when it is sent back."""
_STEP_KEYWORDS: Final = {
    "00400252": "PerformedProcedureStepStatus",
    "00400253": "PerformedProcedureStepID",
    "00080060": "Modality",
    "00400241": "PerformedStationAETitle",
    "00400244": "PerformedProcedureStepStartDate",
    "00400245": "PerformedProcedureStepStartTime",
    "00400250": "PerformedProcedureStepEndDate",
    "00400251": "PerformedProcedureStepEndTime",
    "00400254": "PerformedProcedureStepDescription",
    "00100020": "PatientID",
    "00100010": "PatientName",
}
_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_OBJECT: Final = {"content": {"application/json": {"schema": {"type": "object"}}}}
_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The item; its ETag is its version", **_OBJECT},
    404: {"description": "No such item", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}
_CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    **_FOUND,
    409: {"description": "The change contradicts what is kept", **_PROBLEM},
    412: {"description": "The item no longer has the version of If-Match", **_PROBLEM},
    422: {"description": "Fields are missing or wrong; `errors` names each", **_PROBLEM},
}

Order = Annotated[dict[str, Any], Body(description="DICOM keywords and their values", examples=[{"Facility": "87001"}])]
IfMatch = Annotated[str | None, Header(description="The ETag that the item must have")]
Text = Annotated[str, Query(max_length=64, pattern=r"^[^\x00-\x1f]*$")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]


_PUT: Final[dict[int | str, dict[str, Any]]] = {
    **_CHANGED,
    201: {"description": "The item is new; Location says where it is", **_OBJECT},
}


@router.post("/items", summary="Put an order on the worklist", responses=_PUT, response_class=Response)
def put_item(request: Request, archive: ArchiveDep, order: Order) -> Response:
    """Add an item (201), or bring the one of the same order up to date (200)."""
    if not known_caller(request).may_everywhere(Right.ORDERS):
        known_caller(request).require(Right.ORDERS, str(order.get("Facility", "")))
    entry, new = archive.worklist.put(_without_read_only(order), source="api")
    return _item(entry, HTTPStatus.CREATED if new else HTTPStatus.OK)


@router.get("/items", summary="Search the worklist", response_class=Response, responses={200: _OBJECT})
def search_items(
    request: Request,
    archive: ArchiveDep,
    first: Annotated[date | None, Query(description="Due on this day or later")] = None,
    last: Annotated[date | None, Query(description="Due on this day or earlier")] = None,
    status: Annotated[list[ItemStatus] | None, Query()] = None,
    modality: Text = "",
    station: Text = "",
    facility: Text = "",
    patient_id: Annotated[str, Query(alias="PatientID", max_length=64, pattern=r"^[^\x00-\x1f]*$")] = "",
    accession: Annotated[str, Query(alias="AccessionNumber", max_length=16, pattern=r"^[^\x00-\x1f]*$")] = "",
    study: Annotated[str, Query(alias="StudyInstanceUID", max_length=64, pattern=r"^[0-9.]*$")] = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Items in order of their start; `X-Total-Count` says how many there are."""
    found, total = archive.worklist.search(
        ItemSearch(
            first=first,
            last=last,
            statuses=tuple(status or ()),
            modality=modality,
            station=station,
            facility=facility,
            patient_id=patient_id,
            accession_number=accession,
            study_instance_uid=study,
            limit=limit,
            offset=offset,
        ),
        scope_for(request, Right.ORDERS),
    )
    return _json({"Items": [_shown(entry) for entry in found], "Total": total}, {"X-Total-Count": str(total)})


@router.get("/items/{item}", summary="One item", responses=_FOUND, response_class=Response)
def get_item(
    request: Request, archive: ArchiveDep, item: int, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """The item as it is now."""
    entry = archive.worklist.get(item, scope_for(request, Right.ORDERS))
    if if_none_match is not None and entry.version in (versions(if_none_match) or (entry.version,)):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": _etag(entry)})
    return _item(entry)


@router.put("/items/{item}", summary="Replace an item", responses=_CHANGED, response_class=Response)
def replace_item(request: Request, archive: ArchiveDep, item: int, order: Order, if_match: IfMatch = None) -> Response:
    """All fields are replaced but those that name it, and its status unless given."""
    return _change(request, archive, item, order, if_match, partly=False)


@router.patch("/items/{item}", summary="Change fields of an item", responses=_CHANGED, response_class=Response)
def change_item(request: Request, archive: ArchiveDep, item: int, order: Order, if_match: IfMatch = None) -> Response:
    """Only the given fields are changed; null takes one away (RFC 7396)."""
    return _change(request, archive, item, order, if_match, partly=True)


@router.delete("/items/{item}", summary="Cancel an item", responses=_CHANGED, response_class=Response)
def cancel_item(request: Request, archive: ArchiveDep, item: int, if_match: IfMatch = None) -> Response:
    """Take it off the worklist; it can still be found, and scheduled again by its status."""
    archive.worklist.cancel(item, version=_expected(request, archive, item, if_match))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/steps", summary="Search performed procedure steps", response_class=Response, responses={200: _OBJECT})
def search_steps(
    request: Request,
    archive: ArchiveDep,
    first: date | None = None,
    last: date | None = None,
    state: Literal["", "IN PROGRESS", "COMPLETED", "DISCONTINUED"] = "",
    modality: Text = "",
    facility: Text = "",
    accession: Annotated[str, Query(alias="AccessionNumber", max_length=16, pattern=r"^[^\x00-\x1f]*$")] = "",
    study: Annotated[str, Query(alias="StudyInstanceUID", max_length=64, pattern=r"^[0-9.]*$")] = "",
    item: Annotated[int | None, Query(ge=1, lt=1 << 63, description="That do this worklist item")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """What modalities reported, the newest first, and how many of the announced instances have not arrived."""
    wanted = StepSearch(first, last, state, modality, facility, accession, study, item, limit, offset)
    found, total = archive.performed.search(wanted, scope_for(request, Right.ORDERS))
    return _json({"Steps": [_step(step) for step in found], "Total": total}, {"X-Total-Count": str(total)})


@router.get("/steps/{step}", summary="One performed procedure step", responses=_FOUND, response_class=Response)
def get_step(request: Request, archive: ArchiveDep, step: str) -> Response:
    """The step with its attributes in the DICOM JSON model, and which announced instances have not arrived."""
    entry = archive.performed.get(check_uid(step, "SOP Instance UID"), scope_for(request, Right.ORDERS))
    series = [
        {"SeriesInstanceUID": each.series_instance_uid, "Announced": each.announced, "Missing": each.missing}
        for each in entry.series
    ]
    return _json({**_step(entry), "Series": series, "Attributes": entry.attributes})


# -- parts ------------------------------------------------------------------------------------------------------------


def _change(
    request: Request, archive: Archive, item: int, order: dict[str, Any], if_match: str | None, *, partly: bool
) -> Response:
    version = _expected(request, archive, item, if_match)
    return _item(archive.worklist.change(item, _without_read_only(order), partly=partly, version=version))


def _without_read_only(order: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in order.items() if name not in READ_ONLY}


def _expected(request: Request, archive: Archive, item: int, if_match: str | None) -> int | None:
    """The version that the item must have (RFC 9110 13.1.1); None for any. Raises `NotFound`, `InvalidQuery`.

    An item of another facility is not found, whatever is to be done with it; an item never changes its facility.
    """
    now = archive.worklist.get(item, scope_for(request, Right.ORDERS)).version
    wanted = versions(if_match) if if_match is not None else ()
    if not wanted:
        return None
    # Of several versions, one that it has now; else one that it has not, so that the change is refused.
    return now if now in wanted else wanted[0]


def _etag(entry: WorklistEntry) -> str:
    return f'"{entry.version}"'


def _item(entry: WorklistEntry, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = {"ETag": _etag(entry)}
    if status is HTTPStatus.CREATED:
        headers["Location"] = f"/worklist/items/{entry.id}"
    return _json(_shown(entry), headers, status)


def _shown(entry: WorklistEntry) -> dict[str, Any]:
    return {
        "Id": entry.id,
        **entry.order(),
        "Version": entry.version,
        "ClosedBy": entry.closed_by,
        "Source": entry.source,
        "CreatedAt": entry.created_at,
        "UpdatedAt": entry.updated_at,
        "NumberOfStudyRelatedInstances": entry.image_count,
    }


def _step(step: StepEntry) -> dict[str, Any]:
    values = {keyword: _first(step, key) for key, keyword in _STEP_KEYWORDS.items()}
    return {
        "SOPInstanceUID": step.sop_instance_uid,
        "Facility": step.facility,
        **{keyword: value for keyword, value in values.items() if value is not None},
        "StudyInstanceUIDs": step.study_instance_uids,
        "Items": step.items,
        "CallingAETitle": step.calling_ae_title,
        "Version": step.version,
        "CreatedAt": step.created_at,
        "UpdatedAt": step.updated_at,
        "NumberOfAnnouncedInstances": step.announced,
        "NumberOfMissingInstances": step.missing,
    }


def _first(step: StepEntry, key: str) -> Any:
    values = step.attributes.get(key, {}).get("Value") or [None]
    value = values[0]
    return value.get("Alphabetic", "") if isinstance(value, dict) else value


def _json(body: Any, headers: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK) -> Response:
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(body), status_code=status, headers=kept, media_type="application/json")
