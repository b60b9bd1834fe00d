"""What is hidden, as JSON: rejection notes and the quarantine. For administrators; see `viewer_api.views`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.errors import InvalidQuery, NotPermitted
from archive.people.roles import Right
from archive.records import Receipt
from archive.rejection.causes import TITLES, Hidden, View
from archive.rejection.quarantine import Decision
from archive.rejection.rejections import Rejection
from archive.standard.uids import check_uid
from viewer_api.deps import ArchiveDep, get_archive
from viewer_api.gate import needs
from viewer_api.problems import UnsupportedMediaType
from viewer_api.same_origin import require_same_origin
from viewer_api.views import scope_for


def administrators(request: Request) -> None:
    """Let through only where the view of everything is open. Raises `NotPermitted` (403)."""
    if View.EVERYTHING not in get_archive(request).settings.web.views:
        raise NotPermitted("what is hidden is not open here: web.views")


def json_body(request: Request) -> None:
    """A form of another site can send no JSON, so none can have a visitor's browser decide something."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Content-Type must be application/json.")


router = APIRouter(tags=["Hidden objects"], dependencies=[needs(Right.REJECT), Depends(administrators)])
_CHANGES: Final = [Depends(require_same_origin), Depends(json_body)]
# What nobody vouches for belongs to no facility.
_PROVINCE: Final = [needs(Right.REJECT, everywhere=True)]
_TEXT: Final = 1024
_MOST: Final = 1000


# What no column of text can hold.
_NO_NUL: Final = r"^[^\x00]*$"
Text = Annotated[str, Field(pattern=_NO_NUL)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    who: str = Field(min_length=1, max_length=64, pattern=_NO_NUL)
    why: str = Field(default="", max_length=_TEXT, pattern=_NO_NUL)


class NewRejection(_Body):
    """A study, a series of it, or some instances, to be rejected."""

    study: Text
    series: Text | None = None
    instances: tuple[Text, ...] | None = Field(default=None, min_length=1)
    code: Text = Field(description=", ".join(f"{title.code}: {title.meaning}" for title in TITLES))


class Undoing(_Body):
    """Who undoes a rejection, and why."""


class Discarding(_Body):
    """What a sender sent, or a study of it, to be hidden for ever."""

    sender: Text = Field(min_length=1, description="`AE@address`, as listed")
    study: Text | None = None

    def decision(self) -> Decision:
        """The same for the archive."""
        return Decision(self.sender, self.study, self.who, self.why)


class Releasing(Discarding):
    """What a sender sent, or a study of it, to be stored for a facility."""

    facility: Text


@router.get("/rejections", summary="Rejection notes, the latest first")
def list_rejections(
    request: Request, archive: ArchiveDep, study: str | None = None, limit: int = 100, offset: int = 0
) -> Response:
    """All notes, or those of one study."""
    if not (0 <= limit <= _MOST and 0 <= offset < 1 << 31):
        raise InvalidQuery(f"limit is 0 to {_MOST}, offset at least 0")
    scope = scope_for(request, Right.REJECT)
    return _json([_note(note) for note in archive.rejections.notes(study, limit=limit, offset=offset, scope=scope)])


@router.get("/rejections/{uid}", summary="One rejection note")
def show_rejection(request: Request, archive: ArchiveDep, uid: str) -> Response:
    """What it names, why each of that is hidden, and what was done about it."""
    found = archive.rejections.show(check_uid(uid, "SOPInstanceUID"), scope_for(request, Right.REJECT))
    instances = [
        {
            "study": study,
            "series": series,
            "instance": instance,
            "stored": hidden is not None,
            "hidden": _causes(hidden),
        }
        for study, series, instance, hidden in found.instances
    ]
    return _json({**_note(found.note), "instances": instances, "actions": found.actions})


@router.post("/rejections", summary="Reject a study, a series or instances", status_code=201, dependencies=_CHANGES)
def reject_instances(request: Request, archive: ArchiveDep, body: NewRejection) -> Response:
    """Store a rejection note of our own."""
    for uid, name in ((body.study, "StudyInstanceUID"), (body.series, "SeriesInstanceUID")):
        if uid is not None:
            check_uid(uid, name)
    receipt = archive.rejections.reject(
        body.study,
        series=body.series,
        instances=body.instances,
        code=body.code,
        who=body.who,
        why=body.why,
        scope=scope_for(request, Right.REJECT),
    )
    return _stored(receipt)


@router.post("/rejections/{uid}/undo", summary="Undo a rejection", status_code=201, dependencies=_CHANGES)
def undo_rejection(request: Request, archive: ArchiveDep, uid: str, body: Undoing) -> Response:
    """Store a note that rejects the note."""
    scope = scope_for(request, Right.REJECT)
    uid = check_uid(uid, "SOPInstanceUID")
    return _stored(archive.rejections.undo(uid, who=body.who, why=body.why, scope=scope))


@router.get("/quarantine", summary="Studies in quarantine", dependencies=_PROVINCE)
def list_quarantine(archive: ArchiveDep) -> Response:
    """What unlisted senders sent, what came last first."""
    return _json([asdict(each) for each in archive.quarantine.studies()])


@router.post("/quarantine/release", summary="Store it for a facility", dependencies=[*_PROVINCE, *_CHANGES])
def release_quarantined(archive: ArchiveDep, body: Releasing) -> Response:
    """As if a peer of the facility had sent it."""
    return _json(asdict(archive.quarantine.release(body.decision(), body.facility)))


@router.post("/quarantine/discard", summary="Hide it for ever", dependencies=[*_PROVINCE, *_CHANGES])
def discard_quarantined(archive: ArchiveDep, body: Annotated[Discarding, ...]) -> Response:
    """Even from those who see everything; the bytes stay."""
    return _json({"instances": archive.quarantine.discard(body.decision())})


def _note(note: Rejection) -> dict[str, Any]:
    return {**asdict(note), "meaning": note.meaning}


def _causes(hidden: Hidden | None) -> list[str]:
    return [str(cause.name).lower() for cause in hidden or Hidden(0)]


def _stored(receipt: Receipt) -> Response:
    answer = {"uid": receipt.sop_instance_uid, "study": receipt.study_instance_uid, "unmet": receipt.unmet}
    return _json(answer, 201, {"Location": f"/rejections/{receipt.sop_instance_uid}"})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")
