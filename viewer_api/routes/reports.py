"""Reports as JSON, for programs that write or read them; and signed ones for insurers and health records.

A change names the revision that its author has seen by If-Match, the ETag of the answer before.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent, Detail
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.people.roles import Right
from archive.reports.exports import Export
from archive.reports.records import Author, Entry, Version, Written
from archive.reports.unread import Wanted
from archive.standard.uids import check_uid
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.etags import versions
from viewer_api.gate import needs
from viewer_api.routes.hidden import json_body
from viewer_api.same_origin import require_same_origin

router = APIRouter(prefix="/reporting", tags=["Reports"])

_READ: Final = [needs(Right.VIEW)]
_WRITE: Final = [needs(Right.REPORT), Depends(require_same_origin)]
_WRITE_JSON: Final = [*_WRITE, Depends(json_body)]
_COPY: Final = [needs(Right.COPY)]
_NO_NUL: Final = r"^[^\x00]*$"
Text = Annotated[str, Field(max_length=65536, pattern=_NO_NUL)]
Short = Annotated[str, Field(max_length=1024, pattern=_NO_NUL)]
Number = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", description="Number of the report")]
IfMatch = Annotated[str, Header(alias="If-Match", description="The ETag of the answer before")]
Form = Annotated[Literal["xml", "json"], Query(alias="format")]
UID = Annotated[str, Query(max_length=64, pattern=r"^[0-9.]+$")]
_FAULTS: Final = "X-Reports-Left-Out"
_FILES: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/xml": {}, "application/json": {}}}}
_TEXT_TO_SIGN: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/octet-stream": {}}}}
_PDF: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/pdf": {}}}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GivenAuthor(_Body):
    """Whose word it is; needed of programs, and not allowed of people, who write under their own name."""

    name: Annotated[str, Field(max_length=255, pattern=_NO_NUL)]
    licence: Annotated[str, Field(max_length=255, pattern=_NO_NUL)] = ""


class Said(_Body):
    """What a report says."""

    conclusion: Text = ""
    text: Text = Field(default="", description="What is seen, behind what the fields say")
    recommendation: Text = ""
    template: Annotated[str, Field(max_length=64, pattern=_NO_NUL)] = ""
    fields: dict[Annotated[str, Field(max_length=64)], Text] = Field(default={}, max_length=300)
    codes: dict[Annotated[str, Field(max_length=64)], Short] = Field(
        default={}, max_length=20, description="MA_LK, MA_DICH_VU, MA_CHI_SO, TEN_CHI_SO if not as the order says"
    )
    author: GivenAuthor | None = None

    def written(self) -> Written:
        """The same for the archive."""
        return Written(self.conclusion, self.text, self.recommendation, self.template, self.fields, self.codes)


class NewReport(Said):
    """A report to begin."""

    study: Annotated[str, Field(max_length=64)]
    another: bool = Field(default=False, description="Also if the facility has one on this study")


class GivingOut(_Body):
    """Who gives a version out, and how it is signed."""

    author: GivenAuthor | None = None
    signature: dict[str, str] | None = Field(
        default=None, description="method, certificate and value of an electronic signature of the text to be signed"
    )


class Otherwise(GivingOut):
    """Why a signed report is to say something else."""

    reason: Short
    text: Text = Field(default="", description="Of an addendum: what is added")


@router.get("/unread", summary="Studies without a signed report", dependencies=[needs(Right.REPORT)])
def list_unread(
    request: Request,
    archive: ArchiveDep,
    days: Annotated[int, Query(ge=1, le=366)] = 7,
    facility: Annotated[str, Query(max_length=64)] = "",
    modality: Annotated[str, Query(max_length=16)] = "",
    urgent: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """Urgent ones first, then those that wait longest."""
    caller = who(request)
    wanted = Wanted(days, facility, modality, urgent, limit=limit, offset=offset)
    found = archive.reports.reading.unread(caller, wanted)[:limit]
    archive.looks.note(AuditEvent(Action.SEARCH, caller, detail={"what": "unread studies"}), about="unread")
    return _json([asdict(each) for each in found])


@router.get("/templates", summary="Templates and short forms", dependencies=[needs(Right.REPORT)])
def list_templates(archive: ArchiveDep, facility: Annotated[str, Query(max_length=64)] = "") -> Response:
    """Those by which a facility writes."""
    found = archive.reports.templates.of(facility)
    listed = [each.model_dump(mode="json") for each in found.by_id.values()]
    return _json({"templates": listed, "short_forms": dict(found.short_forms)})


@router.get("/reports", summary="The reports on a study", dependencies=_READ)
def list_reports(request: Request, archive: ArchiveDep, study: UID) -> Response:
    """In the order in which they were begun."""
    entries = archive.reports.of_study(who(request), study)
    for each in entries:
        _seen(request, archive, each)
    return _json([_entry(each) for each in entries])


@router.post("/reports", summary="Begin a report", status_code=201, dependencies=_WRITE_JSON)
def begin_report(request: Request, archive: ArchiveDep, body: NewReport) -> Response:
    """A draft, for the facility that writes it."""
    check_uid(body.study, "StudyInstanceUID")
    made = archive.reports.create(
        who(request), body.study, body.written(), author=_author(body.author), another=body.another, source="api"
    )
    return _answer(made, HTTPStatus.CREATED)


@router.get("/reports/{number}", summary="A report", dependencies=_READ)
def show_report(request: Request, archive: ArchiveDep, number: Number) -> Response:
    """What it says, and for who writes it, what the draft says."""
    entry = archive.reports.get(who(request), number)
    _seen(request, archive, entry)
    return _answer(entry)


@router.get("/reports/{number}/history", summary="Its versions", dependencies=_READ)
def report_history(request: Request, archive: ArchiveDep, number: Number) -> Response:
    """Those that were given out, the first one first."""
    entry = archive.reports.get(who(request), number)
    _seen(request, archive, entry)
    return _json([_version(each) for each in archive.reports.history(who(request), number)])


@router.get(
    "/reports/{number}/pdf", summary="A PDF to print", response_class=Response, responses=_PDF, dependencies=_READ
)
def report_pdf(request: Request, archive: ArchiveDep, number: Number) -> Response:
    """Of the current version, with what a paper copy has to say of itself."""
    caller = who(request)
    entry = archive.reports.get(caller, number)
    if entry.version is None:
        raise NotFound("nothing of this report was given out")
    detail: dict[str, Detail] = {"what": "report printed", "report": number, "version": entry.version.number}
    archive.audit.record(AuditEvent(Action.VIEW, caller, studies=(entry.study,), detail=detail))
    content = archive.report_objects.printed(number, entry.version, caller.name)
    return Response(content, media_type="application/pdf", headers={"Cache-Control": "no-store"})


@router.get(
    "/reports/{number}/to-sign",
    summary="The text to be signed",
    response_class=Response,
    responses=_TEXT_TO_SIGN,
    dependencies=[needs(Right.REPORT)],
)
def text_to_sign(request: Request, archive: ArchiveDep, number: Number) -> Response:
    """Of the draft, for a program that signs it electronically for whoever asks."""
    content = archive.reports.to_sign(who(request), number)
    return Response(content, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


@router.put("/reports/{number}/draft", summary="Write a draft", dependencies=_WRITE_JSON)
def write_draft(request: Request, archive: ArchiveDep, number: Number, body: Said, if_match: IfMatch) -> Response:
    """In place of what it said."""
    author = _author(body.author)
    saved = archive.reports.save(who(request), number, _revision(if_match), body.written(), author=author)
    return _answer(saved)


@router.delete("/reports/{number}/draft", summary="Throw a draft away", status_code=204, dependencies=_WRITE)
def discard_draft(request: Request, archive: ArchiveDep, number: Number, if_match: IfMatch) -> Response:
    """What was given out stays."""
    archive.reports.discard(who(request), number, _revision(if_match))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/reports/{number}/preliminary", summary="Give out before signing", dependencies=_WRITE_JSON)
def give_out(request: Request, archive: ArchiveDep, number: Number, body: GivingOut, if_match: IfMatch) -> Response:
    """Others may read it."""
    revision, author = _revision(if_match), _author(body.author)
    return _answer(archive.reports.give_out(who(request), number, revision, author=author))


@router.post("/reports/{number}/sign", summary="Sign", dependencies=_WRITE_JSON)
def sign(request: Request, archive: ArchiveDep, number: Number, body: GivingOut, if_match: IfMatch) -> Response:
    """It can never be changed or unsigned."""
    revision, author = _revision(if_match), _author(body.author)
    signed = archive.reports.sign(who(request), number, revision, author=author, signature=body.signature)
    return _answer(signed)


@router.post("/reports/{number}/amend", summary="Begin another version", dependencies=_WRITE_JSON)
def amend(request: Request, archive: ArchiveDep, number: Number, body: Otherwise, if_match: IfMatch) -> Response:
    """It takes the place of what was signed when it is signed itself."""
    revision, author = _revision(if_match), _author(body.author)
    return _answer(archive.reports.amend(who(request), number, revision, body.reason, author=author))


@router.post("/reports/{number}/addend", summary="Add to a signed report", dependencies=_WRITE_JSON)
def addend(request: Request, archive: ArchiveDep, number: Number, body: Otherwise, if_match: IfMatch) -> Response:
    """It stays as it is; what is added is signed at once."""
    revision, author = _revision(if_match), _author(body.author)
    done = archive.reports.addend(
        who(request), number, revision, body.text, body.reason, author=author, signature=body.signature
    )
    return _answer(done)


@router.post("/reports/{number}/cancel", summary="Cancel", dependencies=_WRITE_JSON)
def cancel(request: Request, archive: ArchiveDep, number: Number, body: Otherwise, if_match: IfMatch) -> Response:
    """It does not hold any more; what it said is kept."""
    revision, author = _revision(if_match), _author(body.author)
    return _answer(archive.reports.cancel(who(request), number, revision, body.reason, author=author))


@router.get(
    "/reports/{number}/xml4",
    summary="A signed report for insurers",
    response_class=Response,
    responses=_FILES,
    dependencies=_COPY,
)
def report_xml4(request: Request, archive: ArchiveDep, number: Number, form: Form = "xml") -> Response:
    """Rows of XML4 (QĐ 130, QĐ 4750). As XML without what an insurer would refuse; JSON says what that is."""
    return _file(archive.report_exports.one(who(request), number, "xml4", form), f"XML4-{number}.{form}")


@router.get(
    "/reports/{number}/hosobenhan",
    summary="A signed report for a health record",
    response_class=Response,
    responses=_FILES,
    dependencies=_COPY,
)
def report_record(request: Request, archive: ArchiveDep, number: Number, form: Form = "xml") -> Response:
    """HoSoBenhAn with KetQuaChanDoanHinhAnh."""
    return _file(archive.report_exports.one(who(request), number, "hosobenhan", form), f"HoSoBenhAn-{number}.{form}")


@router.get(
    "/xml4",
    summary="What a facility signed on a day, for insurers",
    response_class=Response,
    responses=_FILES,
    dependencies=_COPY,
)
def day_xml4(
    request: Request, archive: ArchiveDep, facility: Annotated[str, Query(max_length=64)], day: date, form: Form = "xml"
) -> Response:
    """As for one report."""
    found = archive.report_exports.day(who(request), facility, day, "xml4", form)
    return _file(found, f"XML4-{day.isoformat()}.{form}")


@router.get(
    "/hosobenhan",
    summary="What a facility signed on a day, for health records",
    response_class=Response,
    responses=_FILES,
    dependencies=_COPY,
)
def day_record(
    request: Request, archive: ArchiveDep, facility: Annotated[str, Query(max_length=64)], day: date, form: Form = "xml"
) -> Response:
    """As for one report."""
    found = archive.report_exports.day(who(request), facility, day, "hosobenhan", form)
    return _file(found, f"HoSoBenhAn-{day.isoformat()}.{form}")


# -- parts -----------------------------------------------------------------------------------------------------------


def _author(given: GivenAuthor | None) -> Author | None:
    return None if given is None else Author(given.name, given.licence)


def _revision(if_match: str) -> int:
    found = versions(if_match)
    if len(found) != 1:
        raise InvalidQuery("If-Match names one ETag: that of the report as it was seen")
    return found[0]


def _seen(request: Request, archive: Archive, entry: Entry) -> None:
    detail: dict[str, Detail] = {"what": "report", "report": entry.number}
    event = AuditEvent(Action.VIEW, who(request), studies=(entry.study,), detail=detail)
    archive.looks.note(event, about=f"report {entry.number}")


def _version(version: Version) -> dict[str, Any]:
    return {**asdict(version), "digest": version.digest.hex() if version.digest else None}


def _entry(entry: Entry) -> dict[str, Any]:
    parts = {"version": entry.version, "draft": entry.draft}
    shown = {name: None if each is None else _version(each) for name, each in parts.items()}
    return {name: value for name, value in asdict(entry).items() if name not in ("id", *parts)} | shown


def _answer(entry: Entry, status: int = HTTPStatus.OK) -> Response:
    response = _json(_entry(entry), status)
    response.headers["ETag"] = f'"{entry.revision}"'
    if status == HTTPStatus.CREATED:
        response.headers["Location"] = f"/reporting/reports/{entry.number}"
    return response


def _json(body: Any, status: int = HTTPStatus.OK) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")


def _file(found: Export, name: str) -> Response:
    left_out = len({fault.report for fault in found.faults})
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{name}"',
        _FAULTS: str(left_out),
    }
    return Response(found.content, media_type=found.media_type, headers=headers)
