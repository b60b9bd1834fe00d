"""Tables of the decisions to share, of which grants follow: who decided, about what, for whom; and who is told."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, CText, _key, _now


class Sharing(Base):
    """A decision to let others see studies: a referral, a consultation, or a break-glass. Its grants follow from it."""

    __tablename__ = "sharing"
    __table_args__ = (
        CheckConstraint("kind IN ('referral', 'consultation', 'break_glass')", name="kind"),
        Index(None, "patient_id", postgresql_where=text("patient_id IS NOT NULL")),
        Index(None, "facility_id", "id"),
        Index(None, "opened_by", "opened_at"),
    )

    id: Mapped[int] = _key()
    ticket: Mapped[str] = mapped_column(unique=True)
    """So that a decision that is written twice, for a lost connection, is one."""
    kind: Mapped[str]
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
    """Who decided: who refers, convenes, or breaks the glass. Nobody's only where that is no facility."""
    title: Mapped[str] = mapped_column(server_default="")
    purpose: Mapped[str]
    may_copy: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patient.id"))
    """All studies of this patient, also those that come; of the facility alone, unless the glass was broken."""
    opened_by: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    opened_by_name: Mapped[str]
    opened_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    closed_by_name: Mapped[str] = mapped_column(server_default="")


class SharingMember(Base):
    """Who is let in by a decision."""

    __tablename__ = "sharing_member"
    __table_args__ = (
        CheckConstraint("num_nonnulls(facility_id, account_id) = 1", name="one_member"),
        Index(None, "sharing_id", "facility_id", "account_id", unique=True, postgresql_nulls_not_distinct=True),
        Index(None, "facility_id", postgresql_where=text("facility_id IS NOT NULL")),
        Index(None, "account_id", postgresql_where=text("account_id IS NOT NULL")),
    )

    id: Mapped[int] = _key()
    sharing_id: Mapped[int] = mapped_column(ForeignKey("sharing.id"))
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))


class SharingStudy(Base):
    """A study that a decision is about."""

    __tablename__ = "sharing_study"
    __table_args__ = (Index(None, "study_id"),)

    sharing_id: Mapped[int] = mapped_column(ForeignKey("sharing.id"), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    added_by_name: Mapped[str]
    added_at: Mapped[datetime] = _now()


class AccessNotice(Base):
    """That somebody sees a patient of a facility which did not decide so; its administrator is to take note."""

    __tablename__ = "access_notice"
    __table_args__ = (
        CheckConstraint("kind IN ('break_glass', 'care', 'stranger')", name="kind"),
        Index(None, "facility_id", "id"),
        Index(None, "sharing_id", "facility_id", unique=True, postgresql_where=text("sharing_id IS NOT NULL")),
        Index(
            "uq_access_notice_care",
            *("facility_id", "to_facility_id", "patient_id"),
            unique=True,
            postgresql_where=text("kind = 'care'"),
        ),
        Index(
            "uq_access_notice_stranger",
            *("study_id", "facility_id", "to_facility_id"),
            unique=True,
            postgresql_where=text("kind = 'stranger'"),
        ),
    )

    id: Mapped[int] = _key()
    kind: Mapped[str]
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """Who is told: the owner of studies."""
    to_facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
    """Who sees them."""
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    sharing_id: Mapped[int | None] = mapped_column(ForeignKey("sharing.id"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"))
    """Of ``stranger``: the study of one of the two, into which objects of the other came."""
    created_at: Mapped[datetime] = _now()
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by_name: Mapped[str] = mapped_column(server_default="")


class BreakGlassAttempt(Base):
    """That somebody tried to identify a patient by break-glass, found or not: tries are counted."""

    __tablename__ = "break_glass_attempt"
    __table_args__ = (Index(None, "account_id", "at"),)

    id: Mapped[int] = _key()
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    at: Mapped[datetime] = _now()


class CareCursor(Base):
    """How far the patients under care have been looked at, see `archive.sharing.care`."""

    __tablename__ = "care_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    """The last row of ``stored_object`` that was looked at."""
    horizon: Mapped[int]
    holders: Mapped[list[str]] = mapped_column(ARRAY(CText), server_default="{}")
