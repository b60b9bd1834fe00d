"""The tables of rejection notes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, ForeignKey, Identity, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, Timestamp


def _now() -> Mapped[datetime]:
    return mapped_column(Timestamp, server_default=text("clock_timestamp()"))


class RejectionNote(Base):
    """A rejection note as it was read from its object.

    Everything here can be made anew from the stored objects; see `archive.rejection.apply`.
    """

    __tablename__ = "rejection_note"
    __table_args__ = (
        Index(None, "sop_instance_uid"),
        Index("ix_rejection_note_waiting", "id", postgresql_where=text("NOT applied")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), unique=True)
    object_id: Mapped[int] = mapped_column(BigInteger)
    """The version of the instance that was read: a ``stored_object``."""
    study_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """Who sent it: it rejects only what is in this facility's studies,"""
    anywhere: Mapped[bool] = mapped_column(Boolean)
    """unless its sender may reject in all."""
    permitted: Mapped[bool] = mapped_column(Boolean)
    """Whether notes of this title are obeyed at all."""
    code: Mapped[str]
    cause: Mapped[int] = mapped_column(SmallInteger)
    """A `archive.rejection.causes.Hidden`; 0 when the version shown now is no rejection note any more."""
    description: Mapped[str]
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whether it hides what it names: it is permitted, and no active note rejects it."""
    applied: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whether `active` and ``instance.hidden`` follow from what the note says. A crash leaves it false for a minute."""
    received_at: Mapped[datetime]


class RejectionReference(Base):
    """An instance that a note names. It need not be there yet."""

    __tablename__ = "rejection_reference"
    __table_args__ = (Index(None, "sop_instance_uid"), Index(None, "study_instance_uid"))

    note_id: Mapped[int] = mapped_column(ForeignKey("rejection_note.id", ondelete="CASCADE"), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    stale: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """A former version of the note named it. It goes when the note is applied."""


class HidingAction(Base):
    """Who hid or showed what, when and why. Rows are only added."""

    __tablename__ = "hiding_action"
    __table_args__ = (Index(None, "subject"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = _now()
    action: Mapped[str]
    """``note received``, ``rejected``, ``undone``, ``released``, ``discarded``."""
    subject: Mapped[str]
    """SOP Instance UID of the note; Study Instance UID of what was in quarantine."""
    who: Mapped[str]
    why: Mapped[str]
    instances: Mapped[int] = mapped_column(BigInteger)
    """How many instances it was about."""
