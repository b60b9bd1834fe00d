"""The table of what was done. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from archive.models import Base, _key, _now


class AuditRecord(Base):
    """One act, see `archive.audit.events`."""

    __tablename__ = "audit_record"
    __table_args__ = (Index(None, "recorded_at"),)

    id: Mapped[int] = _key()
    recorded_at: Mapped[datetime] = _now()
    action: Mapped[str]
    outcome: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    account_id: Mapped[int | None]
    address: Mapped[str]
    studies: Mapped[list[str]]
    patient_id: Mapped[str]
    issuer_of_patient_id: Mapped[str]
    purpose: Mapped[str]
    detail: Mapped[dict[str, Any]]
