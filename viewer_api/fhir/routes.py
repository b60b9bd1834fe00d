"""The routes of FHIR: read and search of each type, and what the service can do."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent, Detail
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.fhir.listed import LISTED
from archive.fhir.service import KINDS
from archive.fhir.terms import Json
from archive.people.roles import Right
from archive.records import Scope
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.fhir.answers import ROOT, answer, context_of, history, negotiate, read_answer, searchset
from viewer_api.fhir.capability import capability_statement
from viewer_api.gate import OPEN, known_caller, needs

RIGHTS: Final[dict[str, tuple[Right, ...]]] = {"ServiceRequest": (Right.VIEW, Right.ORDERS)}
"""Any of these lets through; the right to view elsewhere."""
_VIEW: Final = (Right.VIEW,)
_FORM: Final = "application/x-www-form-urlencoded"
router = APIRouter(prefix=ROOT, include_in_schema=False)


async def pairs_of(request: Request) -> list[tuple[str, str]]:
    """The parameters of a search, from the address and from a form. Raises `InvalidQuery`."""
    found = [*request.query_params.multi_items()]
    if request.method == "POST":
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given not in (_FORM, ""):
            raise InvalidQuery(f"a search by POST is a form ({_FORM})")
        async with request.form(max_fields=200) as form:
            found += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return found


Pairs = Annotated[list[tuple[str, str]], Depends(pairs_of)]


def scope_of(request: Request, kind: str) -> Scope:
    """What the caller may see of a type. Raises `NotPermitted`."""
    caller = known_caller(request)
    right = next((right for right in RIGHTS.get(kind, _VIEW) if caller.may(right) or caller.link), Right.VIEW)
    return caller.scope(right=right)


@router.get("/metadata", dependencies=[OPEN])
def metadata(request: Request, archive: ArchiveDep) -> Response:
    """The CapabilityStatement."""
    negotiate(request)
    signs_in = archive.settings.access.sign_in != "off"
    return answer(request, capability_statement(context_of(request), signs_in=signs_in))


def _search(request: Request, archive: Archive, kind: str, pairs: list[tuple[str, str]]) -> Response:
    negotiate(request)
    scope, context = scope_of(request, kind), context_of(request)
    strict = "handling=strict" in request.headers.get("prefer", "").replace(" ", "")
    token = next((value for name, value in pairs if name == "_page"), "")
    found = archive.fhir.search(kind, pairs, scope, context, strict=strict, token=token)
    _searched(request, archive, kind, found.used, found.matches)
    return answer(request, searchset(kind, found, context))


def _read(request: Request, archive: Archive, kind: str, key: str) -> Response:
    negotiate(request)
    resource = archive.fhir.read(kind, key, scope_of(request, kind), context_of(request))
    _looked(request, archive, resource)
    return read_answer(request, resource)


def _searched(request: Request, archive: Archive, kind: str, used: list[tuple[str, str]], found: list[Json]) -> None:
    """Put a search on record before it is answered. Raises `IndexUnavailable`."""
    if kind in LISTED:
        return
    keys = [f"{name}={value}" for name, value in used]
    detail: dict[str, Detail] = {"what": f"FHIR search of {kind}", "keys": keys, "matches": len(found)}
    archive.audit.record(AuditEvent(Action.SEARCH, who(request), detail=detail))


def _looked(request: Request, archive: Archive, resource: Json) -> None:
    """Put on record who gets a resource, before it is given. Raises `IndexUnavailable`."""
    kind, key = resource["resourceType"], resource["id"]
    if kind in LISTED:
        return
    studies = (key,) if kind == "ImagingStudy" else ()
    patient = ""
    if kind == "Patient":
        patient = next((each["value"] for each in resource.get("identifier", ()) if each.get("use") == "usual"), "")
    detail: dict[str, Detail] = {"what": f"FHIR {kind}", "id": key}
    event = AuditEvent(Action.VIEW, who(request), studies=studies, patient_id=patient, detail=detail)
    archive.looks.note(event, about=f"{kind}/{key}")


def _history(request: Request, archive: ArchiveDep, key: str) -> Response:
    """All versions of a report that were given out (http.html 3.1.0.11)."""
    negotiate(request)
    context = context_of(request)
    found = archive.fhir.versions(key, scope_of(request, "DiagnosticReport"), context)
    _looked(request, archive, found[0])
    return answer(request, history(found, context))


def _version(request: Request, archive: ArchiveDep, key: str, version: str) -> Response:
    """One version (http.html 3.1.0.3)."""
    negotiate(request)
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
    found = archive.fhir.versions(key, scope_of(request, "DiagnosticReport"), context_of(request), number)
    _looked(request, archive, found[0])
    return read_answer(request, found[0])


def _printed(request: Request, archive: ArchiveDep, key: str) -> Response:
    """The printed form of a version of a report, as it was given out."""
    number, _, version = key.rpartition(".")
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise NotFound("there is no such Binary")
    caller = known_caller(request)
    found = next((each for each in archive.reports.history(caller, number) if each.number == int(version)), None)
    if found is None:
        raise NotFound("there is no such Binary")
    entry = archive.reports.get(caller, number)
    detail: dict[str, Detail] = {"what": "FHIR Binary", "id": key}
    archive.looks.note(AuditEvent(Action.VIEW, who(request), studies=(entry.study,), detail=detail), about=key)
    headers = {"Cache-Control": "private, no-cache", "Content-Disposition": 'inline; filename="report.pdf"'}
    return Response(archive.report_objects.printed(number, found, caller.name), 200, headers, "application/pdf")


def _add(kind: str) -> None:
    """The routes of one type."""
    allowed = [needs(*RIGHTS.get(kind, _VIEW))]

    def search(request: Request, archive: ArchiveDep, pairs: Pairs) -> Response:
        return _search(request, archive, kind, pairs)

    def read(request: Request, archive: ArchiveDep, key: str) -> Response:
        return _read(request, archive, kind, key)

    options: dict[str, Any] = {"dependencies": allowed, "response_class": Response}
    router.add_api_route(f"/{kind}", search, methods=["GET", "HEAD"], name=f"fhir_search_{kind}", **options)
    router.add_api_route(f"/{kind}/_search", search, methods=["POST"], name=f"fhir_post_search_{kind}", **options)
    router.add_api_route(f"/{kind}/{{key}}", read, methods=["GET", "HEAD"], name=f"fhir_read_{kind}", **options)


for _kind in (*KINDS, *LISTED):
    _add(_kind)


_OF_REPORTS: Final[dict[str, Any]] = {
    "dependencies": [needs(*_VIEW)],
    "response_class": Response,
    "methods": ["GET", "HEAD"],
}
router.add_api_route("/DiagnosticReport/{key}/_history", _history, name="fhir_history", **_OF_REPORTS)
router.add_api_route("/DiagnosticReport/{key}/_history/{version}", _version, name="fhir_vread", **_OF_REPORTS)
router.add_api_route("/Binary/{key}", _printed, name="fhir_read_Binary", **_OF_REPORTS)


def other(path: str) -> Response:
    """Whatever is none of the routes."""
    raise NotFound(f"{path.partition('/')[0][:64]!a} is no type of resource here, or it has no such interaction")


other_router = APIRouter(prefix=ROOT, include_in_schema=False)
other_router.add_api_route(
    "/{path:path}", other, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], dependencies=[OPEN]
)
