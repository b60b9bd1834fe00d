"""Tables of the links that patients get, and of what was handed to whom how."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class ShareLink(Base):
    """A link that opens studies to whoever holds it and knows the second factor.

    Which studies is said by rows of ``access_grant``. Only digests of secrets are kept.
    """

    __tablename__ = "share_link"
    __table_args__ = (
        CheckConstraint("factor IN ('birth_date', 'code', 'phone')", name="factor"),
        Index(None, "facility_id", "created_at"),
    )

    id: Mapped[int] = _key()
    token_digest: Mapped[bytes] = mapped_column(unique=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """The facility that gave it."""
    factor: Mapped[str]
    code_hash: Mapped[str] = mapped_column(server_default="")
    """Argon2 hash of the code on the patient's slip."""
    phone: Mapped[bytes | None]
    """Where one-time codes are sent, sealed (`archive.people.sealing`)."""
    sent_code_hash: Mapped[str] = mapped_column(server_default="")
    """Of the one-time code that was sent last; empty once it was used."""
    sent_at: Mapped[datetime | None]
    sent_today: Mapped[int] = mapped_column(Integer, server_default="0")
    """Messages since a day ago or less."""
    may_copy: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """Wrong answers in a row; each is counted before it is checked."""
    made_by: Mapped[str]
    """For people to read; the audit trail has the account."""
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    first_opened_at: Mapped[datetime | None]
    """Evidence that the results reached somebody who knows the second factor."""
    last_opened_at: Mapped[datetime | None]
    times_opened: Mapped[int] = mapped_column(Integer, server_default="0")


class LinkSession(Base):
    """One browser in which a link was opened."""

    __tablename__ = "link_session"
    __table_args__ = (Index(None, "expires_at"),)

    id: Mapped[int] = _key()
    link_id: Mapped[int] = mapped_column(ForeignKey("share_link.id"))
    secret_digest: Mapped[bytes] = mapped_column(unique=True)
    opened_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]
    address: Mapped[str]


class Delivery(Base):
    """That a study was handed to the patient in some way (QĐ 313/QĐ-BYT asks how)."""

    __tablename__ = "delivery"
    __table_args__ = (
        CheckConstraint("mode IN ('film', 'portal', 'qr', 'dicom_media')", name="mode"),
        Index(None, "study_id"),
        Index(None, "delivered_at"),
    )

    id: Mapped[int] = _key()
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    mode: Mapped[str]
    delivered_at: Mapped[datetime] = _now()
    delivered_by: Mapped[str]
    link_id: Mapped[int | None] = mapped_column(ForeignKey("share_link.id"))
