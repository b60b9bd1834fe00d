"""Tables of reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class Report(Base):
    """A report on a study. What it says is in its versions; who may see the study may see those that were given out."""

    __tablename__ = "report"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'preliminary', 'final', 'amended', 'cancelled')", name="status"),
        Index(None, "study_id"),
        Index(None, "facility_id", "updated_at"),
        Index(None, "final_at"),
        Index(
            "uq_report_external", "facility_id", "external", unique=True, postgresql_where=text("external IS NOT NULL")
        ),
    )

    id: Mapped[int] = _key()
    number: Mapped[str] = mapped_column(unique=True)
    """A UUID: its name for other systems."""
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """The facility whose doctor writes it; not always that of the study (tele-reading)."""
    status: Mapped[str] = mapped_column(server_default="draft")
    """``draft`` until a version was given out; then by the latest of these. An addendum makes it ``amended``."""
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    """The number of the latest version that was given out; of the draft while there is none."""
    revision: Mapped[int] = mapped_column(Integer, server_default="1")
    """Grows with each change, also of a draft: who changes says which one they have seen."""
    ticket: Mapped[str] = mapped_column(server_default="")
    """Of the last change, so that one which is repeated after a lost connection is known again."""
    source: Mapped[str] = mapped_column(server_default="page")
    """``page``, ``api`` or ``hl7``."""
    external: Mapped[str | None]
    """The name that the sending system has for it, unique in its facility."""
    final_at: Mapped[datetime | None]
    """When a version was signed for the first time: the end of the turnaround."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class ReportVersion(Base):
    """One version. Only a draft is ever changed (a trigger sees to it); all else is said by another version."""

    __tablename__ = "report_version"
    __table_args__ = (
        UniqueConstraint("report_id", "number"),
        CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'addendum', 'cancelled')", name="status"
        ),
        CheckConstraint("(signed_at IS NULL) = (signed_by = '')", name="signed"),
        # FHIR pages through reports by when they were given out.
        Index(None, "issued_at", "id"),
        Index("uq_report_version_draft", "report_id", unique=True, postgresql_where=text("status = 'draft'")),
    )

    id: Mapped[int] = _key()
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    number: Mapped[int] = mapped_column(Integer)
    """From 1."""
    status: Mapped[str]
    template: Mapped[str] = mapped_column(server_default="")
    content: Mapped[dict[str, Any]]
    """What was filled in: ``fields`` of the template, free ``text``, ``codes`` for insurers."""
    description: Mapped[str]
    """MO_TA: what is seen."""
    conclusion: Mapped[str]
    """KET_LUAN."""
    recommendation: Mapped[str] = mapped_column(server_default="")
    addenda: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """What was added after signing, by whom, when and why; all so far."""
    author: Mapped[str]
    """Sign-in name, or the sending system."""
    author_name: Mapped[str]
    author_licence: Mapped[str] = mapped_column(server_default="")
    """MA_BS_DOC_KQ: number of the practising licence, such as 003539/HCM-CCHN."""
    reason: Mapped[str] = mapped_column(server_default="")
    """Why there is another version."""
    subject: Mapped[dict[str, Any] | None]
    """Patient, study and order as they were when it was given out; what was signed is whole without the archive."""
    issued_at: Mapped[datetime | None]
    """When it was given out; null for a draft."""
    signed_at: Mapped[datetime | None]
    signed_by: Mapped[str] = mapped_column(server_default="")
    signature: Mapped[dict[str, Any] | None]
    """How it was signed; a place for a legal electronic signature (method, certificate, value, time)."""
    digest: Mapped[bytes | None]
    """SHA-256 of what was signed, see `archive.reports.canonical`."""
    created_at: Mapped[datetime] = _now()


class ReportEvent(Base):
    """That a version was given out, for those who tell others. Numbers come in the order of the commits."""

    __tablename__ = "report_event"
    __table_args__ = (
        CheckConstraint("kind IN ('preliminary', 'final', 'amended', 'addendum', 'cancelled')", name="kind"),
    )

    id: Mapped[int] = _key()
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str]
    at: Mapped[datetime] = _now()


class ReportObject(Base):
    """A signed version whose DICOM objects are to be made, or were."""

    __tablename__ = "report_object"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'done')", name="state"),
        Index("ix_report_object_due", "due_at", postgresql_where=text("state = 'waiting'")),
    )

    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[str] = mapped_column(server_default="waiting")
    due_at: Mapped[datetime] = _now()
    """When it is to be tried next; while somebody is at it, when they are taken for dead."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    error: Mapped[str] = mapped_column(server_default="")
    done_at: Mapped[datetime | None]


class ReportAuthor(Base):
    """What stands under the reports of an account beside its name."""

    __tablename__ = "report_author"

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    licence: Mapped[str]
    """Number of the practising licence."""
    set_by: Mapped[str]
    set_at: Mapped[datetime] = _now()
