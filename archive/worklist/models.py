"""Tables of modality worklist and performed procedure steps.

What a worklist item says is kept whole, as the DICOM JSON model of a worklist response (PS3.4 K.6.1.2.2), in
`WorklistItem.attributes`; the other columns repeat from it what is searched by. Items and performed steps name studies
and series by UID and have no foreign key to them: either may come first.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class WorklistItem(Base):
    """A scheduled procedure step with all that a modality asks about it: one line of a worklist."""

    __tablename__ = "worklist_item"
    __table_args__ = (
        # What makes an order the same order when it is sent again; none of it is null.
        UniqueConstraint(
            "facility_id",
            "accession_number",
            "requested_procedure_id",
            "scheduled_procedure_step_id",
            name="uq_worklist_item_order",
        ),
        CheckConstraint(
            "status IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED', 'COMPLETED', 'DISCONTINUED', 'CANCELLED')",
            name="status",
        ),
        Index(None, "facility_id", "start_date", "start_time"),
        Index(None, "start_date", "start_time"),
        Index(None, "study_instance_uid"),
        Index(None, "accession_number"),
        Index(None, "patient_id"),
        Index(None, "updated_at"),
    )

    id: Mapped[int] = _key()
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """The hospital whose order it is."""
    accession_number: Mapped[str]
    requested_procedure_id: Mapped[str]
    scheduled_procedure_step_id: Mapped[str]
    study_instance_uid: Mapped[str]
    patient_id: Mapped[str]
    issuer: Mapped[str]
    name: Mapped[str]
    name_fold: Mapped[str]
    birth_date: Mapped[date | None]
    sex: Mapped[str]
    modality: Mapped[str]
    station_ae_titles: Mapped[list[str]]
    """Scheduled Station AE Title; empty for any station of the facility."""
    start_date: Mapped[date]
    start_time: Mapped[time]
    status: Mapped[str]
    """``SCHEDULED``, ``ARRIVED``, ``READY``, ``STARTED``, ``COMPLETED``, ``DISCONTINUED`` or ``CANCELLED``."""
    closed_by: Mapped[str | None]
    """Who ended it: ``mpps``, ``images`` or ``api``; null while it is open."""
    source: Mapped[str]
    """Where it came from: ``api``, ``import``, later ``hl7``."""
    attributes: Mapped[dict[str, Any]]
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class PerformedStep(Base):
    """A Modality Performed Procedure Step as it is now (PS3.3 C.4.13 to C.4.15)."""

    __tablename__ = "performed_step"
    __table_args__ = (
        CheckConstraint("state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')", name="state"),
        Index(None, "facility_id", "start_date"),
        Index(None, "accession_number"),
        Index("ix_performed_step_studies", "study_instance_uids", postgresql_using="gin"),
    )

    id: Mapped[int] = _key()
    sop_instance_uid: Mapped[str] = mapped_column(unique=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    state: Mapped[str]
    """Performed Procedure Step Status: ``IN PROGRESS``, ``COMPLETED`` or ``DISCONTINUED``; the last two are final."""
    performed_procedure_step_id: Mapped[str]
    modality: Mapped[str]
    station_ae_title: Mapped[str]
    start_date: Mapped[date | None]
    start_time: Mapped[time | None]
    patient_id: Mapped[str]
    accession_number: Mapped[str]
    """The first of those in its Scheduled Step Attributes Sequence that is not empty."""
    study_instance_uids: Mapped[list[str]]
    """Those of its Scheduled Step Attributes Sequence."""
    attributes: Mapped[dict[str, Any]]
    """All of its attributes in the DICOM JSON model."""
    calling_ae_title: Mapped[str]
    address: Mapped[str]
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class PerformedStepChange(Base):
    """One N-CREATE or N-SET that was taken: what was sent, by whom, when. Nothing is ever removed here."""

    __tablename__ = "performed_step_change"

    step_id: Mapped[int] = mapped_column(ForeignKey("performed_step.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    """That of the step after the change; 1 is the N-CREATE."""
    calling_ae_title: Mapped[str]
    address: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    """As received, in the DICOM JSON model."""
    digest: Mapped[bytes]
    """SHA-256 of `attributes`, to know a request that was sent again."""
    changed_at: Mapped[datetime] = _now()


class PerformedStepItem(Base):
    """Which scheduled steps a performed one did: any number on either side (PS3.3 7.3.1.9)."""

    __tablename__ = "performed_step_item"
    __table_args__ = (Index(None, "item_id"),)

    step_id: Mapped[int] = mapped_column(ForeignKey("performed_step.id", ondelete="CASCADE"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True)


class PerformedSeries(Base):
    """A series that a performed step says it made, and the instances that it names in it."""

    __tablename__ = "performed_series"
    __table_args__ = (UniqueConstraint("step_id", "series_instance_uid"), Index(None, "series_instance_uid"))

    id: Mapped[int] = _key()
    step_id: Mapped[int] = mapped_column(ForeignKey("performed_step.id", ondelete="CASCADE"))
    series_instance_uid: Mapped[str]
    sop_instance_uids: Mapped[list[str]]


# Open items are few among those of years; this keeps the question for them small.
Index(
    "ix_worklist_item_open",
    WorklistItem.start_date,
    postgresql_where=text("status IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED')"),
)
