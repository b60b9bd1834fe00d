"""Reports as the pages show them: text, not yet escaped."""

from __future__ import annotations

from typing import Any

from archive.core import Archive
from archive.people.caller import Caller
from archive.reports.records import Entry, Version
from archive.reports.unread import URGENT, Unread
from viewer_api.pages.language import Texts
from viewer_api.pages.report_forms import moment, shown_day
from viewer_api.pages.study_rows import age_between, facility_name, spoken_name


def line(each: Unread, archive: Archive, caller: Caller, text: Texts) -> dict[str, Any]:
    """A line of the list of unread studies."""
    when = f"{shown_day(each.study_date, text)} {each.study_time.strftime('%H:%M') if each.study_time else ''}"
    return {
        "study": each.study,
        "name": spoken_name(each.patient_name.split("=")[0]) or text("no_name"),
        "patient_id": each.patient_id,
        "sex": text.get(f"sex_{each.sex}") or each.sex,
        "age": age_between(each.birth_date, each.study_date, text),
        "modalities": each.modalities,
        "description": each.description,
        "facility": facility_name(archive, each.owner),
        "when": when.strip(),
        "received": moment(each.received_at, text),
        "urgent": each.priority in URGENT,
        "late": each.late,
        "status": each.status,
        "report": each.report,
        "mine": each.writer == caller.name,
        "writer": each.writer_name,
    }


def shown(entry: Entry, archive: Archive, text: Texts) -> dict[str, Any]:
    """A report in short."""
    version = entry.version or entry.draft
    assert version is not None
    return {
        "number": entry.number,
        "study": entry.study,
        "status": entry.status,
        "revision": entry.revision,
        "facility": facility_name(archive, entry.facility),
        "tele": facility_name(archive, entry.owner) if entry.owner != entry.facility else "",
        "author": version.author_name,
        "licence": version.author_licence,
        "version": version.number,
        "when": moment(version.signed_at or version.issued_at or entry.updated_at, text),
        "conclusion": version.conclusion,
        "draft": entry.draft.author_name if entry.draft is not None else "",
    }


def past(version: Version, text: Texts) -> dict[str, Any]:
    """A version in the history."""
    return {
        "number": version.number,
        "status": version.status,
        "author": version.author_name,
        "when": moment(version.issued_at, text),
        "reason": version.reason,
        "description": version.description,
        "conclusion": version.whole_conclusion,
        "digest": version.digest.hex() if version.digest else "",
    }


def first_reader(history: list[Version], version: Version) -> str:
    """Who gave out the preliminary version, if that was somebody else."""
    early = [each for each in history if each.status == "preliminary" and each.author != version.author]
    return early[-1].author_name if early and version.signed_at else ""
