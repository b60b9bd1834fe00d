"""Creates: a ServiceRequest becomes an order of the worklist, a Patient what is known of somebody."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import InvalidItem, InvalidQuery, NotFound, Outdated
from archive.fhir import ordering
from archive.fhir.context import Context
from archive.fhir.terms import Json
from archive.identity.numbers import Identifier
from archive.identity.numbers import read as read_number
from archive.identity.records import Facts, Number
from archive.people.roles import Right
from viewer_api.deps import ArchiveDep
from viewer_api.fhir.answers import MEDIA_TYPE, ROOT, answer, context_of, issue, negotiate, outcome
from viewer_api.fhir.routes import scope_of
from viewer_api.gate import known_caller, needs
from viewer_api.problems import UnsupportedMediaType

router = APIRouter(prefix=ROOT, include_in_schema=False)
_ALSO: Final = frozenset((MEDIA_TYPE, "application/json", "text/json"))
_MOST: Final = 2


async def body_of(request: Request) -> Json:
    """The resource that was sent. Raises `UnsupportedMediaType`, `InvalidQuery`."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in _ALSO:
        raise UnsupportedMediaType(f"a resource is sent as {MEDIA_TYPE}")
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise InvalidQuery("the body is no JSON") from None
    if not isinstance(found, dict):
        raise InvalidQuery("the body is no resource")
    return found


Body = Annotated[Json, Depends(body_of)]


@router.post("/ServiceRequest", dependencies=[needs(Right.ORDERS)], response_class=Response)
def create_order(request: Request, archive: ArchiveDep, given: Body) -> Response:
    """Put an order on the worklist; one that is there is brought up to date, or left as it is with If-None-Exist."""
    negotiate(request)
    context = context_of(request)
    before = _existing(request, archive, "ServiceRequest", context)
    if before is not None:
        return _written(request, before, context, HTTPStatus.OK)
    caller = known_caller(request)
    facility = _facility(request, given, context)
    if not caller.may_everywhere(Right.ORDERS):
        caller.require(Right.ORDERS, facility)
    order = ordering.order_of(given, _known(request, archive, given, context), facility, context)
    entry, new = archive.worklist.put(order, source="fhir")
    scope = caller.scope(right=Right.ORDERS)
    made = archive.fhir.read("ServiceRequest", str(entry.id), scope, context)
    return _written(request, made, context, HTTPStatus.CREATED if new else HTTPStatus.OK)


@router.post("/Patient", dependencies=[needs(Right.ORDERS)], response_class=Response)
def create_patient(request: Request, archive: ArchiveDep, given: Body) -> Response:
    """Note what a hospital knows of its patient. A Patient can be read once there are images of them."""
    negotiate(request)
    context = context_of(request)
    before = _existing(request, archive, "Patient", context)
    if before is not None:
        return _written(request, before, context, HTTPStatus.OK)
    ordering.check_patient(given)
    facility = _facility(request, given, context)
    caller = known_caller(request)
    if not caller.may_everywhere(Right.ORDERS):
        caller.require(Right.ORDERS, facility)
    who = ordering.somebody(given, facility, context)
    issuer = who.issuer or archive.peers.facility(facility).issuer
    found = (_identifier(system, value, context) for system, value in ordering.numbers(given))
    facts = Facts(who.name, who.birth_date.replace("-", ""), who.sex, identifiers=tuple(filter(None, found)))
    archive.identities.update(caller, Number(issuer, who.patient_id), facts, source="fhir")
    pairs = [("identifier", f"{context.patient_system(issuer)}|{who.patient_id.replace(',', chr(92) + ',')}")]
    if known_caller(request).may(Right.VIEW):
        matches = archive.fhir.search("Patient", pairs, scope_of(request, "Patient"), context).matches
        if matches:
            return _written(request, matches[0], context, HTTPStatus.OK)
    text = "noted; the Patient can be read as soon as there are images"
    return answer(request, outcome([issue("information", "informational", text)]), HTTPStatus.ACCEPTED)


def _identifier(system: str, value: str, context: Context) -> Identifier | None:
    systems = context.settings.systems
    label = {systems.citizen: "CCCD", systems.insurance: "BHYT"}.get(system)
    return read_number(value, label=label) if label else None


def _existing(request: Request, archive: Archive, kind: str, context: Context) -> Json | None:
    """What a conditional create finds (http.html 3.1.0.8.1). Raises `Outdated` (412) for more than one."""
    asked = request.headers.get("if-none-exist")
    if not asked:
        return None
    pairs = [*parse_qsl(asked.removeprefix("?"), keep_blank_values=True), ("_count", str(_MOST))]
    scope = scope_of(request, kind) if known_caller(request).may(Right.VIEW) else None
    if scope is None:
        scope = known_caller(request).scope(right=Right.ORDERS)
    if len(pairs) < _MOST:
        raise InvalidQuery("If-None-Exist names no search")
    found = archive.fhir.search(kind, pairs, scope, context, strict=True)
    if len(found.matches) > 1:
        raise Outdated("If-None-Exist matches more than one")
    return found.matches[0] if found.matches else None


def _facility(request: Request, given: Json, context: Context) -> str:
    named = ordering.facility_of(given)
    if not named:
        return _only_facility(request, context)
    if named not in context.facilities:
        raise InvalidItem.of({"performer": "is no Organization of this archive"})
    return named


def _only_facility(request: Request, context: Context) -> str:
    """The facility of a caller who has the right at one alone."""
    where = known_caller(request).rights.get(Right.ORDERS)
    if where is None or len(where) != 1:
        raise InvalidItem.of({"performer": "is missing: the facility, such as Organization/87001"})
    [facility] = where
    if facility not in context.facilities:
        raise InvalidItem.of({"performer": "is no Organization of this archive"})
    return facility


def _known(request: Request, archive: Archive, given: Json, context: Context) -> ordering.Somebody | None:
    """The patient of ours whom an order refers to; they must be visible to who orders. Raises `InvalidItem`."""
    subject = given.get("subject")
    reference = str(subject.get("reference", "")) if isinstance(subject, dict) else ""
    kind, _, key = reference.removeprefix(context.base + "/").partition("/")
    if kind != "Patient":
        return None
    try:
        if known_caller(request).may(Right.VIEW):
            return archive.fhir.patient(key, scope_of(request, "Patient"), context)
    except NotFound:
        pass
    raise InvalidItem.of({"subject": "there is no such Patient"})


def _written(request: Request, resource: Json, context: Context, status: HTTPStatus) -> Response:
    meta = resource["meta"]
    version = meta.get("versionId")
    address = f"{context.base}/{resource['resourceType']}/{resource['id']}"
    headers = {"Location": address, **({"ETag": f'W/"{version}"'} if version else {})}
    prefer = request.headers.get("prefer", "").replace(" ", "")
    if "return=minimal" in prefer:
        return Response(status_code=status, headers=headers)
    if "return=OperationOutcome" in prefer:
        return answer(request, outcome([issue("information", "informational", "done")]), status, headers)
    return answer(request, resource, status, headers)
