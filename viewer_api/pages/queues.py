"""The page at ``/queues``: what is sent on to other AEs, and the means to steer it.

It shows AE titles and study UIDs, nothing else of a patient. Every change is a form sent by POST; the script only keeps
the page up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, NotFound, Unavailable
from archive.people.roles import Right
from archive.routing.routing import Problem, QueueState
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.same_origin import SameOrigin

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.OPERATE, everywhere=True)])

SHOWN_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True)
class Line:
    """One destination as text."""

    queue: QueueState
    oldest: str
    last: str
    again: str
    problems: list[tuple[Problem, str]]


@router.get("/queues")
def queues(request: Request, archive: ArchiveDep) -> Response:
    """All queues."""
    return _answer(request, archive)


@router.post("/queues")
def act(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    action: Annotated[str, Form()],
    destination: Annotated[str, Form()],
    task: Annotated[int | None, Form()] = None,
    study: Annotated[str, Form()] = "",
) -> Response:
    """Do one thing, then show the page anew, so that reloading it does not do it again."""
    routing = archive.routing
    try:
        if action in ("pause", "resume"):
            routing.pause(destination, paused=action == "pause")
        elif action == "retry":
            routing.retry(destination, task)
        elif action == "discard":
            routing.discard(destination, task)
        elif action == "send":
            routing.send(study.strip(), destination)
        else:
            raise NotFound("no such action")
    except (NotFound, Unavailable) as error:
        return _answer(request, archive, error)
    return RedirectResponse("/queues", HTTPStatus.SEE_OTHER)


def _answer(request: Request, archive: Archive, error: ArchiveError | None = None) -> Response:
    text = texts(language_of(request))
    lines: list[Line] = []
    try:
        lines = [_line(archive, queue, text) for queue in archive.routing.queues()]
    except Unavailable as unavailable:
        error = unavailable
    message = ""
    if error is not None:
        message = text("error_unavailable" if isinstance(error, Unavailable) else "queue_not_found")
    return page(
        request,
        "queues.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        lines=lines,
        message=message,
        destinations=[peer for peer in archive.peers.listed if peer.host],
        now=_clock(datetime.now(UTC), archive),
    )


def _line(archive: Archive, queue: QueueState, text: Texts) -> Line:
    troubled = queue.failed or queue.error
    problems = archive.routing.problems(queue.ae_title, SHOWN_PROBLEMS) if troubled else []
    return Line(
        queue=queue,
        oldest=_span(queue.oldest, text),
        last=_clock(queue.sent_at, archive),
        again=_span(queue.retry_at, text, ahead=True),
        problems=[(problem, _clock(problem.created_at, archive)) for problem in problems],
    )


def _span(moment: datetime | None, text: Texts, *, ahead: bool = False) -> str:
    """How long ago, or until when, in the largest unit that fits."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds() * (-1 if ahead else 1)
    if seconds <= 0:
        return ""
    for key, size in (("span_days", 86_400), ("span_hours", 3600), ("span_minutes", 60)):
        if seconds >= 2 * size:
            return text(key, count=int(seconds // size))
    return text("span_seconds", count=int(seconds))


def _clock(moment: datetime | None, archive: Archive) -> str:
    if moment is None:
        return ""
    return moment.astimezone(ZoneInfo(archive.settings.forward.time_zone)).strftime("%d/%m/%Y %H:%M:%S")
