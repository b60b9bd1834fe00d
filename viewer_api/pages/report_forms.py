"""What the pages of reports show and read: the form of a report, and sentences about what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import FormData

from archive.errors import ArchiveError, Conflict, InvalidItem, NotFound, NotPermitted, Outdated, Unavailable
from archive.reports.records import CODES, Version, Written
from archive.reports.templates import Template
from config.clock import VIETNAM
from viewer_api.pages.language import Texts
from viewer_api.pages.study_rows import age_between, spoken_name

FIELD: Final = "f."
CODE: Final = "c."
_LONG: Final = 70
_OF_FIELDS: Final = ("conclusion", "licence", "reason", "signature", "text", "author")


@dataclass(frozen=True, slots=True)
class Input:
    """A field of the template as the form shows it."""

    name: str
    label: str
    kind: str
    value: str
    unit: str
    choices: tuple[str, ...]
    long: bool


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom a report speaks of, as text."""

    name: str
    patient_id: str
    sex: str
    age: str
    birth_date: str
    procedure: str
    reason: str
    accession: str
    when: str
    study: str
    modalities: tuple[str, ...]


async def read_form(request: Request) -> FormData:
    """The fields of a form whose names are not known before."""
    return await request.form(max_files=0, max_fields=1000)


Sent = Annotated[FormData, Depends(read_form)]


def field(form: FormData, name: str) -> str:
    """A text of the form; empty if it is not there."""
    found = form.get(name)
    return found if isinstance(found, str) else ""


def written_of(form: FormData) -> Written:
    """What the form says."""
    names = [name for name in form if isinstance(form[name], str)]
    return Written(
        conclusion=field(form, "conclusion"),
        text=field(form, "text"),
        recommendation=field(form, "recommendation"),
        template=field(form, "template"),
        fields={name.removeprefix(FIELD): field(form, name) for name in names if name.startswith(FIELD)},
        codes={name: field(form, CODE + name) for name in CODES if field(form, CODE + name).strip()},
    )


def revision_of(form: FormData) -> int:
    """The revision that the page showed; one that never is for what is no number."""
    given = field(form, "revision")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 9 else -1


def inputs(template: Template | None, written: Written) -> list[Input]:
    """The fields of the template with what is in them."""
    return [
        Input(
            name=FIELD + each.id,
            label=each.label,
            kind=each.kind,
            value=written.fields.get(each.id, ""),
            unit=each.unit,
            choices=each.choices,
            long=each.kind == "text" and max(len(each.normal), len(written.fields.get(each.id, ""))) > _LONG,
        )
        for each in (template.fields if template else ())
    ]


def patient_of(subject: dict[str, Any], text: Texts) -> Patient:
    """The head of a report."""
    born, taken = _day(subject["birth_date"]), _day(subject["study_date"])
    return Patient(
        name=spoken_name(subject["patient_name"].split("=")[0]) or text("no_name"),
        patient_id=subject["patient_id"],
        sex=text.get(f"sex_{subject['sex']}") or subject["sex"],
        age=age_between(born, taken, text),
        birth_date=shown_day(born, text),
        procedure=subject["procedure"],
        reason=subject["reason"],
        accession=subject["accession_number"],
        when=f"{shown_day(taken, text)} {subject['study_time'][:5]}".strip(),
        study=subject["study"],
        modalities=tuple(subject["modalities"]),
    )


def moment(at: datetime | str | None, text: Texts) -> str:
    """A moment as people write it."""
    if not at:
        return ""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.astimezone(VIETNAM).strftime("%H:%M %d/%m/%Y" if text.language == "vi" else "%Y-%m-%d %H:%M")


def shown_day(day: date | None, text: Texts) -> str:
    """A date as people write it; empty for none."""
    if day is None:
        return ""
    return day.strftime("%d/%m/%Y") if text.language == "vi" else day.isoformat()


def status_of(version: Version | None) -> str:
    """The name of the badge for a version that was given out."""
    return "draft" if version is None else version.status


def sentence(error: ArchiveError, text: Texts, template: Template | None = None) -> str:
    """What is wrong, for people."""
    if isinstance(error, InvalidItem):
        return " ".join(_fault(name, text, template) for name in error.faults) or text("report_error_form")
    for kind, key in (
        (Outdated, "report_error_outdated"),
        (Conflict, "report_error_conflict"),
        (NotPermitted, "report_error_permitted"),
        (NotFound, "report_error_none"),
        (Unavailable, "error_unavailable"),
    ):
        if isinstance(error, kind):
            return text(key)
    raise error


def _fault(name: str, text: Texts, template: Template | None) -> str:
    if name.startswith("fields."):
        labels = {each.id: each.label for each in (template.fields if template else ())}
        return text("report_error_number", field=labels.get(name.removeprefix("fields."), name))
    return text(f"report_error_{name}" if name in _OF_FIELDS else "report_error_form")


def _day(iso: str) -> date | None:
    return date.fromisoformat(iso) if iso else None
