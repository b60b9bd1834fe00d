"""Reports that another system has made (ORU^R01, HL7 v2.5.1 7.3.1), as reports of this archive.

What a message says is compared with what is there, so that it may be done before a crash and again behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select

from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted, Outdated
from archive.hl7 import values
from archive.hl7.faults import (
    DATA_TYPE,
    LOCKED,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE,
    TABLE_VALUE,
    UNKNOWN_KEY,
    Fault,
    Location,
    refuse,
)
from archive.hl7.message import Message, Segment
from archive.models import Facility, Patient, Study
from archive.people.caller import Caller
from archive.reports.records import Author, Entry, Written
from archive.reports.reports import Reports
from archive.standard.uids import is_uid
from config.hl7 import HL7Sender

STATUSES: Final = {
    "P": "preliminary",
    "R": "preliminary",
    "F": "final",
    "C": "final",
    "A": "preliminary",
    "X": "cancelled",
}
"""OBR-25 (HL7 table 0123), and what becomes of the report."""
_FINDINGS: Final = frozenset(("59776-5", "18782-3", "GDT", "GDI", "MO_TA", "MOTA"))
_CONCLUSION: Final = frozenset(("19005-8", "IMP", "KET_LUAN", "KETLUAN"))
_RECOMMENDATION: Final = frozenset(("18783-1", "REC", "DE_NGHI", "DENGHI"))
_TEXT: Final = frozenset(("TX", "FT", "ST", ""))
_STUDY: Final = "113014"
_REASON: Final = "sửa bởi hệ thống RIS (HL7 ORU)"


@dataclass(slots=True)
class Result:
    """What a message says of one study."""

    status: str
    study: str
    accession: str
    patient_id: str
    author: Author
    written: Written
    origin: Location
    notes: list[Fault] = field(default_factory=list)


def results(message: Message, sender: HL7Sender, patient_id: str) -> list[Result]:
    """The reports of a message. Raises `Refused`."""
    found = [_result(group, patient_id) for group in _groups(message)]
    if not found:
        raise refuse(SEGMENT_SEQUENCE, "is missing: what the result is about", Location("OBR"))
    del sender
    return found


def _groups(message: Message) -> Iterator[list[Segment]]:
    """Each OBR with the ORC before and all behind it."""
    current: list[Segment] = []
    order: list[Segment] = []
    for segment in message.segments:
        if segment.name == "ORC":
            order = [segment]
        elif segment.name == "OBR":
            if current:
                yield current
            current, order = [*order, segment], []
        elif current and not order:
            current.append(segment)
    if current:
        yield current


def _result(group: Sequence[Segment], patient_id: str) -> Result:
    request = next(segment for segment in group if segment.name == "OBR")
    order = next((segment for segment in group if segment.name == "ORC"), None)
    code = request.value(25).upper() or "F"
    if code not in STATUSES:
        raise refuse(TABLE_VALUE, f"is none of {', '.join(sorted(STATUSES))}", request.where(25))
    accession = request.value(18) or request.value(3) or (order.value(3) if order else "") or request.value(2)
    notes: list[Fault] = []
    written, study = _written(group, notes)
    if not (study or accession):
        raise refuse(REQUIRED_FIELD_MISSING, "has neither accession number nor study", request.where(18))
    author = _author(request, group)
    return Result(STATUSES[code], study, values.clean(accession), patient_id, author, written, request.where(18), notes)


def _written(group: Sequence[Segment], notes: list[Fault]) -> tuple[Written, str]:
    texts: dict[str, list[str]] = {"findings": [], "conclusion": [], "recommendation": []}
    study = ""
    for segment in group:
        if segment.name == "ZDS" and is_uid(segment.value(1)):
            study = segment.value(1)
        if segment.name != "OBX":
            continue
        kind, name = segment.value(2).upper(), segment.value(3).upper()
        part = segment.value(3, 1, 2).upper()
        if name == _STUDY and is_uid(segment.value(5)):
            study = segment.value(5)
        elif kind in _TEXT or (kind in ("CE", "CWE") and segment.value(5, 2)):
            component = 2 if kind in ("CE", "CWE") else 1
            several = [segment.get(5, component, of=each) for each in segment.repetitions(5)]
            texts[_section(name, part)] += [values.paragraphs(text) for text in several]
        else:
            notes.append(Fault(DATA_TYPE, "is no text and is left out", segment.where(5)))
    joined = {name: "\n".join(lines).strip() for name, lines in texts.items()}
    if joined["findings"] and not joined["conclusion"]:
        joined["conclusion"] = joined.pop("findings")
    return (
        Written(
            conclusion=joined["conclusion"], text=joined.get("findings", ""), recommendation=joined["recommendation"]
        ),
        study,
    )


def _section(name: str, part: str) -> str:
    for known, section in ((_CONCLUSION, "conclusion"), (_RECOMMENDATION, "recommendation"), (_FINDINGS, "findings")):
        if name in known or part in known:
            return section
    return "findings"


def _author(request: Segment, group: Sequence[Segment]) -> Author:
    """Who has signed: OBR-32 (NDL, its name in subcomponents) or else OBX-16 (XCN)."""
    number, *parts = (request.value(32, 1, sub) for sub in range(1, 5))
    name = " ".join(values.clean(part) for part in parts if part)
    if name:
        return Author(name, values.clean(number))
    for segment in group:
        if segment.name == "OBX" and (name := values.xcn(segment, 16).replace("^", " ").strip()):
            return Author(name, values.clean(segment.value(16)) if segment.value(16, 2) else "")
    if request.value(32):
        return Author(values.clean(request.value(32)))
    raise refuse(REQUIRED_FIELD_MISSING, "is missing: who has signed the report", request.where(32))


def file(connection: Connection, reports: Reports, by: Caller, sender: HL7Sender, result: Result) -> tuple[str, str]:
    """Bring the report of this study to what the message says; give its number and the study. Raises `Refused`."""
    study = _study(connection, sender, result)
    try:
        return _file(reports, by, sender, study, result), study
    except (Conflict, Outdated, NotPermitted) as error:
        raise refuse(LOCKED, str(error), result.origin) from None
    except (InvalidItem, NotFound) as error:
        raise refuse(DATA_TYPE, str(error), result.origin) from None


def _file(reports: Reports, by: Caller, sender: HL7Sender, study: str, result: Result) -> str:
    mine = [each for each in reports.of_study(by, study) if each.source == "hl7" and each.facility == sender.facility]
    open_ = [each for each in mine if each.status != "cancelled"]
    author, written = result.author, result.written
    if result.status == "cancelled":
        for each in open_:
            if each.status == "draft":
                reports.discard(by, each.number, each.revision)
            else:
                reports.cancel(by, each.number, each.revision, _REASON, author=author)
        if not mine:
            raise refuse(UNKNOWN_KEY, "there is no report of this system on the study", result.origin)
        return mine[-1].number
    if not open_:
        entry = reports.create(by, study, written, author=author, source="hl7")
    else:
        entry = open_[-1]
        if entry.is_signed and result.status == "preliminary":
            raise refuse(LOCKED, "the report is signed already", result.origin)
        if entry.draft is None and _says(entry, written) and (entry.is_signed or result.status == entry.status):
            return entry.number
        entry = _rewritten(reports, by, entry, written, author)
    giving = reports.give_out if result.status == "preliminary" else reports.sign
    return giving(by, entry.number, entry.revision, author=author).number


def _rewritten(reports: Reports, by: Caller, entry: Entry, written: Written, author: Author) -> Entry:
    """The report with a draft that says this."""
    if entry.is_signed and entry.draft is None:
        entry = reports.amend(by, entry.number, entry.revision, _REASON, author=author)
    if entry.draft is None and _says(entry, written):
        return entry
    return reports.save(by, entry.number, entry.revision, written, author=author)


def _says(entry: Entry, written: Written) -> bool:
    """Whether the version that was given out says this."""
    version = entry.version
    if version is None:
        return False
    said = version.written()
    return all(
        " ".join(getattr(said, name).split()) == " ".join(getattr(written, name).split())
        for name in ("conclusion", "text", "recommendation")
    )


def _study(connection: Connection, sender: HL7Sender, result: Result) -> str:
    """The study that is meant: of this facility and this patient."""
    owner = select(Facility.id).where(Facility.code == sender.facility).scalar_subquery()
    wanted = (
        select(Study.study_instance_uid, Patient.patient_id)
        .join(Patient, Patient.id == Study.patient_id)
        .where(Study.facility_id == owner)
    )
    by = Study.study_instance_uid == result.study if result.study else Study.accession_number == result.accession
    rows = connection.execute(wanted.where(by).order_by(Study.id.desc())).all()
    if not rows:
        raise refuse(UNKNOWN_KEY, "there are no images of this study of this facility", result.origin)
    own = [row for row in rows if row.patient_id == result.patient_id]
    if not own:
        raise refuse(UNKNOWN_KEY, "the study is of another patient", Location("PID", 1, 3))
    if len({row.study_instance_uid for row in own}) > 1:
        raise refuse(UNKNOWN_KEY, "several studies have this number: the study must be named", result.origin)
    found: str = own[0].study_instance_uid
    return found
