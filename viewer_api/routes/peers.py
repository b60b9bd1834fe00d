"""Peers of the DICOM node for programs: who is listed, add, change, disable, remove, test the connection.

An AE title may hold nearly any character, so it stands in the query and never in a path. What of ``settings`` there is,
is what a section ``[[peers]]`` of ``pacs.toml`` has.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent, Detail
from archive.core import Archive
from archive.people.roles import Right
from archive.registry.checks import Check
from archive.registry.entries import Entry
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.etags import versions
from viewer_api.gate import known_caller, needs

router = APIRouter(prefix="/registry", tags=["Peers"], dependencies=[needs(Right.PEERS)])

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_OBJECT: Final = {"content": {"application/json": {"schema": {"type": "object"}}}}
_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The peer; its ETag is its revision", **_OBJECT},
    403: {"description": "The caller does not look after this peer, or it is listed in pacs.toml", **_PROBLEM},
    404: {"description": "No such peer", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}
_CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    **_FOUND,
    409: {"description": "The AE title is taken", **_PROBLEM},
    412: {"description": "The peer no longer has the revision of If-Match", **_PROBLEM},
    422: {"description": "Settings are missing or wrong; `errors` names each", **_PROBLEM},
}
_ADDED: Final = {201: {"description": "The peer; its ETag is its revision", **_OBJECT}, **_CHANGED}
del _ADDED[200]
_TEST: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "No such test, or the peer is one of others", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}

Title = Annotated[str, Query(max_length=64, description="AE title")]
IfMatch = Annotated[str | None, Header(description="The ETag that the peer must have")]
Settings = Annotated[
    dict[str, Any],
    Body(description="As a section [[peers]] of pacs.toml, without ae_title", examples=[{"facility": "87001"}]),
]


class Titled(BaseModel):
    """One peer."""

    model_config = ConfigDict(extra="forbid")

    ae_title: str = Field(max_length=64)


class NewPeer(Titled):
    """A peer to be listed."""

    settings: dict[str, Any]
    """As a section ``[[peers]]`` of ``pacs.toml``, without ``ae_title``."""


@router.get("/peers", summary="Who is listed", responses={503: _FOUND[503]})
def peers(request: Request, archive: ArchiveDep) -> list[dict[str, Any]]:
    """The peers of pacs.toml and those added since, of the facilities that the caller looks after."""
    return [_told(each) for each in archive.registry.listed(known_caller(request))]


@router.post("/peers", summary="List a peer", responses=_ADDED, response_class=Response, status_code=201)
def add(request: Request, archive: ArchiveDep, new: Annotated[NewPeer, Body()]) -> Response:
    """It may call from now on."""
    return _answer(archive.registry.add(who(request), new.ae_title, new.settings), HTTPStatus.CREATED)


@router.get("/peer", summary="One peer", responses=_FOUND, response_class=Response)
def peer(request: Request, archive: ArchiveDep, ae_title: Title) -> Response:
    """As it is now; of the one that was added, if pacs.toml lists the AE title, too."""
    return _answer(archive.registry.one(known_caller(request), ae_title))


@router.put("/peer", summary="Change a peer", responses=_CHANGED, response_class=Response)
def change(
    request: Request, archive: ArchiveDep, ae_title: Title, settings: Settings, if_match: IfMatch = None
) -> Response:
    """All settings are replaced. They hold for the next association."""
    return _answer(
        archive.registry.change(who(request), ae_title, settings, _revision(request, archive, ae_title, if_match))
    )


@router.delete("/peer", summary="List a peer no more", responses=_CHANGED, response_class=Response, status_code=204)
def remove(request: Request, archive: ArchiveDep, ae_title: Title, if_match: IfMatch = None) -> Response:
    """What it has sent stays."""
    archive.registry.remove(who(request), ae_title, _revision(request, archive, ae_title, if_match))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/disable", summary="Let a peer call no more", responses=_CHANGED, response_class=Response)
def disable(
    request: Request, archive: ArchiveDep, chosen: Annotated[Titled, Body()], if_match: IfMatch = None
) -> Response:
    """Nor is it called. Associations that it has open go on."""
    title = chosen.ae_title
    return _answer(archive.registry.disable(who(request), title, _revision(request, archive, title, if_match)))


@router.post("/enable", summary="Let a peer call again", responses=_CHANGED, response_class=Response)
def enable(
    request: Request, archive: ArchiveDep, chosen: Annotated[Titled, Body()], if_match: IfMatch = None
) -> Response:
    """The opposite of disable."""
    title = chosen.ae_title
    return _answer(archive.registry.enable(who(request), title, _revision(request, archive, title, if_match)))


@router.post("/tests", summary="Test the connection to a peer", responses=_FOUND, status_code=202)
def test(request: Request, archive: ArchiveDep, chosen: Annotated[Titled, Body()]) -> dict[str, Any]:
    """A DICOM node sends it a C-ECHO; `id` finds the result."""
    return {"id": ask_test(request, archive, chosen.ae_title)}


@router.get("/tests/{number}", summary="How a test came out", responses=_TEST)
def result(request: Request, archive: ArchiveDep, number: int) -> dict[str, Any]:
    """`outcome` is null until a node has done it."""
    return told_test(read_test(request, archive, number))


# -- parts, of which the page makes use, too ---------------------------------------------------------------------------


def ask_test(request: Request, archive: Archive, ae_title: str) -> int:
    """Have a peer tested, which is put on record: it tells what listens in the network.

    Raises `NotFound` for one of others.
    """
    caller = who(request)
    peer = archive.registry.one(caller, ae_title).peer
    detail: dict[str, Detail] = {"what": "connection test", "peer": ae_title, "place": f"{peer.host}:{peer.port}"}
    archive.audit.record(AuditEvent(Action.OPERATE, caller, detail=detail))
    return archive.peer_checks.ask(ae_title.strip(" "), caller.name)


def read_test(request: Request, archive: Archive, number: int) -> Check:
    """A test. Raises `NotFound`, also for those of peers of others."""
    found = archive.peer_checks.one(number)
    archive.registry.one(known_caller(request), found.ae_title)
    return found


def told_test(check: Check) -> dict[str, Any]:
    """A test as JSON."""
    return {
        "id": check.id,
        "ae_title": check.ae_title,
        "asked_at": check.asked_at,
        "done_at": check.done_at,
        "outcome": check.outcome,
        "detail": check.detail,
        "milliseconds": check.milliseconds,
    }


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "ae_title": entry.ae_title,
        "source": entry.source,
        "state": entry.state,
        "enabled": entry.enabled,
        "settings": entry.settings,
        "faults": entry.faults,
        "revision": entry.revision,
        "created_at": entry.created_at,
        "created_by": entry.created_by,
        "changed_at": entry.changed_at,
        "changed_by": entry.changed_by,
    }


def _answer(entry: Entry, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = {"ETag": f'"{entry.revision}"', "Cache-Control": "no-store"}
    return Response(orjson.dumps(_told(entry)), status_code=status, headers=headers, media_type="application/json")


def _revision(request: Request, archive: Archive, ae_title: str, if_match: str | None) -> int | None:
    """The revision that the peer must have (RFC 9110 13.1.1); None for any. Raises `NotFound`, `InvalidQuery`."""
    wanted = versions(if_match) if if_match is not None else ()
    if not wanted:
        return None
    now = archive.registry.one(known_caller(request), ae_title).revision
    return now if now in wanted else wanted[0]
