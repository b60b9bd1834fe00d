"""What a patient sees who opens the link or scans the code: first the second factor, then images and reports.

Made for a phone, in few words. Nothing of the patient is shown, nor stands in an address, before the factor is right.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archive.core import Archive
from archive.delivery.link_records import LinkLocked, Question, TooSoon, WrongAnswer
from archive.delivery.results import Report, StudyResults
from archive.errors import NotFound, Unavailable
from archive.people.caller import Kind
from archive.people.roles import Right
from archive.records import StoredInstance
from config.logs import fields
from viewer_api.addresses import address_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import OPEN, known_caller, needs
from viewer_api.links import COOKIE, PREFIX, drop, keep
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import Row, facility_name, row, shown_date
from viewer_api.same_origin import SameOrigin
from viewer_api.short_messages import send_message

log = logging.getLogger(__name__)

router = APIRouter(prefix=PREFIX, include_in_schema=False)
_HOLDERS: Final = [needs(Right.VIEW)]
_DICOMWEB: Final = f"{PREFIX}/dicom-web"


@dataclass(frozen=True, slots=True)
class Picture:
    """Addresses of an image, small and large."""

    small: str
    large: str


@dataclass(frozen=True, slots=True)
class Document:
    """A report: lines to read, or the address of a PDF."""

    title: str
    date: str
    lines: list[Any]
    address: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A study on the page."""

    row: Row
    documents: list[Document]
    pictures: list[Picture]
    viewer: str


@router.get("", dependencies=[OPEN])
def results(request: Request, archive: ArchiveDep) -> Response:
    """Images and reports of an opened link."""
    caller = known_caller(request)
    if caller.kind is not Kind.LINK:
        return _asked(request, "closed", HTTPStatus.UNAUTHORIZED)
    text = texts(language_of(request))
    found = archive.results.of(caller.scope())
    if not found:
        return _asked(request, "closed", HTTPStatus.NOT_FOUND)
    return page(
        request,
        "patient.html",
        studies=[_shown(archive, each, text) for each in found],
        may_copy=caller.may(Right.COPY),
    )


@router.post("/close", dependencies=[OPEN])
def close(request: Request, archive: ArchiveDep, _: SameOrigin) -> Response:
    """Forget this browser: for a phone or computer that others use, too."""
    if secret := request.cookies.get(COOKIE):
        archive.links.close(secret)
        request.app.state.link_sign_in.forget()
    response = RedirectResponse(PREFIX, HTTPStatus.SEE_OTHER)
    drop(response)
    return response


@router.get("/report/{study}/{instance}", dependencies=_HOLDERS)
def report(request: Request, archive: ArchiveDep, study: str, instance: str) -> Response:
    """A report that is a PDF."""
    content = archive.results.pdf(known_caller(request).scope(), study, instance)
    response = Response(content, media_type="application/pdf")
    response.headers["Content-Disposition"] = 'inline; filename="ket-qua.pdf"'
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/{token}", dependencies=[OPEN])
def ask(request: Request, archive: ArchiveDep, token: str) -> Response:
    """The question of the second factor."""
    try:
        return _asked(request, archive.links.question(token), token=token)
    except NotFound:
        return _asked(request, "gone", HTTPStatus.NOT_FOUND)
    except LinkLocked:
        return _asked(request, "locked", HTTPStatus.FORBIDDEN)


@router.post("/{token}", dependencies=[OPEN])
def answer(
    request: Request, archive: ArchiveDep, token: str, _: SameOrigin, given: Annotated[str, Form(alias="answer")] = ""
) -> Response:
    """Open the link if the answer is right."""
    # Each link locks after a few tries; this is for who tries many, or makes them up.
    throttle, address = request.app.state.throttle, address_of(request)
    if throttle.is_shut(address):
        return _asked(request, "throttled", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        opened = archive.links.open(token, given, address)
    except NotFound:
        throttle.failed(address)
        return _asked(request, "gone", HTTPStatus.NOT_FOUND)
    except LinkLocked:
        return _asked(request, "locked", HTTPStatus.FORBIDDEN)
    except WrongAnswer as wrong:
        throttle.failed(address)
        if not wrong.left:
            return _asked(request, "locked", HTTPStatus.FORBIDDEN)
        return _asked(
            request, archive.links.question(token), HTTPStatus.FORBIDDEN, token=token, left=wrong.left, sent=True
        )
    response = RedirectResponse(PREFIX, HTTPStatus.SEE_OTHER)
    keep(response, request, opened)
    return response


@router.post("/{token}/code", dependencies=[OPEN])
def send_code(request: Request, archive: ArchiveDep, token: str, _: SameOrigin) -> Response:
    """Send a one-time code to the patient's telephone."""
    throttle, address = request.app.state.throttle, address_of(request)
    if throttle.is_shut(address):
        return _asked(request, "throttled", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        question = archive.links.question(token)
        new = archive.links.new_code(token, address)
    except NotFound:
        throttle.failed(address)
        return _asked(request, "gone", HTTPStatus.NOT_FOUND)
    except LinkLocked:
        return _asked(request, "locked", HTTPStatus.FORBIDDEN)
    except TooSoon:
        status, trouble = HTTPStatus.TOO_MANY_REQUESTS, "patient_code_too_soon"
        return _asked(request, question, status, token=token, sent=True, trouble=trouble)
    links = archive.settings.links
    text = texts(language_of(request))("patient_message", code=new.code, minutes=f"{links.code_minutes:g}")
    try:
        send_message(links.messages, new.phone, text)
    except Unavailable as error:
        log.warning("a one-time code could not be sent", extra=fields(error=str(error)))
        status, trouble = HTTPStatus.SERVICE_UNAVAILABLE, "patient_code_not_sent"
        return _asked(request, question, status, token=token, trouble=trouble)
    return _asked(request, question, token=token, sent=True)


def _asked(
    request: Request,
    what: str | Question,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    token: str = "",
    left: int | None = None,
    sent: bool = False,
    trouble: str = "",
) -> Response:
    """The page before the results: the question, or why there is none.

    `sent` says whether a one-time code is on its way, so that it can be typed in.
    """
    question = what if isinstance(what, Question) else None
    response = page(
        request,
        "patient_question.html",
        status,
        what=what if question is None else question.factor,
        tail="" if question is None else question.phone,
        action=f"{PREFIX}/{token}",
        left=left,
        sent=sent,
        trouble=trouble,
    )
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _shown(archive: Archive, found: StudyResults, text: Texts) -> Shown:
    line = row(found.study, facility_name(archive, found.owner), text)
    return Shown(
        line,
        [_document(each, text) for each in found.reports],
        [_picture(each) for each in found.images],
        f"{PREFIX}/viewer/viewer?StudyInstanceUIDs={line.study}",
    )


def _document(found: Report, text: Texts) -> Document:
    inst = found.instance
    address = f"{PREFIX}/report/{inst.study_instance_uid}/{inst.sop_instance_uid}" if found.lines is None else ""
    return document_of(found, text, address)


def document_of(found: Report, text: Texts, address: str) -> Document:
    """A report as text; the address is of its PDF, empty for one that is to be read here."""
    return Document(found.title, shown_date(found.date, text.language), found.lines or [], address)


def _picture(inst: StoredInstance) -> Picture:
    frame = (inst.number_of_frames + 1) // 2
    address = (
        f"{_DICOMWEB}/studies/{inst.study_instance_uid}/series/{inst.series_instance_uid}"
        f"/instances/{inst.sop_instance_uid}/frames/{max(1, frame)}/rendered?accept=image/jpeg&viewport="
    )
    return Picture(address + "480,480", address + "1600,1600")
