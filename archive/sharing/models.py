"""Tables of what is shared: with whom, why, until when."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

KINDS = ("referral", "consultation", "care", "break_glass", "link")


class AccessGrant(Base):
    """That one study is open to a facility, an account or a link. Every way of sharing ends in rows of this table.

    `archive.access` reads nothing else. A grant is never deleted: it expires or is withdrawn, and stays as a trace.
    """

    __tablename__ = "access_grant"
    __table_args__ = (
        CheckConstraint("num_nonnulls(facility_id, account_id, link_id) = 1", name="one_grantee"),
        CheckConstraint(f"kind IN ({', '.join(repr(kind) for kind in KINDS)})", name="kind"),
        Index(None, "study_id"),
        Index(None, "facility_id", "expires_at", postgresql_where=text("facility_id IS NOT NULL")),
        Index(None, "account_id", "expires_at", postgresql_where=text("account_id IS NOT NULL")),
        Index(None, "link_id", postgresql_where=text("link_id IS NOT NULL")),
        Index(
            "uq_access_grant_sharing",
            *("sharing_id", "study_id", "facility_id", "account_id"),
            unique=True,
            postgresql_where=text("sharing_id IS NOT NULL"),
            postgresql_nulls_not_distinct=True,
        ),
        Index(
            "uq_access_grant_care",
            *("study_id", "facility_id"),
            unique=True,
            postgresql_where=text("kind = 'care'"),
        ),
    )

    id: Mapped[int] = _key()
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    link_id: Mapped[int | None] = mapped_column(ForeignKey("share_link.id"))
    kind: Mapped[str]
    sharing_id: Mapped[int | None] = mapped_column(ForeignKey("sharing.id"))
    """The decision that it follows from. What was withdrawn is not given by the same decision again."""
    purpose: Mapped[str] = mapped_column(server_default="")
    may_copy: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    granted_by: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    """Nobody, where a rule gave it."""
    granted_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
