"""What is still to be read: studies without a signed report, and how far the others are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, Select, and_, bindparam, case, func, or_, select
from sqlalchemy.orm import aliased

from archive.access import ACCOUNT, FACILITIES, holds, visible
from archive.models import CText, Facility, Patient, Study
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reading import Reader
from archive.reports.models import Report, ReportVersion
from archive.reports.subject import NOT_IMAGES
from archive.sharing.models import AccessGrant
from archive.worklist.models import WorklistItem
from config.reports import ReportSettings

URGENT: Final = ("STAT", "HIGH")
_PRIORITY: Final = "00401003"
_WRITER: Final = aliased(Facility)
_WRITING: Final = "unread_facilities"
_MOST_UIDS: Final = 1000
TOO_MANY: Final = "too many studies wait to be read: choose fewer days, a modality or a facility"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of them; empty means all."""

    days: int = 7
    """Received within so many days."""
    facility: str = ""
    modality: str = ""
    urgent: bool = False
    mine: bool = False
    """Only those of which the caller writes the draft."""
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """A study without a signed report."""

    study: str
    patient_name: str
    patient_id: str
    sex: str
    birth_date: date | None
    study_date: date | None
    study_time: time | None
    received_at: datetime
    modalities: list[str]
    description: str
    accession_number: str
    owner: str
    """Code of the facility whose study it is."""
    priority: str
    """Of the order: STAT, HIGH, ROUTINE, MEDIUM, LOW or nothing."""
    status: str
    """``unread``, ``draft`` or ``preliminary``."""
    report: str
    """Number of the report that is being written; empty if there is none."""
    writer: str
    """Who writes it: the sign-in name."""
    writer_name: str
    late: bool


class Reading:
    """Answers it for callers."""

    def __init__(self, reader: Reader, settings: ReportSettings) -> None:
        self._reader = reader
        self._settings = settings

    def unread(self, caller: Caller, wanted: Wanted) -> list[Unread]:
        """Studies that the caller may have to read, urgent ones first, then those that wait longest.

        One more than `limit` if there are more. Raises `NotPermitted`, `TooManyMatches`, `IndexUnavailable`.
        """
        caller.require(Right.REPORT)
        scope = caller.scope(right=Right.REPORT)
        # What was shared to be looked at counts as well as what may be copied.
        scope = type(scope)(scope.facilities, scope.view, scope.account, scope.link)
        where = caller.rights[Right.REPORT]
        given = {_WRITING: None if where is None else sorted(where), "name": caller.name}
        statement = _statement(visible(scope), wanted)
        if scope.facilities is not None:
            statement = statement.where(or_(Facility.code == func.any(_codes()), _asked()))
        rows = self._reader.fetch(scope, statement, given, too_slow=TOO_MANY)
        return [self._unread(row) for row in rows]

    def statuses(self, caller: Caller, studies: Sequence[str]) -> dict[str, str]:
        """Of these studies, ``signed`` or ``preliminary``; those that are not there have nothing given out."""
        if not studies:
            return {}
        scope = caller.scope()
        signed = func.bool_or(Report.status.in_(("final", "amended")))
        statement = (
            select(Study.study_instance_uid, signed.label("signed"))
            .join(Report, Report.study_id == Study.id)
            .where(
                visible(scope),
                Study.quarantine == "",
                Study.study_instance_uid.in_(list(studies)[:_MOST_UIDS]),
                Report.status.in_(("preliminary", "final", "amended")),
            )
            .group_by(Study.study_instance_uid)
        )
        found = {
            row.study_instance_uid: "signed" if row.signed else "preliminary"
            for row in self._reader.fetch(scope, statement)
        }
        if caller.kind is Kind.LINK:
            return {study: status for study, status in found.items() if status == "signed"}
        return found

    def _unread(self, row: Any) -> Unread:
        hours = self._settings.urgent_hours if row.priority in URGENT else self._settings.late_hours
        values = {name: getattr(row, name) for name in Unread.__dataclass_fields__ if name != "late"}
        values["modalities"] = [each for each in row.modalities if each not in NOT_IMAGES]
        late = datetime.now(row.received_at.tzinfo) - row.received_at > timedelta(hours=hours)
        return Unread(**values, late=late)


def _statement(seen: Any, wanted: Wanted) -> Select[Any]:
    codes = _codes()
    priority = (
        select(func.upper(WorklistItem.attributes[_PRIORITY]["Value"][0].astext))
        .where(WorklistItem.study_instance_uid == Study.study_instance_uid, WorklistItem.status != "CANCELLED")
        .order_by(WorklistItem.id.desc())
        .limit(1)
        .correlate(Study)
        .scalar_subquery()
    )
    of_order = func.coalesce(priority, "").label("priority")
    theirs = or_(codes.is_(None), _WRITER.code == func.any(codes))
    begun = and_(
        Report.study_id == Study.id,
        or_(Report.status == "preliminary", and_(Report.status == "draft", theirs)),
    )
    drafted = and_(ReportVersion.report_id == Report.id, ReportVersion.number == _latest())
    signed = select(1).where(Report.study_id == Study.id, Report.status.in_(("final", "amended")))
    not_images = func.cardinality(Study.modalities_in_study) > 0
    columns: tuple[Any, ...] = (
        *(Study.study_instance_uid.label("study"), Patient.name.label("patient_name"), Patient.patient_id, Patient.sex),
        *(Patient.birth_date, Study.study_date, Study.study_time, Study.created_at.label("received_at")),
        *(Study.modalities_in_study.label("modalities"), Study.study_description.label("description")),
        *(Study.accession_number, Facility.code.label("owner"), of_order),
        func.coalesce(Report.status, "unread").label("status"),
        func.coalesce(Report.number, "").label("report"),
        func.coalesce(ReportVersion.author, "").label("writer"),
        func.coalesce(ReportVersion.author_name, "").label("writer_name"),
    )
    statement = (
        select(*columns)
        .select_from(Study)
        .join(Patient, Patient.id == Study.patient_id)
        .join(Facility, Facility.id == Study.facility_id)
        .outerjoin(Report.__table__.join(_WRITER, _WRITER.id == Report.facility_id), begun)
        .outerjoin(ReportVersion, drafted)
        .where(seen, Study.quarantine == "", not_images, ~signed.correlate(Study).exists())
        .where(Study.created_at > func.now() - timedelta(days=wanted.days))
        .order_by(case((of_order.in_(URGENT), 0), else_=1), Study.created_at, Study.id)
        .limit(wanted.limit + 1)
        .offset(wanted.offset)
    )
    if wanted.facility:
        statement = statement.where(Facility.code == wanted.facility)
    if wanted.modality:
        statement = statement.where(Study.modalities_in_study.contains([wanted.modality]))
    if wanted.urgent:
        statement = statement.where(priority.in_(URGENT))
    if wanted.mine:
        statement = statement.where(ReportVersion.author == bindparam("name"), ReportVersion.status == "draft")
    return statement


def _latest() -> Any:
    latest = select(func.max(ReportVersion.number)).where(ReportVersion.report_id == Report.id)
    return latest.correlate(Report).scalar_subquery()


def _codes() -> Any:
    return bindparam(_WRITING, type_=ARRAY(CText))


def _asked() -> Any:
    """Of the studies of others, those that the caller was asked about (`archive.reports.writers`)."""
    grantees = or_(
        AccessGrant.facility_id == func.any(bindparam(FACILITIES, type_=ARRAY(BigInteger))),
        AccessGrant.account_id == bindparam(ACCOUNT, type_=BigInteger),
    )
    asked = select(1).where(
        AccessGrant.study_id == Study.id, AccessGrant.kind.in_(("referral", "consultation")), grantees, holds()
    )
    return asked.correlate(Study).exists()
