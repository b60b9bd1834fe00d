"""Tables of reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class Report(Base):
    """A report on a study. What it says is in its versions; who may see the study may see it."""

    __tablename__ = "report"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'preliminary', 'final', 'amended', 'cancelled')", name="status"),
        Index(None, "study_id"),
        Index(None, "facility_id", "updated_at"),
        Index(None, "final_at"),
    )

    id: Mapped[int] = _key()
    number: Mapped[str] = mapped_column(unique=True)
    """A UUID: its name for other systems."""
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """The facility whose doctor writes it; not always that of the study (tele-reading)."""
    status: Mapped[str] = mapped_column(server_default="draft")
    """That of the current version."""
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    """The current one."""
    source: Mapped[str] = mapped_column(server_default="page")
    """``page``, ``api`` or ``hl7``."""
    final_at: Mapped[datetime | None]
    """When a version was signed for the first time: the end of the turnaround."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class ReportVersion(Base):
    """One version. A signed one is never changed: what is to be said otherwise is another version with a reason."""

    __tablename__ = "report_version"
    __table_args__ = (
        UniqueConstraint("report_id", "number"),
        CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'addendum', 'cancelled')", name="status"
        ),
        CheckConstraint("(signed_at IS NULL) = (signed_by = '')", name="signed"),
    )

    id: Mapped[int] = _key()
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    number: Mapped[int] = mapped_column(Integer)
    """From 1."""
    status: Mapped[str]
    template: Mapped[str] = mapped_column(server_default="")
    content: Mapped[dict[str, Any]]
    """What was filled in, by field of the template."""
    description: Mapped[str]
    """MO_TA: what is seen."""
    conclusion: Mapped[str]
    """KET_LUAN."""
    recommendation: Mapped[str] = mapped_column(server_default="")
    author: Mapped[str]
    """Sign-in name, or the sending system."""
    author_name: Mapped[str]
    author_licence: Mapped[str] = mapped_column(server_default="")
    """MA_BS_DOC_KQ: number of the practising licence, such as 003539/HCM-CCHN."""
    reason: Mapped[str] = mapped_column(server_default="")
    """Why there is another version."""
    signed_at: Mapped[datetime | None]
    signed_by: Mapped[str] = mapped_column(server_default="")
    signature: Mapped[dict[str, Any] | None]
    """How it was signed; a place for a legal electronic signature (certificate, value, time stamp)."""
    digest: Mapped[bytes | None]
    """SHA-256 of what was signed."""
    created_at: Mapped[datetime] = _now()
