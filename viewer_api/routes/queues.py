"""What is sent on to other AEs, for programs: look at the queues, pause, retry, discard, send by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from archive.people.roles import Right
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/forwarding", tags=["Forwarding"], dependencies=[needs(Right.OPERATE, everywhere=True)])

_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "Asked for by a page of another site", **_PROBLEM},
    404: {"description": "No such destination, study or series", **_PROBLEM},
    503: {"description": "The archive cannot answer now", **_PROBLEM},
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    destination: str = Field(max_length=16)
    """AE title."""


class Chosen(_Body):
    """A destination, or one object in its queue."""

    task: int | None = None


class Discarded(Chosen):
    """What is to be given up."""

    everything: bool = False
    """The whole queue, not only what failed."""


class Sent(_Body):
    """A study or series to be sent."""

    study: str = Field(max_length=64)
    series: str | None = Field(default=None, max_length=64)
    priority: Literal["high", "medium", "low"] = "high"


@router.get("/queues", summary="The queue of each destination", responses={503: _ANSWERS[503]})
def queues(archive: ArchiveDep) -> list[dict[str, Any]]:
    """How the queues stand, times in UTC."""
    return [asdict(queue) for queue in archive.routing.queues()]


@router.get("/problems", summary="What a destination did not take", responses={503: _ANSWERS[503]})
def problems(
    archive: ArchiveDep,
    destination: Annotated[str, Query(max_length=16)],
    most: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Objects that are set aside, then those that wait for another try."""
    return [asdict(problem) for problem in archive.routing.problems(destination, most)]


@router.post("/pause", summary="Send nothing there", responses=_ANSWERS)
def pause(archive: ArchiveDep, chosen: Annotated[_Body, Body()], _: SameOrigin) -> dict[str, bool]:
    """Until resumed; what is on its way arrives."""
    archive.routing.pause(chosen.destination, paused=True)
    return {"paused": True}


@router.post("/resume", summary="Go on sending there", responses=_ANSWERS)
def resume(archive: ArchiveDep, chosen: Annotated[_Body, Body()], _: SameOrigin) -> dict[str, bool]:
    """The opposite of pause."""
    archive.routing.pause(chosen.destination, paused=False)
    return {"paused": False}


@router.post("/retry", summary="Try again now", responses=_ANSWERS)
def retry(archive: ArchiveDep, chosen: Annotated[Chosen, Body()], _: SameOrigin) -> dict[str, int]:
    """What failed, or one of it, and the destination itself."""
    return {"retried": archive.routing.retry(chosen.destination, chosen.task)}


@router.post("/discard", summary="Give up", responses=_ANSWERS)
def discard(archive: ArchiveDep, chosen: Annotated[Discarded, Body()], _: SameOrigin) -> dict[str, int]:
    """What failed, or one of it, or the whole queue."""
    done = archive.routing.discard(chosen.destination, chosen.task, only_failed=not chosen.everything)
    return {"discarded": done}


@router.post("/send", summary="Send a study or series by hand", responses=_ANSWERS)
def send(archive: ArchiveDep, wanted: Annotated[Sent, Body()], _: SameOrigin) -> dict[str, int]:
    """Wherever it has been."""
    count = archive.routing.send(wanted.study, wanted.destination, wanted.series, wanted.priority)
    return {"queued": count}
