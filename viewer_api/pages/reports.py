"""Reports at ``/reports``: what is to be read, the form, what was signed, and its history.

Addresses hold numbers of reports and study UIDs, never a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from archive.audit.events import Action, AuditEvent, Detail
from archive.core import Archive
from archive.errors import ArchiveError, Conflict, NotFound
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reports.records import CODES, Entry, Written
from archive.reports.unread import Unread, Wanted
from config.peers import UNKNOWN_FACILITY
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.pages.language import language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.report_forms import (
    Sent,
    field,
    inputs,
    moment,
    patient_of,
    revision_of,
    sentence,
    written_of,
)
from viewer_api.pages.report_views import first_reader, line, past, shown
from viewer_api.pages.study_rows import facility_name, row
from viewer_api.pages.study_search import MODALITIES, clean, page_number
from viewer_api.problems import problem_of
from viewer_api.same_origin import SameOrigin

router = APIRouter(prefix="/reports", include_in_schema=False)
_READERS: Final = [needs(Right.VIEW)]
_WRITERS: Final = [needs(Right.REPORT)]
PAGE_SIZE: Final = 50
_DAYS: Final = (1, 3, 7, 30, 90)


@router.get("", dependencies=_WRITERS)
def unread(
    request: Request,
    archive: ArchiveDep,
    days: Annotated[str, Query()] = "7",
    facility: Annotated[str, Query()] = "",
    modality: Annotated[str, Query()] = "",
    urgent: Annotated[str, Query()] = "",
    mine: Annotated[str, Query()] = "",
    number: Annotated[str, Query(alias="page")] = "1",
) -> Response:
    """The studies without a signed report."""
    text, caller, at = texts(language_of(request)), who(request), page_number(number)
    wanted = Wanted(
        days=int(days) if days in map(str, _DAYS) else 7,
        facility=facility if facility in archive.peers.facilities else "",
        modality=modality if modality in MODALITIES else "",
        urgent=bool(urgent),
        mine=bool(mine),
        limit=PAGE_SIZE,
        offset=(at - 1) * PAGE_SIZE,
    )
    found: list[Unread] = []
    status, message = HTTPStatus.OK, ""
    try:
        found = archive.reports.reading.unread(caller, wanted)
        archive.looks.note(AuditEvent(Action.SEARCH, caller, detail={"what": "unread studies"}), about="unread")
    except ArchiveError as error:
        status = problem_of(error).status
        message = text("error_unavailable") if status >= HTTPStatus.INTERNAL_SERVER_ERROR else text("error_too_many")
    return page(
        request,
        "reports.html",
        status,
        message=message,
        lines=[line(each, archive, caller, text) for each in found[:PAGE_SIZE]],
        more=len(found) > PAGE_SIZE,
        at=at,
        wanted=wanted,
        days=_DAYS,
        modalities=MODALITIES,
        facilities=[each for code, each in archive.peers.facilities.items() if code != UNKNOWN_FACILITY.code],
    )


@router.get("/of/{study}", dependencies=_READERS)
def of_study(request: Request, archive: ArchiveDep, study: str) -> Response:
    """The reports on a study, and the way to begin one."""
    return _of_study(request, archive, clean(study))


@router.post("/begin", dependencies=_WRITERS)
def begin(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    study: Annotated[str, Form()] = "",
    template: Annotated[str, Form()] = "",
    another: Annotated[str, Form()] = "",
) -> Response:
    """Begin a report by a template."""
    caller, uid = who(request), clean(study)
    try:
        place = archive.reports.writers.place(caller, uid)
        templates = archive.reports.templates.of(place.code)
        chosen = templates.get(clean(template))
        written = templates.begun(chosen) if chosen else Written()
        entry = archive.reports.create(caller, uid, written, another=bool(another))
    except ArchiveError as error:
        return _of_study(request, archive, uid, error)
    return _to(f"/reports/{entry.number}/edit")


@router.post("/licence", dependencies=_WRITERS)
def licence(
    request: Request,
    archive: ArchiveDep,
    _: SameOrigin,
    value: Annotated[str, Form(alias="licence")] = "",
    number: Annotated[str, Form()] = "",
) -> Response:
    """Note the number of one's own practising licence, and go on."""
    caller, text = who(request), texts(language_of(request))
    entry = archive.reports.get(caller, clean(number))
    if caller.account is None:
        raise NotFound("no account has signed in")
    try:
        archive.reports.set_licence(caller, caller.account, value)
    except ArchiveError as error:
        return _form(request, archive, entry, error=error, message=sentence(error, text))
    return _to(f"/reports/{entry.number}/edit")


@router.get("/{number}", dependencies=_READERS)
def show(request: Request, archive: ArchiveDep, number: str) -> Response:
    """What a report says, and what it said before."""
    return _show(request, archive, clean(number))


@router.get("/{number}/print", dependencies=_READERS)
def printed(request: Request, archive: ArchiveDep, number: str) -> Response:
    """The PDF of the current version."""
    caller = who(request)
    entry = archive.reports.get(caller, clean(number))
    if entry.version is None:
        raise NotFound("nothing of this report was given out")
    detail: dict[str, Detail] = {"what": "report printed", "report": entry.number, "version": entry.version.number}
    archive.audit.record(AuditEvent(Action.VIEW, caller, studies=(entry.study,), detail=detail))
    content = archive.report_objects.printed(entry.number, entry.version, _name(request, caller))
    headers = {"Cache-Control": "no-store", "Content-Disposition": 'inline; filename="ket-qua.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)


@router.get("/{number}/edit", dependencies=_WRITERS)
def edit(request: Request, archive: ArchiveDep, number: str) -> Response:
    """The form of a draft."""
    caller = who(request)
    entry = archive.reports.get(caller, clean(number))
    if entry.draft is None and entry.status != "preliminary":
        return _to(f"/reports/{entry.number}")
    _seen(archive, caller, entry)
    return _form(request, archive, entry)


@router.post("/{number}/edit", dependencies=_WRITERS)
def write(request: Request, archive: ArchiveDep, _: SameOrigin, number: str, sent: Sent) -> Response:
    """Save the draft, and do with it what the button says."""
    caller, text, what = who(request), texts(language_of(request)), field(sent, "do")
    reports, given, revision = archive.reports, written_of(sent), revision_of(sent)
    entry = reports.get(caller, clean(number))
    by_script = "application/json" in request.headers.get("accept", "")
    try:
        if what == "discard":
            reports.discard(caller, entry.number, revision)
            return _to("/reports")
        saved = reports.save(caller, entry.number, revision, given)
        entry = saved
        if what == "preliminary":
            reports.give_out(caller, entry.number, saved.revision)
        elif what == "sign":
            reports.sign(caller, entry.number, saved.revision)
    except ArchiveError as error:
        template = reports.templates.of(entry.facility).get(given.template)
        message = sentence(error, text, template)
        if by_script:
            return _json({"message": message}, problem_of(error).status)
        return _form(request, archive, entry, given=given, error=error, message=message)
    if by_script:
        return _json({"revision": saved.revision})
    done = what in ("preliminary", "sign")
    return _to(f"/reports/{entry.number}" if done else f"/reports/{entry.number}/edit")


@router.post("/{number}/amend", dependencies=_WRITERS)
def amend(request: Request, archive: ArchiveDep, _: SameOrigin, number: str, sent: Sent) -> Response:
    """Begin another version of what was signed."""

    def work(caller: Caller) -> str:
        archive.reports.amend(caller, clean(number), revision_of(sent), field(sent, "reason"))
        return f"/reports/{clean(number)}/edit"

    return _act(request, archive, clean(number), work)


@router.post("/{number}/addend", dependencies=_WRITERS)
def addend(request: Request, archive: ArchiveDep, _: SameOrigin, number: str, sent: Sent) -> Response:
    """Add to what was signed."""

    def work(caller: Caller) -> str:
        said, why = field(sent, "text"), field(sent, "reason")
        archive.reports.addend(caller, clean(number), revision_of(sent), said, why)
        return f"/reports/{clean(number)}"

    return _act(request, archive, clean(number), work)


@router.post("/{number}/cancel", dependencies=_WRITERS)
def cancel(request: Request, archive: ArchiveDep, _: SameOrigin, number: str, sent: Sent) -> Response:
    """Say that what was given out does not hold."""

    def work(caller: Caller) -> str:
        archive.reports.cancel(caller, clean(number), revision_of(sent), field(sent, "reason"))
        return f"/reports/{clean(number)}"

    return _act(request, archive, clean(number), work)


# -- parts -----------------------------------------------------------------------------------------------------------


def _act(request: Request, archive: Archive, number: str, work: Callable[[Caller], str]) -> Response:
    try:
        return _to(work(who(request)))
    except NotFound:
        raise
    except ArchiveError as error:
        return _show(request, archive, number, error)


def _of_study(request: Request, archive: Archive, study: str, error: ArchiveError | None = None) -> Response:
    caller, text = who(request), texts(language_of(request))
    entries = archive.reports.of_study(caller, study)
    results = archive.results.of_study(caller.scope(), study)
    may_write = archive.reports.writers.may_write(caller, study)
    match = results.study
    code = archive.reports.writers.place(caller, study).code if may_write else ""
    modalities = [str(each) for each in match.get("00080061", {}).get("Value") or []]
    description = str((match.get("00081030", {}).get("Value") or [""])[0] or "")
    parts = [str(each) for each in match.get("00180015", {}).get("Value") or []]
    suggested = archive.reports.templates.of(code).suggested(modalities, parts, description)
    return page(
        request,
        "reports_of_study.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        row=row(match, facility_name(archive, results.owner), text),
        entries=[shown(each, archive, text) for each in entries],
        templates=suggested,
        may_write=may_write,
        message="" if error is None else sentence(error, text),
        conflict=isinstance(error, Conflict),
        asked_template="",
    )


def _show(request: Request, archive: Archive, number: str, error: ArchiveError | None = None) -> Response:
    caller, text = who(request), texts(language_of(request))
    entry = archive.reports.get(caller, number)
    _seen(archive, caller, entry)
    may_write = caller.may(Right.REPORT, entry.facility) and archive.reports.writers.may_write(caller, entry.study)
    history = archive.reports.history(caller, number)
    version = entry.version or entry.draft
    assert version is not None
    return page(
        request,
        "report.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        entry=shown(entry, archive, text),
        version=version,
        patient=patient_of(version.subject or archive.reports.subject(entry), text),
        history=[past(each, text) for each in history],
        addenda=[{**each, "when": moment(each["at"], text)} for each in version.addenda],
        first_reader=first_reader(history, version),
        may_write=may_write,
        has_draft=entry.draft is not None,
        may_copy=caller.may(Right.COPY),
        is_signed=entry.is_signed,
        message="" if error is None else sentence(error, text),
    )


def _form(
    request: Request,
    archive: Archive,
    entry: Entry,
    *,
    given: Written | None = None,
    error: ArchiveError | None = None,
    message: str = "",
) -> Response:
    caller, text = who(request), texts(language_of(request))
    version = entry.draft or entry.version
    assert version is not None
    written = given or version.written()
    templates = archive.reports.templates.of(entry.facility)
    template = templates.get(written.template)
    subject = archive.reports.subject(entry)
    known = {"MA_LK": subject["admission"], "MA_DICH_VU": subject["procedure_code"]}
    if template is not None:
        known["MA_DICH_VU"] = known["MA_DICH_VU"] or template.service_code
        known["MA_CHI_SO"] = template.index_code
    return page(
        request,
        "report_form.html",
        HTTPStatus.OK if error is None else problem_of(error).status,
        entry=shown(entry, archive, text),
        patient=patient_of(subject, text),
        form_template=template,
        written=written,
        inputs=inputs(template, written),
        codes=[(name, written.codes.get(name, ""), known.get(name, "")) for name in CODES],
        short_forms=sorted(templates.short_forms.items()),
        short_forms_json=orjson.dumps(dict(templates.short_forms)).decode(),
        licence=archive.reports.writers.licence(caller.account),
        licence_required=archive.settings.reports.licence_required,
        amending=entry.is_signed,
        reason=version.reason if entry.draft is not None else "",
        message=message,
    )


def _seen(archive: Archive, caller: Caller, entry: Entry) -> None:
    event = AuditEvent(Action.VIEW, caller, studies=(entry.study,), detail={"what": "report", "report": entry.number})
    archive.looks.note(event, about=f"report {entry.number}")


def _name(request: Request, caller: Caller) -> str:
    session = getattr(request.state, "session", None)
    return str(getattr(session, "display_name", "") or caller.name)


def _to(address: str) -> Response:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _json(body: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
