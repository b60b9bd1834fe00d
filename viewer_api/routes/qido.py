"""QIDO-RS: search for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.people.roles import Right
from archive.records import DicomJSON, Level
from viewer_api.addresses import DICOMWEB, dicomweb_root
from viewer_api.audited import searched
from viewer_api.datasets import dataset_list, negotiate_list, page_headers
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.query_params import parse_query
from viewer_api.related import PARAMETER as RELATED_PARAMETER
from viewer_api.related import of_persons
from viewer_api.views import PARAMETER, scope_of, view_suffix

router = APIRouter(prefix=DICOMWEB, tags=["QIDO-RS"], dependencies=[needs(Right.VIEW)])

_STUDY_UID: Final = "0020000D"
_SERIES_UID: Final = "0020000E"
_INSTANCE_UID: Final = "00080018"
_RETRIEVE_URL: Final = "00081190"

PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "limit",
        "in": "query",
        "description": "Most results wanted; the server may give fewer and then says so in a Warning header.",
        "schema": {"type": "integer", "minimum": 0},
    },
    {
        "name": "offset",
        "in": "query",
        "description": "Results to skip.",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    },
    {
        "name": "orderby",
        "in": "query",
        "description": "Attributes to order the results by, as keyword or tag, with a `-` before those to begin with "
        "the largest value of. Only attributes that the index has in order; by default, what is newest comes first.",
        "schema": {"type": "array", "items": {"type": "string"}},
        "explode": False,
    },
    {
        "name": "fuzzymatching",
        "in": "query",
        "description": "Match person names without regard to accents and case, on the beginning of any part.",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "emptyvaluematching",
        "in": "query",
        "description": '`false` refuses the value `""`, which otherwise matches what has no value.',
        "schema": {"type": "boolean", "default": True},
    },
    {
        "name": "multiplevaluematching",
        "in": "query",
        "description": "`false` refuses several values with `\\` between them; `true` lets keys repeat, too.",
        "schema": {"type": "boolean"},
    },
    {
        "name": "includefield",
        "in": "query",
        "description": "Attributes to return beside the default ones, as keyword or tag, or `all`.",
        "schema": {"type": "array", "items": {"type": "string"}},
        "explode": True,
    },
    {
        "name": "attributes",
        "in": "query",
        "description": "Matching keys: any supported attribute as keyword or tag, such as `PatientID` or `00100020`; "
        "of items of sequences with dots, such as `RequestAttributesSequence.ScheduledProcedureStepID`.",
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        "style": "form",
        "explode": True,
    },
    PARAMETER,
]
_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_XML: Final = 'multipart/related; type="application/dicom+xml"'
_BINARY: Final = {"type": "string", "format": "binary"}
_MATCHES: Final = {"schema": {"type": "array", "items": {"type": "object"}}}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Matches in the DICOM JSON model, an empty list when there are none",
        "content": {"application/dicom+json": _MATCHES, "application/json": _MATCHES, _XML: {"schema": _BINARY}},
        "headers": {
            "X-Total-Count": {
                "description": "Matches in all, beyond this page; not there when they are too many to be counted",
                "schema": {"type": "integer"},
            },
            "Warning": {"description": "299 when the result was cut off", "schema": {"type": "string"}},
        },
    },
    204: {"description": "No match, where XML is asked for: a body of no parts there is not"},
    400: {"description": "A parameter is unknown or has a value that cannot be understood", **_PROBLEM},
    406: {"description": "Only JSON and XML can be given", **_PROBLEM},
    413: {"description": "The query is too broad; `detail` says how to narrow it", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}
_OPTIONS: Final[dict[str, Any]] = {
    "responses": RESPONSES,
    "openapi_extra": {"parameters": PARAMETERS},
    "response_class": Response,
}


_OF_STUDIES: Final = {**_OPTIONS, "openapi_extra": {"parameters": [*PARAMETERS, RELATED_PARAMETER]}}


@router.get("/studies", summary="Search for studies", **_OF_STUDIES)
def search_studies(request: Request, archive: ArchiveDep) -> Response:
    """Studies of the archive (PS3.18 Table 10.6.1-1)."""
    return _search(request, archive, Level.STUDY, {})


@router.get("/series", summary="Search for series", **_OPTIONS)
def search_series(request: Request, archive: ArchiveDep) -> Response:
    """Series of all studies."""
    return _search(request, archive, Level.SERIES, {})


@router.get("/instances", summary="Search for instances", **_OPTIONS)
def search_instances(request: Request, archive: ArchiveDep) -> Response:
    """Instances of all studies."""
    return _search(request, archive, Level.IMAGE, {})


@router.get("/studies/{study}/series", summary="Search for series of a study", **_OPTIONS)
def search_study_series(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Series of one study."""
    return _search(request, archive, Level.SERIES, {"StudyInstanceUID": study})


@router.get("/studies/{study}/instances", summary="Search for instances of a study", **_OPTIONS)
def search_study_instances(request: Request, archive: ArchiveDep, study: str) -> Response:
    """Instances of one study."""
    return _search(request, archive, Level.IMAGE, {"StudyInstanceUID": study})


@router.get("/studies/{study}/series/{series}/instances", summary="Search for instances of a series", **_OPTIONS)
def search_series_instances(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """Instances of one series."""
    return _search(request, archive, Level.IMAGE, {"StudyInstanceUID": study, "SeriesInstanceUID": series})


def _search(request: Request, archive: ArchiveDep, level: Level, path: dict[str, str]) -> Response:
    form = negotiate_list(request)
    scope, items = scope_of(request), request.query_params.multi_items()
    query = parse_query(level, of_persons(archive, scope, items) if level is Level.STUDY else items, path)
    result = archive.search(query, scope)
    searched(request, archive, query, len(result.matches))
    root, suffix = dicomweb_root(request), view_suffix(request)
    matches = [_with_address(match, level, root, suffix) for match in result.matches]
    return dataset_list(matches, form, page_headers(request, result, query.offset))


def _with_address(match: DicomJSON, level: Level, root: str, suffix: str) -> DicomJSON:
    """Add where the match can be retrieved, Retrieve URL (0008,1190)."""
    address = f"{root}/studies/{_uid(match, _STUDY_UID)}"
    if level is not Level.STUDY:
        address += f"/series/{_uid(match, _SERIES_UID)}"
    if level is Level.IMAGE:
        address += f"/instances/{_uid(match, _INSTANCE_UID)}"
    # PS3.18 F.2.2: attributes in the order of their tags.
    return dict(sorted({**match, _RETRIEVE_URL: {"vr": "UR", "Value": [address + suffix]}}.items()))


def _uid(match: DicomJSON, key: str) -> str:
    return str(match[key]["Value"][0])
