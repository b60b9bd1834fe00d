"""HL7 messages for programs: the log, how senders and receivers stand, pause, and doing it again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from archive.hl7.message import readable
from archive.hl7.messages import STATES, Wanted
from archive.people.roles import Right
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/hl7", tags=["HL7"], dependencies=[needs(Right.OPERATE, everywhere=True)])

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "Asked for by a page of another site", **_PROBLEM},
    404: {"description": "No such message, sender or receiver", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}
_READING: Final[dict[int | str, dict[str, Any]]] = {404: _ANSWERS[404], 503: _ANSWERS[503]}
Text = Annotated[str, Query(max_length=64, pattern=r"^[^\x00-\x1f]*$")]
Number = Annotated[int, Field(ge=1, lt=1 << 63)]


class Peer(BaseModel):
    """A sender or receiver of the settings."""

    model_config = ConfigDict(extra="forbid")

    direction: Literal["in", "out"]
    name: str = Field(max_length=64)


class Chosen(BaseModel):
    """Messages by their numbers."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Number] = Field(min_length=1, max_length=1000)


@router.get("/messages", summary="The log, the newest first", responses={503: _ANSWERS[503]})
def list_messages(
    archive: ArchiveDep,
    direction: Annotated[Literal["in", "out"] | None, Query()] = None,
    peer: Text = "",
    state: Annotated[
        list[Literal["received", "done", "refused", "waiting", "sent", "set_aside"]] | None, Query()
    ] = None,
    message_type: Text = "",
    control_id: Text = "",
    first: Annotated[datetime | None, Query(description="Came at this time or later")] = None,
    last: Annotated[datetime | None, Query(description="Came at this time or earlier")] = None,
    before: Annotated[int | None, Query(ge=1, lt=1 << 63, description="Only lower numbers")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Nothing of a patient; times in UTC."""
    wanted = Wanted(direction, peer, tuple(state or ()), message_type, control_id, first, last, before, limit)
    return [asdict(line) for line in archive.messages.search(wanted)]


@router.get("/messages/{number}", summary="What a message says; on record", responses=_READING)
def get_message(request: Request, archive: ArchiveDep, number: int) -> dict[str, Any]:
    """The message and the acknowledgement as text."""
    content = archive.messages.content(number, who(request))
    texts = {"message": readable(content.message), "answer": readable(content.answer)}
    return {**asdict(content.line), **texts}


@router.get("/peers", summary="How senders and receivers stand", responses={503: _ANSWERS[503]})
def list_hl7_peers(archive: ArchiveDep) -> list[dict[str, Any]]:
    """Queues, failures, pauses."""
    return [asdict(peer) for peer in archive.messages.peers()]


@router.post("/pause", summary="Do or send nothing more", responses=_ANSWERS)
def pause_hl7(archive: ArchiveDep, chosen: Annotated[Peer, Body()], _: SameOrigin) -> dict[str, bool]:
    """What comes is kept and told to come again later; what is to go waits."""
    archive.messages.pause(chosen.direction, chosen.name, paused=True)
    return {"paused": True}


@router.post("/resume", summary="Go on", responses=_ANSWERS)
def resume_hl7(archive: ArchiveDep, chosen: Annotated[Peer, Body()], _: SameOrigin) -> dict[str, bool]:
    """The opposite of pause."""
    archive.messages.pause(chosen.direction, chosen.name, paused=False)
    return {"paused": False}


@router.post("/replay", summary="Do messages again, or send them once more", responses=_ANSWERS)
def replay_messages(archive: ArchiveDep, chosen: Annotated[Chosen, Body()], _: SameOrigin) -> list[dict[str, Any]]:
    """In the order of their numbers, as the settings are now; what later messages changed stays as it is."""
    return [asdict(archive.messages.replay(number)) for number in sorted(chosen.messages)]


assert STATES == ("received", "done", "refused", "waiting", "sent", "set_aside")
