"""Sharing

Revision: 2026_11_22_sharing, after 2026_11_22_people
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_sharing"
down_revision = "2026_11_22_people"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "share_link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("factor", _TEXT, nullable=False),
        sa.Column("code_hash", _TEXT, server_default="", nullable=False),
        sa.Column("may_copy", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("made_by", _TEXT, nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        *(sa.Column(name, _TIME, nullable=True) for name in ("withdrawn_at", "first_opened_at", "last_opened_at")),
        sa.Column("times_opened", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("factor IN ('birth_date', 'code')", name=op.f("ck_share_link_factor")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_share_link_patient_id")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_share_link_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share_link")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_share_link_token_digest")),
    )
    op.create_index(op.f("ix_share_link_facility_id_created_at"), "share_link", ["facility_id", "created_at"])
    _access_grant()


def _access_grant() -> None:
    op.create_table(
        "access_grant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("link_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("purpose", _TEXT, server_default="", nullable=False),
        sa.Column("may_copy", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("granted_by", sa.BigInteger(), nullable=True),
        sa.Column("granted_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("withdrawn_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "num_nonnulls(facility_id, account_id, link_id) = 1", name=op.f("ck_access_grant_one_grantee")
        ),
        sa.CheckConstraint(
            "kind IN ('referral', 'consultation', 'care', 'break_glass', 'link')", name=op.f("ck_access_grant_kind")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_access_grant_study_id")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_access_grant_facility_id")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_access_grant_account_id")),
        sa.ForeignKeyConstraint(["link_id"], ["share_link.id"], name=op.f("fk_access_grant_link_id")),
        sa.ForeignKeyConstraint(["granted_by"], ["account.id"], name=op.f("fk_access_grant_granted_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_grant")),
    )
    op.create_index(op.f("ix_access_grant_study_id"), "access_grant", ["study_id"])
    for grantee in ("facility", "account"):
        op.create_index(
            op.f(f"ix_access_grant_{grantee}_id_expires_at"),
            "access_grant",
            [f"{grantee}_id", "expires_at"],
            postgresql_where=sa.text(f"{grantee}_id IS NOT NULL"),
        )
    op.create_index(
        op.f("ix_access_grant_link_id"),
        "access_grant",
        ["link_id"],
        postgresql_where=sa.text("link_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("access_grant")
    op.drop_table("share_link")
