"""What facilities share, as JSON: referrals, consultations, grants, break-glass and its notices."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.people.roles import Right
from archive.sharing.break_glass import Emergency
from archive.sharing.sharings import Members, Terms
from archive.standard.uids import check_uid
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.routes.hidden import json_body
from viewer_api.same_origin import require_same_origin

router = APIRouter(prefix="/sharing", tags=["Sharing"])

_READ: Final = [needs(Right.VIEW, Right.SHARE, Right.GRANTS)]
_CHANGES: Final = [Depends(require_same_origin), Depends(json_body)]
_SHARE: Final = [needs(Right.SHARE), *_CHANGES]
_TEXT: Final = r"^[^\x00]*$"

Text = Annotated[str, Field(max_length=1024, pattern=_TEXT)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]
Number = Annotated[int, Field(ge=1, lt=1 << 63)]


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Text
    days: float | None = Field(default=None, allow_inf_nan=False, description="As the settings say unless given")
    may_copy: bool = Field(default=False, description="Whether whole objects may be taken, beside looking at them")

    def terms(self) -> Terms:
        """The same for the archive."""
        return Terms(self.purpose, self.days, self.may_copy)


class NewReferral(_Terms):
    """A study of one's facility, to be seen by another."""

    study: Text
    to: Text = Field(description="Code of the facility")
    whole_patient: bool = Field(default=False, description="All studies of the patient, also those that come")


class NewConsultation(_Terms):
    """A case that several facilities or people look at together."""

    title: Text
    studies: tuple[Text, ...] = Field(min_length=1, max_length=1000)
    facilities: tuple[Text, ...] = ()
    accounts: tuple[Text, ...] = ()


class Extension(BaseModel):
    """What an open consultation is to have beside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    studies: tuple[Text, ...] = Field(default=(), max_length=1000)
    facilities: tuple[Text, ...] = ()
    accounts: tuple[Text, ...] = ()


class BreakingGlass(BaseModel):
    """Whom somebody has to see in an emergency, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient_id: Text
    birth_date: date
    reason: Text
    issuer: Text = ""


@router.get("/decisions", summary="Referrals, consultations and broken glass", dependencies=_READ)
def list_sharings(
    request: Request,
    archive: ArchiveDep,
    kind: Annotated[str | None, Query(pattern="^(referral|consultation|break_glass)$")] = None,
    closed: bool = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Those that one's facilities opened or are members of, the latest first; with `closed` also what has ended."""
    caller = known_caller(request)
    return _json(archive.sharings.decisions(caller, kind, closed=closed, limit=limit, offset=offset))


@router.get("/decisions/{number}", summary="One of them", dependencies=_READ)
def show_sharing(request: Request, archive: ArchiveDep, number: int) -> Response:
    """With its members and studies."""
    return _json(archive.sharings.get(known_caller(request), _checked(number)))


@router.post("/referrals", summary="Refer a study to another facility", status_code=201, dependencies=_SHARE)
def open_referral(request: Request, archive: ArchiveDep, body: NewReferral) -> Response:
    """Let another facility see it, for a purpose and a time."""
    check_uid(body.study, "StudyInstanceUID")
    made = archive.sharings.refer(
        known_caller(request), body.study, body.to, body.terms(), whole_patient=body.whole_patient
    )
    return _json(made, 201)


@router.post("/consultations", summary="Open a consultation", status_code=201, dependencies=_SHARE)
def open_consultation(request: Request, archive: ArchiveDep, body: NewConsultation) -> Response:
    """Its members see its studies until it ends."""
    for study in body.studies:
        check_uid(study, "StudyInstanceUID")
    members = Members(body.facilities, body.accounts)
    made = archive.sharings.consult(known_caller(request), body.title, members, body.studies, body.terms())
    return _json(made, 201)


@router.post("/consultations/{number}/extend", summary="Add studies or members", dependencies=_SHARE)
def extend_consultation(request: Request, archive: ArchiveDep, number: int, body: Extension) -> Response:
    """Studies by any member that may share them, members by who opened it."""
    for study in body.studies:
        check_uid(study, "StudyInstanceUID")
    members = Members(body.facilities, body.accounts)
    return _json(archive.sharings.extend(known_caller(request), _checked(number), members, body.studies))


@router.post(
    "/decisions/{number}/close",
    summary="End a referral or consultation",
    dependencies=[needs(Right.SHARE, Right.GRANTS), Depends(require_same_origin)],
)
def close_sharing(request: Request, archive: ArchiveDep, number: int) -> Response:
    """Now, with all that it lets see."""
    return _json(archive.sharings.close(known_caller(request), _checked(number)))


@router.get("/grants", summary="To whom studies are open", dependencies=[needs(Right.GRANTS, Right.SHARE)])
def list_grants(
    request: Request,
    archive: ArchiveDep,
    study: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9.]+$")] = None,
    ended: bool = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Of one's own facilities, by whichever way; the latest first."""
    found = archive.sharings.grants(known_caller(request), study, ended=ended, limit=limit, offset=offset)
    return _json(found)


@router.post(
    "/grants/{number}/withdraw",
    summary="Take a grant back",
    dependencies=[needs(Right.GRANTS, Right.SHARE), Depends(require_same_origin)],
)
def withdraw_grant(request: Request, archive: ArchiveDep, number: int) -> Response:
    """It does not come back by the decision or rule that gave it."""
    return _json(archive.sharings.withdraw(known_caller(request), _checked(number)))


@router.post(
    "/break-glass", summary="See a patient in an emergency", dependencies=[needs(Right.BREAK_GLASS), *_CHANGES]
)
def break_glass(request: Request, archive: ArchiveDep, body: BreakingGlass) -> Response:
    """Their studies everywhere, for some hours; the owners are told."""
    emergency = Emergency(body.patient_id, body.birth_date, body.reason, body.issuer)
    return _json(archive.break_glass.open(known_caller(request), emergency))


@router.get("/notices", summary="Who sees patients without one's decision", dependencies=[needs(Right.GRANTS)])
def list_notices(
    request: Request, archive: ArchiveDep, acknowledged: bool = False, limit: Limit = 100, offset: Offset = 0
) -> Response:
    """By broken glass or because they treat them, the latest first."""
    caller = known_caller(request)
    return _json(archive.break_glass.notices(caller, acknowledged=acknowledged, limit=limit, offset=offset))


@router.post(
    "/notices/{number}/acknowledge",
    summary="Take note of one",
    status_code=204,
    response_class=Response,
    dependencies=[needs(Right.GRANTS), Depends(require_same_origin)],
)
def acknowledge_notice(request: Request, archive: ArchiveDep, number: int) -> Response:
    """It is then no longer listed."""
    archive.break_glass.acknowledge(known_caller(request), _checked(number))
    return Response(status_code=204)


class Owner(BaseModel):
    """Whose a study is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Annotated[str, Field(max_length=64, pattern=_TEXT)]
    facility: Text
    reason: Text


@router.post(
    "/owners",
    summary="Make a study another facility's",
    responses={422: {"description": "Something is missing or wrong; `errors` names each"}},
    dependencies=[needs(Right.GRANTS, everywhere=True), *_CHANGES],
)
def give_study(request: Request, archive: ArchiveDep, body: Owner) -> Response:
    """For when somebody else's objects came first under its UID. What the facility that had it has shared ends."""
    before = archive.ownership.give(known_caller(request), body.study, body.facility, body.reason)
    found = {"study": body.study, "from": before, "to": body.facility}
    return Response(orjson.dumps(found), headers={"Cache-Control": "no-store"}, media_type="application/json")


def _checked(number: int) -> int:
    # What no row can have is asked for as 0, which none has.
    return number if 0 < number < 1 << 63 else 0


def _json(found: Any, status: int = 200) -> Response:
    body = [asdict(each) for each in found] if isinstance(found, list) else asdict(found)
    return Response(
        orjson.dumps(body), status_code=status, headers={"Cache-Control": "no-store"}, media_type="application/json"
    )
