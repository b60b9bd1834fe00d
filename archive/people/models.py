"""Tables of the people and programs that sign in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class Account(Base):
    """A person or a program that can sign in."""

    __tablename__ = "account"
    __table_args__ = (CheckConstraint("kind IN ('account', 'service')", name="kind"),)

    id: Mapped[int] = _key()
    kind: Mapped[str] = mapped_column(server_default="account")
    name: Mapped[str] = mapped_column(unique=True)
    """What is typed to sign in, folded to lower case; for a program its client identifier."""
    display_name: Mapped[str] = mapped_column(server_default="")
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_at: Mapped[datetime] = _now()


class AccountRole(Base):
    """A role of an account at a facility; at all of them where no facility is named."""

    __tablename__ = "account_role"
    __table_args__ = (
        Index(None, "account_id", "role", "facility_id", unique=True, postgresql_nulls_not_distinct=True),
    )

    id: Mapped[int] = _key()
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    role: Mapped[str]
    facility_id: Mapped[int | None] = mapped_column(ForeignKey("facility.id"))
