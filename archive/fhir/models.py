"""Tables of FHIR: who is notified of what."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, Timestamp, _key, _now


class FhirSubscription(Base):
    """A Subscription, and how far its receiver has come."""

    __tablename__ = "fhir_subscription"
    __table_args__ = (
        CheckConstraint("kind IN ('ImagingStudy', 'DiagnosticReport')", name="kind"),
        CheckConstraint("status IN ('active', 'error', 'off')", name="status"),
        Index(None, "account_id"),
    )

    id: Mapped[int] = _key()
    number: Mapped[str] = mapped_column(unique=True)
    """A UUID: its id in FHIR."""
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    """Who made it: it ends with the account. None where nobody signs in."""
    facilities: Mapped[list[str] | None]
    """Codes of the facilities of whose studies it may tell; null for all."""
    kind: Mapped[str]
    criteria: Mapped[str]
    reason: Mapped[str]
    endpoint: Mapped[str]
    receiver: Mapped[str]
    """The one of the settings that the endpoint is of."""
    payload: Mapped[str]
    """``empty`` or ``id-only``."""
    status: Mapped[str] = mapped_column(server_default="active")
    error: Mapped[str] = mapped_column(server_default="")
    end_at: Mapped[datetime | None] = mapped_column(Timestamp)
    position: Mapped[int]
    """All changes, or events of reports, up to this number are told."""
    until: Mapped[int | None]
    """Up to here goes what was tried last: another try sends the same."""
    told: Mapped[int] = mapped_column(server_default="0")
    """Resources that it was notified of."""
    holder: Mapped[int | None]
    """The advisory lock of the process that notifies; when nobody holds that lock, the process is dead."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    tried_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()
