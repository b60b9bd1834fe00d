"""Decisions to share, of which grants follow

Revision: 2026_11_22_grants, after 2026_11_22_delivery
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_grants"
down_revision = "2026_11_22_delivery"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    _sharing()
    _members()
    _notices()
    op.create_table(
        "care_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("holders", postgresql.ARRAY(_TEXT), server_default="{}", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_care_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_care_cursor")),
    )
    op.create_index(op.f("ix_worklist_item_updated_at"), "worklist_item", ["updated_at"])
    op.add_column("access_grant", sa.Column("sharing_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_access_grant_sharing_id"), "access_grant", "sharing", ["sharing_id"], ["id"])
    op.create_index(
        "uq_access_grant_sharing",
        "access_grant",
        ["sharing_id", "study_id", "facility_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("sharing_id IS NOT NULL"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "uq_access_grant_care",
        "access_grant",
        ["study_id", "facility_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'care'"),
    )


def _sharing() -> None:
    op.create_table(
        "sharing",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ticket", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=True),
        sa.Column("title", _TEXT, server_default="", nullable=False),
        sa.Column("purpose", _TEXT, nullable=False),
        sa.Column("may_copy", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=True),
        sa.Column("opened_by", sa.BigInteger(), nullable=True),
        sa.Column("opened_by_name", _TEXT, nullable=False),
        sa.Column("opened_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("closed_by_name", _TEXT, server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('referral', 'consultation', 'break_glass')", name=op.f("ck_sharing_kind")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_sharing_facility_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_sharing_patient_id")),
        sa.ForeignKeyConstraint(["opened_by"], ["account.id"], name=op.f("fk_sharing_opened_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sharing")),
        sa.UniqueConstraint("ticket", name=op.f("uq_sharing_ticket")),
    )
    op.create_index(
        op.f("ix_sharing_patient_id"), "sharing", ["patient_id"], postgresql_where=sa.text("patient_id IS NOT NULL")
    )
    op.create_index(op.f("ix_sharing_facility_id_id"), "sharing", ["facility_id", "id"])
    op.create_index(op.f("ix_sharing_opened_by_opened_at"), "sharing", ["opened_by", "opened_at"])


def _members() -> None:
    op.create_table(
        "sharing_member",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sharing_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("num_nonnulls(facility_id, account_id) = 1", name=op.f("ck_sharing_member_one_member")),
        sa.ForeignKeyConstraint(["sharing_id"], ["sharing.id"], name=op.f("fk_sharing_member_sharing_id")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_sharing_member_facility_id")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_sharing_member_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sharing_member")),
    )
    op.create_index(
        op.f("ix_sharing_member_sharing_id_facility_id_account_id"),
        "sharing_member",
        ["sharing_id", "facility_id", "account_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    for grantee in ("facility", "account"):
        op.create_index(
            op.f(f"ix_sharing_member_{grantee}_id"),
            "sharing_member",
            [f"{grantee}_id"],
            postgresql_where=sa.text(f"{grantee}_id IS NOT NULL"),
        )
    op.create_table(
        "sharing_study",
        sa.Column("sharing_id", sa.BigInteger(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("added_by_name", _TEXT, nullable=False),
        sa.Column("added_at", _TIME, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["sharing_id"], ["sharing.id"], name=op.f("fk_sharing_study_sharing_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_sharing_study_study_id")),
        sa.PrimaryKeyConstraint("sharing_id", "study_id", name=op.f("pk_sharing_study")),
    )
    op.create_index(op.f("ix_sharing_study_study_id"), "sharing_study", ["study_id"])


def _notices() -> None:
    op.create_table(
        "access_notice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("to_facility_id", sa.BigInteger(), nullable=True),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("sharing_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("acknowledged_at", _TIME, nullable=True),
        sa.Column("acknowledged_by_name", _TEXT, server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('break_glass', 'care')", name=op.f("ck_access_notice_kind")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_access_notice_facility_id")),
        sa.ForeignKeyConstraint(["to_facility_id"], ["facility.id"], name=op.f("fk_access_notice_to_facility_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_access_notice_patient_id")),
        sa.ForeignKeyConstraint(["sharing_id"], ["sharing.id"], name=op.f("fk_access_notice_sharing_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_notice")),
    )
    op.create_index(op.f("ix_access_notice_facility_id_id"), "access_notice", ["facility_id", "id"])
    op.create_index(
        op.f("ix_access_notice_sharing_id_facility_id"),
        "access_notice",
        ["sharing_id", "facility_id"],
        unique=True,
        postgresql_where=sa.text("sharing_id IS NOT NULL"),
    )
    op.create_index(
        "uq_access_notice_care",
        "access_notice",
        ["facility_id", "to_facility_id", "patient_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'care'"),
    )
    op.create_table(
        "break_glass_attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_break_glass_attempt_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass_attempt")),
    )
    op.create_index(op.f("ix_break_glass_attempt_account_id_at"), "break_glass_attempt", ["account_id", "at"])


def downgrade() -> None:
    op.drop_column("access_grant", "sharing_id")
    op.drop_index("uq_access_grant_care", "access_grant")
    op.drop_index("ix_worklist_item_updated_at", "worklist_item")
    for table in ("access_notice", "break_glass_attempt", "care_cursor", "sharing_study", "sharing_member", "sharing"):
        op.drop_table(table)
