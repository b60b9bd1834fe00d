"""Tables of what was done. Rows are only ever added; the database itself refuses anything else (see the migration)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, CText, _now


class AuditSegment(Base):
    """A stretch of the trail that one process wrote: a chain of hashes that begins and ends here.

    The numbers have no gaps. A segment is closed when its writer ends or a new one begins, and never opened again.
    """

    __tablename__ = "audit_segment"
    __table_args__ = (
        CheckConstraint("keeping IN ('access', 'security')", name="keeping"),
        CheckConstraint("num_nonnulls(closed_at, last_at, records, head) IN (0, 4)", name="closed"),
        Index("ix_audit_segment_open", "writer", postgresql_where=text("closed_at IS NULL")),
        Index("ix_audit_segment_unsent", "id", postgresql_where=text("closed_at IS NULL OR sent < records")),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    keeping: Mapped[str]
    """``access``: about patients. ``security``: all else. They are kept for different times."""
    writer: Mapped[int]
    """The advisory lock that the writing process holds as long as it lives."""
    opened_at: Mapped[datetime] = _now()
    closed_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    """When what its last record tells of was done; when it was opened if it has none."""
    records: Mapped[int | None]
    head: Mapped[bytes | None]
    """The hash of the last record."""
    expired_at: Mapped[datetime | None]
    """Its records were deleted because their time was over."""
    anchored: Mapped[int] = mapped_column(server_default="0")
    """Up to which record the last anchor has it; -1 when an anchor has told that it is closed, -2 that it expired."""
    sent: Mapped[int] = mapped_column(server_default="0")
    """Up to which record it was sent by syslog."""


class AuditRecord(Base):
    """One act, see `archive.audit.events`."""

    __tablename__ = "audit_record"
    __table_args__ = (
        Index(None, "recorded_at"),
        Index(None, "studies", postgresql_using="gin"),
        Index(None, "patient_id", "recorded_at", postgresql_where=text("patient_id <> ''")),
        Index(None, "name", "recorded_at"),
    )

    segment_id: Mapped[int] = mapped_column(ForeignKey("audit_segment.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    """Counts from 1 in each segment."""
    hash: Mapped[bytes]
    """SHA-256 of the hash before and of all else that stands here, see `archive.audit.chain`."""
    recorded_at: Mapped[datetime]
    action: Mapped[str]
    outcome: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    account_id: Mapped[int | None]
    address: Mapped[str]
    home: Mapped[list[str]]
    """Codes of the facilities that the caller belongs to."""
    studies: Mapped[list[str]]
    owners: Mapped[list[str]]
    """Codes of the facilities that own these studies."""
    patient_id: Mapped[str]
    issuer_of_patient_id: Mapped[str]
    purpose: Mapped[str]
    detail: Mapped[dict[str, Any]]


class AuditAnchor(Base):
    """What the trail was at one moment: kept here, in the object store and in the log. Each names the one before."""

    __tablename__ = "audit_anchor"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    made_at: Mapped[datetime] = _now()
    body: Mapped[str]
    """JSON, exactly as it was hashed and signed."""
    digest: Mapped[bytes]
    signature: Mapped[bytes]
    """HMAC-SHA-256 of the body; empty where no key is set."""
    copied: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whether the object store has it."""


class AuditCursor(Base):
    """How far stored objects are on record, see `archive.audit.storing`. One row; none until that begins."""

    __tablename__ = "audit_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    horizon: Mapped[int]
    holders: Mapped[list[str]] = mapped_column(ARRAY(CText), server_default="{}")
