"""Who is who, as JSON: the review list, persons, and what is decided about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import InvalidItem
from archive.identity.numbers import read
from archive.identity.records import Facts, Number
from archive.identity.review import Side
from archive.identity.score import probability
from archive.identity.trace import Done, Event
from archive.people.roles import Right
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.routes.hidden import json_body
from viewer_api.same_origin import require_same_origin

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    409: {"description": "It contradicts what was done since, or was done already; `detail` says what"},
    422: {"description": "Something is missing or wrong; `errors` names each"},
}
router = APIRouter(prefix="/identity", tags=["Identity"], dependencies=[needs(Right.IDENTITY)], responses=_ANSWERS)

_CHANGES: Final = [Depends(require_same_origin), Depends(json_body)]
_NO_NUL: Final = r"^[^\x00]*$"
Text = Annotated[str, Field(max_length=1024, pattern=_NO_NUL)]
Short = Annotated[str, Field(max_length=64, pattern=_NO_NUL)]
Key = Annotated[int, Field(ge=1, lt=1 << 63)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(_Body):
    """Why something is decided."""

    reason: Text


class Merging(Reason):
    """Two persons are one: all of `source` goes to `target`."""

    source: Key
    target: Key


class Parting(Reason):
    """Two persons are not one."""

    person: Key
    other: Key


class GivenNumber(_Body):
    """A number of somebody; `label` says what it is, as the issuer does: `CCCD`, `BHYT`, `PPN`."""

    value: Short
    issuer: Short = ""
    label: Short = ""


class About(_Body):
    """What is known of somebody."""

    name: Annotated[str, Field(max_length=256, pattern=_NO_NUL)] = ""
    birth_date: Annotated[str, Field(max_length=10, pattern=r"^[0-9/.-]*$")] = Field(
        default="", description="`YYYYMMDD` or `YYYY-MM-DD`, or the year alone"
    )
    sex: Literal["M", "F", "O", ""] = ""
    phone: Short = ""
    numbers: tuple[GivenNumber, ...] = Field(default=(), max_length=20)

    def facts(self) -> Facts:
        """The same for the archive."""
        found = (read(each.value, each.issuer, each.label) for each in self.numbers)
        numbers = tuple(each for each in found if each is not None)
        return Facts(self.name, self.birth_date, self.sex, self.phone, numbers)


class PatientNumber(_Body):
    """A patient as a hospital knows them."""

    issuer: Short
    id: Short

    def number(self) -> Number:
        """The same for the archive."""
        return Number(self.issuer, self.id)


class NewTemporary(About):
    """A number for a newborn or somebody unknown."""

    facility: Short
    kind: Literal["newborn", "unknown"]
    mother: PatientNumber | None = None
    order: int = Field(default=1, ge=1, le=9)
    reason: Text = ""


class Telling(About):
    """What a hospital's system says of its patient."""

    number: PatientNumber


@router.get("/review", summary="Pairs that may be the same person")
def list_review(
    request: Request,
    archive: ArchiveDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Those that the caller may decide about: contradictions first, then the likeliest."""
    found = archive.reviews.open(who(request), limit=limit, offset=offset)
    seen(request, archive, [side for pair in found for side in (pair.one, pair.other)], "review of persons")
    return _json([{**asdict(pair), "probability": probability(pair.likelihood)} for pair in found])


@router.get("/persons/{person}", summary="A person: all its patients, and what was done to it")
def show_person(request: Request, archive: ArchiveDep, person: int) -> Response:
    """As far as the caller may know it."""
    sides = archive.reviews.person(who(request), _checked(person))
    seen(request, archive, sides, "person")
    events = [told(event, sides) for event in archive.identities.events_of(sides[0].person)]
    return _json({"person": sides[0].person, "records": sides, "events": events})


@router.post("/resolve", summary="Who may be meant", dependencies=[needs(Right.IDENTITY, everywhere=True), *_CHANGES])
def resolve_person(request: Request, archive: ArchiveDep, body: About) -> Response:
    """The likeliest first; for who decides for the whole province. Nothing is written."""
    found = archive.identities.resolve(body.facts())
    answer = [
        {
            "person": each.person,
            "issuer": each.record.issuer,
            "number": each.record.number,
            "probability": each.comparison.probability,
            "automatic": each.comparison.automatic,
            "evidence": each.comparison.to_json(),
        }
        for each in found
    ]
    event = AuditEvent(Action.SEARCH, who(request), detail={"what": "who may be meant", "matches": len(answer)})
    archive.audit.record(event)
    return _json(answer)


@router.post("/patients", summary="Say what is known of a patient", dependencies=_CHANGES)
def tell_of_patient(request: Request, archive: ArchiveDep, body: Telling) -> Response:
    """As ADT A08 does. What is said replaces what was said before."""
    number = body.number.number()
    event = AuditEvent(
        Action.IDENTITY, who(request), patient_id=number.id, issuer_of_patient_id=number.issuer, detail={"what": "told"}
    )
    archive.audit.record(event)
    return _json({"person": archive.identities.update(who(request), number, body.facts(), "manual")})


@router.post("/merges", summary="Two persons are one", status_code=201, dependencies=_CHANGES)
def merge_persons(request: Request, archive: ArchiveDep, body: Merging) -> Response:
    """Undone by the number in the answer."""
    return _done(archive.identities.merge(who(request), body.source, body.target, body.reason))


@router.post("/not-same", summary="Two persons are not one", status_code=201, dependencies=_CHANGES)
def part_persons(request: Request, archive: ArchiveDep, body: Parting) -> Response:
    """This is remembered."""
    return _done(archive.identities.not_same(who(request), body.person, body.other, body.reason))


@router.post("/records/{record}/separate", summary="Take a patient out", status_code=201, dependencies=_CHANGES)
def separate_record(request: Request, archive: ArchiveDep, record: int, body: Reason) -> Response:
    """It becomes a person of its own, and stays so."""
    return _done(archive.identities.separate(who(request), _checked(record), body.reason))


@router.post("/events/{event}/undo", summary="Undo a decision", status_code=201, dependencies=_CHANGES)
def undo_decision(request: Request, archive: ArchiveDep, event: int, body: Reason) -> Response:
    """Exactly, unless what it moved was moved again since."""
    return _done(archive.identities.unmerge(who(request), _checked(event), body.reason))


@router.post("/temporary", summary="A temporary number", status_code=201, dependencies=_CHANGES)
def make_temporary(request: Request, archive: ArchiveDep, body: NewTemporary) -> Response:
    """For a newborn, by the mother's number and the order of birth; or for somebody unknown."""
    number, done = archive.identities.temporary(
        who(request),
        body.facility,
        body.kind,
        body.facts(),
        mother=None if body.mother is None else body.mother.number(),
        order=body.order,
        reason=body.reason,
    )
    return _json({"issuer": number.issuer, "number": number.id, **asdict(done)}, 201)


def seen(request: Request, archive: Archive, sides: Iterable[Side], what: str) -> None:
    """Put on record whose names are given out. Raises `IndexUnavailable`: then they are not."""
    shown = {(side.issuer, side.number) for side in sides if side.shown and side.number}
    caller = who(request)
    events = [
        AuditEvent(Action.SEARCH, caller, patient_id=number, issuer_of_patient_id=issuer, detail={"what": what})
        for issuer, number in sorted(shown)
    ]
    archive.audit.record_all(events or [AuditEvent(Action.SEARCH, caller, detail={"what": what, "matches": 0})])


def told(event: Event, sides: Iterable[Side]) -> dict[str, Any]:
    """An act, with the records that the reader may know."""
    known = {side.record for side in sides if side.shown}
    moved = [
        {"issuer": each["issuer"], "number": each["identity"], "before": each["before"], "after": each["after"]}
        for each in event.detail["moved"]
        if each["record"] in known
    ]
    return {
        **{name: value for name, value in asdict(event).items() if name != "detail"},
        "moved": moved,
        "moved_count": len(event.detail["moved"]),
    }


def _checked(number: int) -> int:
    if not 0 < number < 1 << 63:
        raise InvalidItem.of({"number": "is not one of ours"})
    return number


def _done(done: Done) -> Response:
    return _json(asdict(done), 201)


def _json(content: Any, status: int = 200) -> Response:
    return Response(
        orjson.dumps(content), status_code=status, headers={"Cache-Control": "no-store"}, media_type="application/json"
    )
