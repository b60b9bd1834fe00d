"""The page at ``/worklist``: who is to be examined on a day, where, and how far that is.

The form is sent by POST, as that of the study list and for the same reason: no patient stands in an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archive.core import Archive
from archive.errors import Unavailable
from archive.people.roles import Right
from archive.worklist.listing import ItemSearch
from archive.worklist.order import CLOSED, OPEN, STATUSES
from archive.worklist.rows import WorklistEntry
from config import clock
from config.peers import UNKNOWN_FACILITY
from viewer_api.audited import listed
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import age_between, read_date, shown_time, spoken_name
from viewer_api.pages.study_search import MODALITIES, clean, page_number
from viewer_api.problems import problem_of
from viewer_api.views import scope_for

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.ORDERS)])

PAGE_SIZE: Final = 100
_SHOWN: Final = {"open": OPEN, "closed": CLOSED, "all": STATUSES}
_URGENT: Final = frozenset(("STAT", "HIGH"))
_PREGNANT: Final = {2: "pregnant_possibly", 3: "pregnant_definitely"}
"""PS3.3 C.2.4: Pregnancy Status."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What stands in the form."""

    day: str = ""
    facility: str = ""
    modality: str = ""
    shown: str = "open"
    text: str = ""
    page: int = 1

    def search(self) -> ItemSearch:
        """The search. Raises `ValueError` for a day that is none."""
        day = date.fromisoformat(self.day) if self.day else clock.today()
        return ItemSearch(
            first=day,
            last=day,
            statuses=_SHOWN[self.shown],
            modality=self.modality,
            facility=self.facility,
            text=self.text,
            limit=PAGE_SIZE,
            offset=(self.page - 1) * PAGE_SIZE,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """An item as text, not yet escaped."""

    time: str
    name: str
    patient_id: str
    sex: str
    age: str
    modality: str
    procedure: str
    station: str
    accession: str
    facility: str
    status: str
    status_text: str
    warnings: list[str]
    urgent: bool
    study: str
    images: int
    missing: int


@router.get("/worklist")
def worklist(request: Request, archive: ArchiveDep) -> Response:
    """Today's items that are not done."""
    return _answer(request, archive, Filter())


@router.post("/worklist")
def search(
    request: Request,
    archive: ArchiveDep,
    day: Annotated[str, Form()] = "",
    facility: Annotated[str, Form()] = "",
    modality: Annotated[str, Form()] = "",
    shown: Annotated[str, Form()] = "open",
    text: Annotated[str, Form()] = "",
    number: Annotated[str, Form(alias="page")] = "1",
) -> Response:
    """The items that match the form."""
    wanted = Filter(
        day=clean(day),
        facility=facility if facility in archive.peers.facilities else "",
        modality=modality if modality in MODALITIES else "",
        shown=shown if shown in _SHOWN else "open",
        text=clean(text),
        page=page_number(number),
    )
    return _answer(request, archive, wanted)


def _answer(request: Request, archive: Archive, wanted: Filter) -> Response:
    text = texts(language_of(request))
    status, message = HTTPStatus.OK, ""
    lines: list[Line] = []
    total = 0
    counts: dict[str, int] = {}
    try:
        limits = wanted.search()
        scope = scope_for(request, Right.ORDERS)
        found, total = archive.worklist.search(limits, scope)
        missing = archive.performed.missing_of([entry.id for entry in found], scope)
        counts = archive.worklist.counts(limits, scope)
        listed(request, archive, "search of the worklist", _keys(wanted), total)
        lines = [_line(entry, missing.get(entry.id, 0), archive, text) for entry in found]
    except ValueError:
        status, message = HTTPStatus.BAD_REQUEST, text("error_dates")
    except Unavailable as error:
        status, message = problem_of(error).status, text("error_unavailable")
    return page(
        request,
        "worklist.html",
        status,
        filter=wanted,
        day=wanted.day or clock.today().isoformat(),
        lines=lines,
        message=message,
        counts=[(text(f"worklist_status_{name}"), name, counts[name]) for name in STATUSES if counts.get(name)],
        total=total,
        pages=max(1, -(-total // PAGE_SIZE)),
        modalities=MODALITIES,
        facilities=[each for code, each in archive.peers.facilities.items() if _offered(request, code)],
        choices=list(_SHOWN),
    )


def _keys(wanted: Filter) -> list[str]:
    """What the form asked for, as the audit trail has it."""
    given = {"day": wanted.day or clock.today().isoformat(), "facility": wanted.facility, "modality": wanted.modality}
    given |= {"shown": wanted.shown, "text": wanted.text, "page": str(wanted.page)}
    return [f"{name}={value}" for name, value in given.items() if value]


def _offered(request: Request, facility: str) -> bool:
    return facility != UNKNOWN_FACILITY.code and known_caller(request).may(Right.ORDERS, facility)


def _line(entry: WorklistEntry, missing: int, archive: Archive, text: Texts) -> Line:
    order: dict[str, Any] = entry.order()
    facility = archive.peers.facilities.get(entry.facility)
    sex = order.get("PatientSex", "")
    born, due = (read_date(order.get(name, "")) for name in ("PatientBirthDate", "ScheduledProcedureStepStartDate"))
    start = order["ScheduledProcedureStepStartTime"]
    return Line(
        # Midnight is what an order without a time is given.
        time="" if start == "000000" else shown_time(start),
        name=spoken_name(order["PatientName"]),
        patient_id=order["PatientID"],
        sex=text.get(f"sex_{sex}") or sex,
        age=age_between(born, due, text),
        modality=order["Modality"],
        procedure=order.get("RequestedProcedureDescription", ""),
        station=", ".join(order.get("ScheduledStationAETitle", ())),
        accession=order.get("AccessionNumber", ""),
        facility=facility.name if facility else entry.facility,
        status=entry.status,
        status_text=text(f"worklist_status_{entry.status}"),
        warnings=_warnings(order, text),
        urgent=order.get("RequestedProcedurePriority", "").upper() in _URGENT,
        study=entry.study_instance_uid,
        images=entry.image_count,
        missing=missing,
    )


def _warnings(order: dict[str, Any], text: Texts) -> list[str]:
    """What the technician must know before the patient comes in."""
    found = []
    pregnancy = _PREGNANT.get(order.get("PregnancyStatus", 0))
    if pregnancy:
        found.append(text(pregnancy))
    if order.get("Allergies"):
        found.append(text("worklist_allergies", what=", ".join(order["Allergies"])))
    found += order.get("MedicalAlerts", [])
    return found
