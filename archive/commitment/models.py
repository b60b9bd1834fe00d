"""Tables of storage commitment: what peers ask of us, and what we ask of other archives (PS3.4 J)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

_OPEN_REQUEST = text("state IN ('received', 'ready') AND NOT duplicate")


class CommitmentRequest(Base):
    """An N-ACTION that was answered with Success, kept until its result was delivered and some time beyond.

    ``received`` → (every object looked at) → ``ready`` → ``delivered``, or ``failed`` when the peer could not be told
    in time. Whoever works on a row leases it: `lease` is a number that nobody else has, void after `leased_until`.
    """

    __tablename__ = "commitment_request"
    __table_args__ = (
        CheckConstraint("state IN ('received', 'ready', 'delivered', 'failed')", name="state"),
        # One open request for each Transaction UID of a peer; another is a duplicate (PS3.3 C.14.1.1).
        Index("uq_commitment_request_open", "ae_title", "transaction_uid", unique=True, postgresql_where=_OPEN_REQUEST),
        Index("ix_commitment_request_due", "due_at", postgresql_where=text("state IN ('received', 'ready')")),
        Index(None, "received_at"),
    )

    id: Mapped[int] = _key()
    transaction_uid: Mapped[str]
    ae_title: Mapped[str]
    called_ae_title: Mapped[str]
    address: Mapped[str]
    facility: Mapped[str]
    """Facility code of the peer: what that facility sent may be asked about, whoever owns the study."""
    scope: Mapped[list[str] | None]
    """Facilities whose studies the peer may see; null for all."""
    view: Mapped[str]
    """What of the hidden it may see, see `archive.rejection.causes.View`."""
    content: Mapped[bytes]
    """SHA-256 of the references, to know a request that was sent again."""
    duplicate: Mapped[bool] = mapped_column(Boolean)
    """Its Transaction UID was in use by a request with other references."""
    state: Mapped[str] = mapped_column(server_default="received")
    home: Mapped[int]
    """The process with the association; others leave the row to it for a moment."""
    item_count: Mapped[int] = mapped_column(Integer)
    failed_count: Mapped[int | None] = mapped_column(Integer)
    """How many items are not committed; known from ``ready`` on."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    """In this state, without success."""
    problem: Mapped[str] = mapped_column(server_default="")
    """Why the last attempt did not succeed."""
    due_at: Mapped[datetime] = _now()
    lease: Mapped[int | None]
    leased_until: Mapped[datetime | None]
    received_at: Mapped[datetime] = _now()
    ready_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class CommitmentRequestItem(Base):
    """One reference of a request, and what became of it."""

    __tablename__ = "commitment_request_item"

    request_id: Mapped[int] = mapped_column(ForeignKey("commitment_request.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    reason: Mapped[int | None] = mapped_column(Integer)
    """0 when committed, else the Failure Reason (PS3.3 C.14.1.1); null until it was looked at."""


class CommitmentOrder(Base):
    """A request of ours to another archive.

    ``waiting`` → (N-ACTION answered with Success) → ``asked`` → ``answered``; ``failed`` when no answer came in time.
    """

    __tablename__ = "commitment_order"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'asked', 'answered', 'failed')", name="state"),
        UniqueConstraint("transaction_uid"),
        Index("ix_commitment_order_due", "due_at", postgresql_where=text("state IN ('waiting', 'asked')")),
        Index(None, "created_at"),
        Index(None, "earlier_uids", postgresql_using="gin"),
    )

    id: Mapped[int] = _key()
    ae_title: Mapped[str]
    transaction_uid: Mapped[str]
    earlier_uids: Mapped[list[str]] = mapped_column(server_default="{}")
    """Those under which it was asked before: an answer may still come."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    item_count: Mapped[int] = mapped_column(Integer)
    failed_count: Mapped[int | None] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    problem: Mapped[str] = mapped_column(server_default="")
    due_at: Mapped[datetime] = _now()
    lease: Mapped[int | None]
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()
    closed_at: Mapped[datetime | None]


class CommitmentOrderItem(Base):
    """One instance that another archive is asked about; `reason` is as in `CommitmentRequestItem`."""

    __tablename__ = "commitment_order_item"

    order_id: Mapped[int] = mapped_column(ForeignKey("commitment_order.id", ondelete="CASCADE"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_class_uid: Mapped[str]
    reason: Mapped[int | None] = mapped_column(Integer)


class AlsoSent(Base):
    """Who sent the bytes of an object once more, beside the facility of its row: it may ask about them as well."""

    __tablename__ = "also_sent"

    object_id: Mapped[int] = mapped_column(ForeignKey("stored_object.id", ondelete="CASCADE"), primary_key=True)
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"), primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(primary_key=True)
