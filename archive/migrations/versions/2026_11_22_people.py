"""Accounts

Revision: 2026_11_22_people, after 2026_11_22_ups
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_people"
down_revision = "2026_11_22_ups"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_TEXTS = postgresql.ARRAY(_TEXT)
_NONE = sa.text("'{}'")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", _TEXT, server_default="account", nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("display_name", _TEXT, server_default="", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("enabled_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("reviewed_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("password_hash", _TEXT, server_default="", nullable=False),
        sa.Column("password_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("password_expires_at", _TIME, nullable=True),
        sa.Column("must_change", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("earlier_hashes", _TEXTS, server_default=_NONE, nullable=False),
        sa.Column("factor", sa.LargeBinary(), nullable=True),
        sa.Column("factor_at", _TIME, nullable=True),
        sa.Column("factor_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("recovery", _TEXTS, server_default=_NONE, nullable=False),
        sa.Column("rights", _TEXTS, server_default=_NONE, nullable=False),
        sa.CheckConstraint("kind IN ('account', 'service')", name=op.f("ck_account_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "account_role",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_account_role_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_account_role_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_role")),
    )
    op.create_index(
        op.f("ix_account_role_account_id_role_facility_id"),
        "account_role",
        ["account_id", "role", "facility_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    _sessions()


def _sessions() -> None:
    op.create_table(
        "account_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("stage", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("used_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("idle_seconds", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("address", _TEXT, server_default="", nullable=False),
        sa.Column("agent", _TEXT, server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('browser', 'token')", name=op.f("ck_account_session_kind")),
        sa.CheckConstraint("stage IN ('password', 'enrol', 'code', 'open')", name=op.f("ck_account_session_stage")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_account_session_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_session")),
        sa.UniqueConstraint("digest", name=op.f("uq_account_session_digest")),
    )
    op.create_index(
        op.f("ix_account_session_account_id"),
        "account_session",
        ["account_id"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(op.f("ix_account_session_expires_at"), "account_session", ["expires_at"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("locked_until", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index(op.f("ix_sign_in_attempts_last_at"), "sign_in_attempts", ["last_at"])


def downgrade() -> None:
    for table in ("sign_in_attempts", "account_session"):
        op.drop_table(table)
    op.drop_table("account_role")
    op.drop_table("account")
