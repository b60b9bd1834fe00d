"""The page at ``/messages``: what came and went by HL7, and doing it again.

The list shows nothing of a patient. What a message says is shown on a page of its own, and each look is on record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.errors import ArchiveError, NotFound, Unavailable
from archive.hl7.message import readable
from archive.hl7.messages import STATES, Direction, Line, Wanted
from archive.people.roles import Right
from config.clock import VIETNAM
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.problems import problem_of
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/messages", include_in_schema=False, dependencies=[needs(Right.OPERATE, everywhere=True)])

SHOWN: Final = 100
_LINES: Final = re.compile("\r\n|\r|\n")
_LONGEST: Final = 400
"""Characters of a line of a message that are shown: a document in it may have megabytes."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What stands in the form."""

    direction: str = ""
    peer: str = ""
    state: str = ""
    message_type: str = ""
    day: str = ""

    def wanted(self, before: int | None = None, limit: int = SHOWN) -> Wanted:
        """What it means; a day that is none counts as not given."""
        first = _midnight(self.day)
        return Wanted(
            "in" if self.direction == "in" else "out" if self.direction == "out" else None,
            self.peer,
            (self.state,) if self.state in STATES else (),
            self.message_type,
            first=first,
            last=first + timedelta(days=1) if first else None,
            before=before,
            limit=limit,
        )

    def address(self, **more: str) -> str:
        """Of the page that shows this."""
        given = {**{name: str(getattr(self, name)) for name in _NAMES}, **more}
        return f"/messages?{urlencode({name: value for name, value in given.items() if value})}"


_NAMES: Final = ("direction", "peer", "state", "message_type", "day")
Short = Annotated[str, Query(max_length=64)]
Field = Annotated[str, Form(max_length=64)]


@router.get("")
def messages(
    request: Request,
    archive: ArchiveDep,
    direction: Short = "",
    peer: Short = "",
    state: Short = "",
    message_type: Short = "",
    day: Short = "",
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """The newest messages that meet the conditions."""
    return _answer(request, archive, Filter(direction, peer, state, message_type.strip(), day), before=before)


@router.post("")
def act(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    action: Field,
    way: Field = "",
    name: Field = "",
    number: Annotated[int | None, Form()] = None,
    direction: Field = "",
    peer: Field = "",
    state: Field = "",
    message_type: Field = "",
    day: Field = "",
) -> Response:
    """Do one thing, then show the page anew, so that reloading it does not do it again."""
    shown = Filter(direction, peer, state, message_type, day)
    ours: Direction = "out" if way == "out" else "in"
    try:
        if action in ("pause", "resume"):
            archive.messages.pause(ours, name, paused=action == "pause")
        elif action == "retry":
            archive.messages.retry(name)
        elif action == "replay" and number is not None:
            archive.messages.replay(number)
        elif action == "replay_all":
            for each in archive.messages.find(shown.wanted(limit=1000)):
                archive.messages.replay(each)
        else:
            raise NotFound("no such action")
    except (NotFound, Unavailable) as error:
        return _answer(request, archive, shown, error)
    return RedirectResponse(shown.address(), HTTPStatus.SEE_OTHER)


@router.get("/{number}")
def message(request: Request, archive: ArchiveDep, number: int) -> Response:
    """What a message says; on record."""
    try:
        content = archive.messages.content(number, who(request))
    except (NotFound, Unavailable) as error:
        return _answer(request, archive, Filter(), error)
    names = {sender.name: sender for sender in archive.settings.hl7.senders}
    sender = names.get(content.line.peer) if content.line.direction == "in" else None
    character_set = (sender.actual_character_set or sender.default_character_set) if sender else None
    return page(
        request,
        "message.html",
        line=content.line,
        moment=_clock(content.line.received_at),
        message=_readable(content.message, character_set),
        answer=_readable(content.answer, None),
    )


def _answer(
    request: Request,
    archive: Archive,
    shown: Filter,
    error: ArchiveError | None = None,
    before: int | None = None,
) -> Response:
    text = texts(language_of(request))
    lines: list[Line] = []
    peers = []
    try:
        peers = archive.messages.peers()
        lines = archive.messages.search(shown.wanted(before))
    except Unavailable as unavailable:
        error = unavailable
    told = ""
    if error is not None:
        told = text("error_unavailable" if isinstance(error, Unavailable) else "message_not_found")
    return page(
        request,
        "messages.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        peers=[(peer, _clock(peer.last_at)) for peer in peers],
        lines=[(line, _clock(line.received_at)) for line in lines],
        message=told,
        wanted=shown,
        states=STATES,
        names=sorted({peer.name for peer in peers}),
        older=shown.address(before=str(lines[-1].id)) if len(lines) == SHOWN else "",
        on=archive.settings.hl7.enabled,
    )


def _midnight(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(hour=0, minute=0, tzinfo=VIETNAM) if text else None
    except ValueError:
        return None


def _clock(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M:%S")


def _readable(data: bytes, character_set: str | None) -> list[str]:
    """The segments as text, in the character set that the message names or else its sender is known to write."""
    lines = _LINES.split(readable(data, character_set))
    return [
        line if len(line) <= _LONGEST else f"{line[:_LONGEST]} … (+{len(line) - _LONGEST})" for line in lines if line
    ]
