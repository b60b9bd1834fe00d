"""Tables of Unified Procedure Steps (workitems), of who is told about them, and of what is still to be told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class Workitem(Base):
    """A Unified Procedure Step as it is now. The columns repeat from `attributes` what is searched by."""

    __tablename__ = "ups_workitem"
    __table_args__ = (
        CheckConstraint("state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')", name="state"),
        Index(None, "state", "scheduled_start"),
        Index(None, "scheduled_start"),
        Index(None, "patient_id"),
        Index(None, "study_instance_uid"),
        Index("ix_ups_workitem_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[int] = _key()
    uid: Mapped[str] = mapped_column(unique=True)
    """Its SOP Instance UID."""
    facility: Mapped[str] = mapped_column(server_default="")
    """Code of the facility whose work it is; empty for the province's, which only those see who see all."""
    state: Mapped[str]
    transaction_uid: Mapped[str] = mapped_column(server_default="")
    """The secret of whoever performs it; empty while it is SCHEDULED. Never shown."""
    patient_id: Mapped[str]
    study_instance_uid: Mapped[str]
    scheduled_start: Mapped[datetime]
    expected_completion: Mapped[datetime | None]
    modified: Mapped[datetime]
    """Scheduled Procedure Step Modification DateTime."""
    attributes: Mapped[dict[str, Any]]
    """All of its attributes in the DICOM JSON model, without the Transaction UID."""
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()
    ended_at: Mapped[datetime | None]
    """When it became COMPLETED or CANCELED."""


class Subscription(Base):
    """That an AE is told of the events of one workitem (PS3.4 CC.2.3)."""

    __tablename__ = "ups_subscription"
    __table_args__ = (Index(None, "ae_title"),)

    workitem_id: Mapped[int] = mapped_column(ForeignKey("ups_workitem.id", ondelete="CASCADE"), primary_key=True)
    ae_title: Mapped[str] = mapped_column(primary_key=True)
    deletion_lock: Mapped[bool] = mapped_column(Boolean)


class GlobalSubscription(Base):
    """That an AE is subscribed to each workitem that is created from now on."""

    __tablename__ = "ups_global_subscription"

    ae_title: Mapped[str] = mapped_column(primary_key=True)
    deletion_lock: Mapped[bool] = mapped_column(Boolean)
    keys: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Matching keys of a filtered subscription (`archive.ups.search.to_json`); null for all workitems."""


class Event(Base):
    """An event report that has not been delivered. It was committed together with what it reports."""

    __tablename__ = "ups_event"
    __table_args__ = (Index(None, "ae_title", "id"),)

    id: Mapped[int] = _key()
    ae_title: Mapped[str]
    uid: Mapped[str]
    """SOP Instance UID of the workitem."""
    event_type: Mapped[int] = mapped_column(SmallInteger)
    """Event Type ID (PS3.4 Table CC.2.4-1)."""
    information: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _now()


class Channel(Base):
    """Which open event channel of an AE is served: the one opened last, in whatever process."""

    __tablename__ = "ups_channel"

    ae_title: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    opened_at: Mapped[datetime] = _now()
