"""Subscriptions over HTTP: whoever may read the change feed may be notified of it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.fhir.service import Found
from archive.fhir.subscriptions import resource
from archive.people.roles import Right
from viewer_api.deps import ArchiveDep
from viewer_api.fhir.answers import ROOT, answer, context_of, negotiate, read_answer, searchset
from viewer_api.fhir.writes import Body
from viewer_api.gate import known_caller, needs

router = APIRouter(
    prefix=f"{ROOT}/Subscription",
    include_in_schema=False,
    dependencies=[needs(Right.FEED)],
    default_response_class=Response,
)


@router.post("")
def create(request: Request, archive: ArchiveDep, given: Body) -> Response:
    """Make one; it tells of what happens from now on."""
    negotiate(request)
    context = context_of(request)
    made = resource(archive.fhir.subscriptions.add(known_caller(request), given), context)
    return answer(request, made, HTTPStatus.CREATED, {"Location": f"{context.base}/Subscription/{made['id']}"})


@router.get("")
def search(request: Request, archive: ArchiveDep) -> Response:
    """One's own, all on one page."""
    negotiate(request)
    context = context_of(request)
    given = [resource(each, context) for each in archive.fhir.subscriptions.of(known_caller(request))]
    wanted = {name: value for name, value in request.query_params.multi_items() if name in ("status", "_id")}
    fields = {"status": "status", "_id": "id"}
    found = [each for each in given if all(each[fields[name]] == value for name, value in wanted.items())]
    return answer(request, searchset("Subscription", Found(found, total=len(found), used=[*wanted.items()]), context))


@router.get("/{key}")
def read(request: Request, archive: ArchiveDep, key: str) -> Response:
    """One of one's own."""
    negotiate(request)
    found = archive.fhir.subscriptions.get(known_caller(request), key)
    return read_answer(request, resource(found, context_of(request)))


@router.delete("/{key}")
def end(request: Request, archive: ArchiveDep, key: str) -> Response:
    """End one."""
    archive.fhir.subscriptions.end(known_caller(request), key)
    return Response(status_code=HTTPStatus.NO_CONTENT)
