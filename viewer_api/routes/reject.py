"""Delete and reject by the paths of studies, series and instances, as clients of other archives do it.

This archive never deletes. Both make a rejection note (IHE IOCM): what it names is hidden, and can be shown again.
Neither is of the standard; the paths are those of dcm4chee, which viewers know.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import Conflict, InvalidQuery, NotFound, NotPermitted
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.records import Level, Query
from archive.rejection.causes import BY_CODE, TITLES, Hidden, View
from archive.standard.uids import check_uid
from viewer_api.addresses import DICOMWEB, address_of, base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.rights import may_reject
from viewer_api.routes.resources import INSTANCE, SERIES, STUDY
from viewer_api.same_origin import require_same_origin
from viewer_api.views import view_of

router = APIRouter(
    prefix=DICOMWEB,
    tags=["Reject"],
    dependencies=[needs(Right.REJECT), Depends(may_reject), Depends(require_same_origin)],
)

DELETED: Final = "113001"
"""The title of the note for what is deleted: by it, nothing is said against the patient's safety."""
_STUDY_INSTANCE_UID: Final = 0x0020000D
_REJECT: Final = "/reject/{code}"
_OPTIONS: Final[dict[str, Any]] = {
    "response_class": Response,
    "status_code": 204,
    "responses": {
        204: {
            "description": "Hidden, by the rejection note that Location names",
            "headers": {"Location": {"description": "The rejection note", "schema": {"type": "string"}}},
        },
        409: {"description": "The note was stored, and may not hide all of it; `detail` says why"},
    },
}


@router.delete(STUDY, name="delete_study", summary="Hide a study", **_OPTIONS)
def delete_study(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Hide a study by a rejection note; its objects stay, and it can be shown again."""
    return _delete(request, archive, study)


@router.delete(SERIES, name="delete_series", summary="Hide a series", **_OPTIONS)
def delete_series(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """Hide a series by a rejection note."""
    return _delete(request, archive, study, series)


@router.delete(INSTANCE, name="delete_instance", summary="Hide an instance", **_OPTIONS)
def delete_instance(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """Hide an instance by a rejection note."""
    return _delete(request, archive, study, series, instance)


@router.post(STUDY + _REJECT, name="reject_study", summary="Reject a study", **_OPTIONS)
def reject_study(request: Request, archive: ArchiveDep, study: str, code: str) -> Response:
    """Hide a study for a reason: a document title of IOCM, such as `113001^DCM`."""
    return _reject(request, archive, _title(archive, code), study)


@router.post(SERIES + _REJECT, name="reject_series", summary="Reject a series", **_OPTIONS)
def reject_series(request: Request, archive: ArchiveDep, study: str, series: str, code: str) -> Response:
    """Hide a series for a reason."""
    return _reject(request, archive, _title(archive, code), study, series)


@router.post(INSTANCE + _REJECT, name="reject_instance", summary="Reject an instance", **_OPTIONS)
def reject_instance(
    request: Request, archive: ArchiveDep, study: str, series: str, instance: str, code: str
) -> Response:
    """Hide an instance for a reason."""
    return _reject(request, archive, _title(archive, code), study, series, instance)


def _delete(
    request: Request, archive: Archive, study: str, series: str | None = None, instance: str | None = None
) -> Response:
    """As `_reject`; what is hidden already is deleted already, as with clients that reject first."""
    try:
        return _reject(request, archive, DELETED, study, series, instance)
    except NotFound:
        _check(archive, known_caller(request), View.EVERYTHING, (study, series, instance))
        return Response(status_code=204)


def _reject(
    request: Request, archive: Archive, code: str, study: str, series: str | None = None, instance: str | None = None
) -> Response:
    caller = known_caller(request)
    _check(archive, caller, view_of(request), (study, series, instance))
    address = address_of(request)
    receipt = archive.rejections.reject(
        study,
        series=series,
        instances=None if instance is None else [instance],
        code=code,
        who=f"DICOMweb {address}".strip() if caller.kind is Kind.ANYBODY else caller.name,
        why=f"{request.method} over HTTP",
        scope=caller.scope(right=Right.REJECT),
    )
    if receipt.unmet:
        raise Conflict(receipt.unmet)
    return Response(status_code=204, headers={"Location": f"{base_url(request)}/rejections/{receipt.sop_instance_uid}"})


def _check(archive: Archive, caller: Caller, view: View, names: tuple[str, str | None, str | None]) -> None:
    """Whether it is there, and of a facility for which the caller may reject: what was shared is not theirs to hide.

    Raises `InvalidUID`, `NotFound`, `NotPermitted`.
    """
    for uid, keyword in zip(names, ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), strict=True):
        if uid is not None:
            check_uid(uid, keyword)
    scope = caller.scope(view, Right.REJECT)
    archive.locate(*names, scope)
    study = Query(Level.STUDY, {_STUDY_INSTANCE_UID: names[0]})
    for owner in archive.search(study, scope).owners:
        caller.require(Right.REJECT, owner)


def _title(archive: Archive, given: str) -> str:
    """The code of a document title, ``113001^DCM`` or without the scheme. Raises `InvalidQuery`, `NotPermitted`."""
    # Some clients encode the ^ twice.
    code, _, scheme = unquote(given).strip().partition("^")
    if code not in BY_CODE or scheme not in ("DCM", ""):
        names = ", ".join(f"{title.code}^DCM ({title.meaning})" for title in TITLES)
        raise InvalidQuery(f"the code of a rejection is one of {names}")
    if BY_CODE[code].cause is Hidden.EXPIRED and not archive.settings.ingest.expiry_notes:
        raise NotPermitted(f"{code}^DCM hides nothing here: ingest.expiry_notes")
    return code
