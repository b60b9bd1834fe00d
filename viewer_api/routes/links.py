"""Links for patients as JSON: for a HIS that prints the slip."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.core import Archive
from archive.delivery.deliveries import Mode
from archive.delivery.link_records import MOST_STUDIES, Factor, LinkEntry, NewLink
from archive.people.roles import Right
from viewer_api.addresses import base_url
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.links import PREFIX
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/delivery", tags=["Delivery to patients"], dependencies=[needs(Right.DELIVER, Right.GRANTS)])
_NO_NUL: Final = r"^[^\x00]*$"
_OBJECT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}}
}
_Uid = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]


class Wanted(BaseModel):
    """A link to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    studies: tuple[_Uid, ...] = Field(min_length=1, max_length=MOST_STUDIES)
    factor: Factor = "birth_date"
    days: int | None = Field(default=None, ge=1, le=3650)
    may_copy: bool = False
    purpose: str = Field(default="", max_length=256, pattern=_NO_NUL)
    phone: str = Field(default="", max_length=32, pattern=_NO_NUL)


class Withdrawn(BaseModel):
    """Why a link is ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str = Field(default="", max_length=256, pattern=_NO_NUL)


@router.post("/links", summary="Make a link for a patient", status_code=201, response_class=Response)
def make_link(request: Request, archive: ArchiveDep, wanted: Annotated[Wanted, Body()], _: SameOrigin) -> Response:
    """The address of the link, and the code if it asks for one. Neither can be told again."""
    made = archive.links.create(known_caller(request), NewLink(**wanted.model_dump()))
    body = {
        "id": made.id,
        "url": address_of_link(request, made.token),
        "code": made.code or None,
        "expires_at": made.expires_at,
    }
    return _json(body, 201)


@router.get("/links", summary="Links of one's facility, the latest first", response_class=Response, responses=_OBJECT)
def list_links(
    request: Request,
    archive: ArchiveDep,
    study: Annotated[str | None, Query(max_length=64, pattern=_NO_NUL)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
) -> Response:
    """What was given to whom, and whether it was opened."""
    found = archive.links.listed(known_caller(request), study, limit, offset)
    return _json({"links": [_entry(each) for each in found]})


@router.post("/links/{link}/withdraw", summary="End a link", response_class=Response, responses=_OBJECT)
def withdraw_link(
    request: Request, archive: ArchiveDep, link: int, said: Annotated[Withdrawn, Body()], _: SameOrigin
) -> Response:
    """It opens nothing any more, also where it is open now."""
    return _json(_entry(archive.links.withdraw(known_caller(request), link, said.why)))


class Handed(BaseModel):
    """That a study was handed over by other means than a link of ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: _Uid
    mode: Mode
    purpose: str = Field(default="", max_length=256, pattern=_NO_NUL)


@router.post("/records", summary="Note how a study was handed over", status_code=201, response_class=Response)
def note_delivery(request: Request, archive: ArchiveDep, handed: Annotated[Handed, Body()], _: SameOrigin) -> Response:
    """For film, or a portal of the hospital; links and discs are noted by themselves."""
    archive.deliveries.record(known_caller(request), handed.study, handed.mode, handed.purpose)
    return _json(_deliveries(request, archive, handed.study), 201)


@router.get("/records", summary="How a study was handed over", response_class=Response, responses=_OBJECT)
def list_deliveries(
    request: Request, archive: ArchiveDep, study: Annotated[str, Query(min_length=1, max_length=64, pattern=_NO_NUL)]
) -> Response:
    """By film, link or disc, and when a link was first opened: the evidence of delivery."""
    return _json(_deliveries(request, archive, study))


def _deliveries(request: Request, archive: Archive, study: str) -> dict[str, Any]:
    return {"deliveries": [asdict(each) for each in archive.deliveries.of_study(known_caller(request), study)]}


def address_of_link(request: Request, token: str) -> str:
    """What stands on the slip and in the code."""
    return f"{base_url(request)}{PREFIX}/{token}"


def _entry(entry: LinkEntry) -> dict[str, Any]:
    return {**asdict(entry), "state": entry.state}


def _json(body: object, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
