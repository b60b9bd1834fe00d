"""Who saw this patient's images: the audit trail at ``/audit``, for administrators.

The form is sent by POST, so that no number of a patient stands in an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final

import segno
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archive.audit.events import Action
from archive.audit.review import Conspicuous
from archive.audit.search import AuditEntry, AuditSearch
from archive.core import Archive
from archive.people.roles import Right
from config import clock
from config.clock import VIETNAM
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_search import clean
from viewer_api.routes.audit import exported, lookup_code, note, read

router = APIRouter(prefix="/audit", include_in_schema=False, dependencies=[needs(Right.AUDIT)])

SHOWN: Final = 200
PRINTED: Final = 1000
REVIEWED_DAYS: Final = 30
_USUAL_DAYS: Final = 30
# What looks at images and hands them on: the question that patients ask.
LOOKS: Final = (Action.VIEW, Action.COPY, Action.DELIVER, Action.EXPORT, Action.BREAK_GLASS)


@dataclass(frozen=True, slots=True)
class Filter:
    """What stands in the form."""

    patient_id: str = ""
    study: str = ""
    """A Study Instance UID or an accession number."""
    name: str = ""
    action: str = ""
    first: str = ""
    last: str = ""

    def search(self, limit: int) -> AuditSearch:
        """What it means. Raises `ValueError` for dates that are none."""
        is_uid = self.study.replace(".", "").isdigit() and self.study.count(".") > 2
        return AuditSearch(
            patient_id=self.patient_id,
            study=self.study if is_uid else "",
            accession_number="" if is_uid else self.study,
            name=self.name,
            actions=_actions(self.action),
            outcome="denied" if self.action == "denied" else "",
            first=_midnight(self.first) if self.first else None,
            last=_midnight(self.last) + timedelta(days=1) if self.last else None,
            limit=limit,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A record as text, not yet escaped."""

    reference: str
    moment: str
    action: str
    outcome: str
    who: str
    kind: str
    home: str
    address: str
    patient_id: str
    studies: list[str]
    owners: str
    purpose: str
    what: str
    foreign: bool


@router.get("")
def audit(request: Request, archive: ArchiveDep) -> Response:
    """The empty form: nothing is shown that nobody asked for."""
    today = clock.today()
    wanted = Filter(action="looks", first=(today - timedelta(days=_USUAL_DAYS)).isoformat(), last=today.isoformat())
    return _page(request, archive, wanted, None)


@router.post("")
def search(
    request: Request,
    archive: ArchiveDep,
    patient_id: Annotated[str, Form()] = "",
    study: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    action: Annotated[str, Form()] = "",
    first: Annotated[str, Form()] = "",
    last: Annotated[str, Form()] = "",
    way: Annotated[str, Form()] = "show",
) -> Response:
    """The records that fit: on the page, as a file, or to be printed."""
    wanted = Filter(*(clean(value) for value in (patient_id, study, name, action, first, last)))
    try:
        asked = wanted.search(PRINTED if way == "print" else SHOWN)
    except ValueError:
        text = texts(language_of(request))
        return _page(request, archive, wanted, None, text("error_dates"), HTTPStatus.BAD_REQUEST)
    if way == "csv":
        return exported(request, archive, asked)
    if way == "print":
        return _printed(request, archive, wanted, asked)
    return _page(request, archive, wanted, read(request, archive, asked))


@router.get("/log-review")
def review(request: Request, archive: ArchiveDep) -> Response:
    """What is conspicuous in the last days."""
    note(request, archive, AuditSearch(), "log reviewed", days=REVIEWED_DAYS)
    found = archive.trail.review(REVIEWED_DAYS, known_caller(request).rights[Right.AUDIT])
    text = texts(language_of(request))
    parts = (
        ("audit_failed_sign_ins", found.failed_sign_ins),
        ("audit_refused", found.refused),
        ("audit_mass_access", found.mass_access),
        ("audit_break_glass", found.break_glass),
    )
    return page(
        request,
        "audit_review.html",
        days=REVIEWED_DAYS,
        parts=[(title, [_conspicuous(each, text) for each in entries]) for title, entries in parts],
    )


def _page(
    request: Request,
    archive: Archive,
    wanted: Filter,
    found: list[AuditEntry] | None,
    message: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    text = texts(language_of(request))
    return page(
        request,
        "audit.html",
        status,
        wanted=wanted,
        lines=None if found is None else [_line(archive, entry, text) for entry in found],
        full=found is not None and len(found) == SHOWN,
        actions=("", "looks", "denied", *(action.value for action in Action)),
        message=message,
    )


def _printed(request: Request, archive: Archive, wanted: Filter, asked: AuditSearch) -> Response:
    """The answer to a patient's request, with the footer that a print of electronic records has to have."""
    text, caller = texts(language_of(request)), known_caller(request)
    found = archive.trail.search(asked, caller.rights[Right.AUDIT])
    now = datetime.now(UTC)
    code = lookup_code(found, now)
    note(request, archive, asked, "audit printed", records=len(found), lookup=code)
    owners = sorted({code for entry in found for code in entry.owners})
    return page(
        request,
        "audit_print.html",
        wanted=wanted,
        period=[_day(wanted.first, text), _day(wanted.last, text)],
        lines=[_line(archive, entry, text) for entry in found],
        full=len(found) == PRINTED,
        moment=_shown(now, text),
        code=code,
        who=caller.name,
        owners=", ".join(_names(archive, owners)),
        picture=segno.make(code, error="m").svg_inline(scale=3, border=2, dark="#000", light="#fff"),
    )


def _line(archive: Archive, entry: AuditEntry, text: Texts) -> Line:
    counted = entry.detail.get("instances")
    what = str(entry.detail.get("destination") or entry.detail.get("keys") or "")
    images = text("audit_instances", count=counted) if counted else ""
    return Line(
        entry.reference,
        _shown(entry.recorded_at, text),
        text(f"audit_action_{entry.action}"),
        entry.outcome,
        entry.name or text("audit_nobody"),
        text(f"audit_kind_{entry.kind}"),
        ", ".join(_names(archive, entry.home)),
        entry.address,
        entry.patient_id,
        entry.studies,
        ", ".join(_names(archive, entry.owners)),
        entry.purpose,
        "; ".join(filter(None, (images, what.strip("[]").replace("'", "")))),
        entry.foreign,
    )


def _conspicuous(each: Conspicuous, text: Texts) -> dict[str, Any]:
    return {
        "name": each.name or text("audit_nobody"),
        "addresses": ", ".join(each.addresses[:5]),
        "count": each.count,
        "last": _shown(each.last, text),
        "late": each.late,
        "purpose": each.purpose,
    }


def _day(given: str, text: Texts) -> str:
    """A date of the form as the reader writes it."""
    return date.fromisoformat(given).strftime("%d/%m/%Y" if text.language == "vi" else "%Y-%m-%d") if given else "…"


def _names(archive: Archive, codes: list[str]) -> list[str]:
    facilities = archive.peers.facilities
    return [facilities[code].name if code in facilities else code for code in codes]


def _actions(chosen: str) -> tuple[str, ...]:
    if chosen == "looks":
        return tuple(action.value for action in LOOKS)
    return (chosen,) if chosen in [action.value for action in Action] else ()


def _midnight(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), time(), VIETNAM)


def _shown(moment: datetime, text: Texts) -> str:
    local = moment.astimezone(VIETNAM)
    return local.strftime("%d/%m/%Y %H:%M:%S" if text.language == "vi" else "%Y-%m-%d %H:%M:%S")
