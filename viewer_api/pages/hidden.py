"""The page ``/hidden``: which rejection notes there are and what each hides, and what lies in quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from archive.people.roles import Right
from archive.rejection.rejections import Rejection
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.routes.hidden import administrators
from viewer_api.views import scope_for

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.REJECT), Depends(administrators)])

_SHOWN: Final = 200
# Vietnam has one time zone and no summer time; the clock of a container is mostly UTC.
_VIETNAM: Final = timezone(timedelta(hours=7))


@router.get("/hidden")
def hidden(request: Request, archive: ArchiveDep) -> Response:
    """The latest notes, and all of the quarantine."""
    text = texts(language_of(request))
    scope = scope_for(request, Right.REJECT)
    return page(
        request,
        "hidden.html",
        notes=[(note, _state(note, text)) for note in archive.rejections.notes(limit=_SHOWN, scope=scope)],
        quarantined=archive.quarantine.studies() if scope.facilities is None else [],
        time=lambda at: _time(at, text.language),
    )


def _state(note: Rejection, text: Texts) -> str:
    if not note.permitted:
        return text("hidden_not_permitted")
    return text("hidden_holds" if note.active else "hidden_undone")


def _time(at: datetime, language: str) -> str:
    local = at.astimezone(_VIETNAM)
    return local.strftime("%d/%m/%Y %H:%M") if language == "vi" else local.strftime("%Y-%m-%d %H:%M")
