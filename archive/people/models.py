"""Tables of the people and programs that sign in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

STAGES = ("password", "enrol", "code", "open")


class Account(Base):
    """A person or a program that can sign in."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("kind IN ('account', 'service')", name="kind"),
        Index(None, "issuer", "subject", unique=True, postgresql_where=text("subject <> ''")),
        Index(None, "set_up_digest", unique=True, postgresql_where=text("set_up_digest IS NOT NULL")),
    )

    id: Mapped[int] = _key()
    kind: Mapped[str] = mapped_column(server_default="account")
    name: Mapped[str] = mapped_column(unique=True)
    """What is typed to sign in, folded to lower case; for a program its client identifier."""
    display_name: Mapped[str] = mapped_column(server_default="")
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_at: Mapped[datetime] = _now()
    enabled_at: Mapped[datetime] = _now()
    """Since when it has been enabled: it is not idle for longer."""
    used_at: Mapped[datetime | None]
    """When it last signed in."""
    reviewed_at: Mapped[datetime] = _now()
    """When somebody last gave or confirmed its roles."""
    password_hash: Mapped[str] = mapped_column(server_default="")
    """Argon2id of a person's password, SHA-256 of a program's secret; empty: no way in by it."""
    password_at: Mapped[datetime] = _now()
    password_expires_at: Mapped[datetime | None]
    """Until when a password can be used that somebody else has set."""
    must_change: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    earlier_hashes: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Of the passwords before, the latest first."""
    factor: Mapped[bytes | None]
    """The sealed secret of the second factor."""
    factor_at: Mapped[datetime | None]
    """Since when it is in force; before, it was shown and not yet proved."""
    factor_step: Mapped[int] = mapped_column(server_default=text("0"))
    """The last time step of which a code was taken: none is taken twice."""
    recovery: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """SHA-256 of the recovery codes that are left."""
    rights: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """What a program may do."""
    provider: Mapped[str] = mapped_column(server_default="")
    """By which provider of the settings (``[[oidc]]``) the person signs in; empty: by means of ours."""
    issuer: Mapped[str] = mapped_column(server_default="")
    subject: Mapped[str] = mapped_column(server_default="")
    """Who the person is there (OpenID Connect Core 2, ``sub``); empty until the first sign-in."""
    set_up_digest: Mapped[bytes | None]
    """SHA-256 of the secret of a link by which the person sets a password."""
    set_up_expires_at: Mapped[datetime | None]
    public_keys: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """JSON Web Keys of a program, with which it proves who it is (RFC 7523)."""


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


class AccountSession(Base):
    """A session of a browser, or a token of a program. Only the digest of its secret is kept."""

    __tablename__ = "account_session"
    __table_args__ = (
        CheckConstraint("kind IN ('browser', 'token')", name="kind"),
        CheckConstraint(f"stage IN ({', '.join(repr(stage) for stage in STAGES)})", name="stage"),
        Index(None, "account_id", postgresql_where=text("ended_at IS NULL")),
        Index(None, "expires_at"),
    )

    id: Mapped[int] = _key()
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    kind: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    """SHA-256 of the secret."""
    stage: Mapped[str]
    """What is still missing: the code of the second factor, enrolling one, a new password; or nothing: ``open``."""
    created_at: Mapped[datetime] = _now()
    used_at: Mapped[datetime] = _now()
    idle_seconds: Mapped[int]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    address: Mapped[str] = mapped_column(server_default="")
    agent: Mapped[str] = mapped_column(server_default="")
    """What the browser calls itself."""
    provider: Mapped[str] = mapped_column(server_default="")
    """The provider where the person signed in."""
    provider_session: Mapped[str] = mapped_column(server_default="")
    """Its name for the session there (``sid``)."""
    id_token: Mapped[bytes | None]
    """Its token, sealed: it wants to see it when the person signs out."""


class Passkey(Base):
    """A key pair of an authenticator (WebAuthn): a telephone, a computer, a security key."""

    __tablename__ = "passkey"
    __table_args__ = (Index(None, "account_id"),)

    id: Mapped[int] = _key()
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    credential: Mapped[bytes] = mapped_column(unique=True)
    """What the authenticator calls it."""
    public_key: Mapped[bytes]
    """COSE."""
    uses: Mapped[int]
    """The signature counter of the authenticator at the last use; many stay at 0."""
    host: Mapped[str]
    """The relying party identifier for which it was made: good for no other."""
    name: Mapped[str]
    created_at: Mapped[datetime] = _now()
    used_at: Mapped[datetime | None]


class Spent(Base):
    """What was good for one time and has been used: states of sign-ins elsewhere, challenges, assertions."""

    __tablename__ = "spent"
    __table_args__ = (Index(None, "expires_at"),)

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]
    """When it would be worth nothing even unused."""


class SignInAttempts(Base):
    """Tries in a row under a name, whether there is such an account or not: both are locked alike."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index(None, "last_at"),)

    name: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of the name: what is typed there by mistake may be a password."""
    count: Mapped[int]
    last_at: Mapped[datetime] = _now()
    locked_until: Mapped[datetime | None]
