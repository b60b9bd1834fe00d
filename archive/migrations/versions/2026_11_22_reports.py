"""Reports

Revision: 2026_11_22_reports, after 2026_11_22_identity
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_reports"
down_revision = "2026_11_22_identity"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("number", _TEXT, nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("status", _TEXT, server_default="draft", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("source", _TEXT, server_default="page", nullable=False),
        sa.Column("final_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'cancelled')", name=op.f("ck_report_status")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_study_id")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_report_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("number", name=op.f("uq_report_number")),
    )
    op.create_index(op.f("ix_report_study_id"), "report", ["study_id"])
    op.create_index(op.f("ix_report_facility_id_updated_at"), "report", ["facility_id", "updated_at"])
    op.create_index(op.f("ix_report_final_at"), "report", ["final_at"])
    op.create_table(
        "report_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("template", _TEXT, server_default="", nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("conclusion", _TEXT, nullable=False),
        sa.Column("recommendation", _TEXT, server_default="", nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("author_name", _TEXT, nullable=False),
        sa.Column("author_licence", _TEXT, server_default="", nullable=False),
        sa.Column("reason", _TEXT, server_default="", nullable=False),
        sa.Column("signed_at", _TIME, nullable=True),
        sa.Column("signed_by", _TEXT, server_default="", nullable=False),
        sa.Column("signature", postgresql.JSONB(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'addendum', 'cancelled')",
            name=op.f("ck_report_version_status"),
        ),
        sa.CheckConstraint("(signed_at IS NULL) = (signed_by = '')", name=op.f("ck_report_version_signed")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_version_report_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_version")),
        sa.UniqueConstraint("report_id", "number", name=op.f("uq_report_version_report_id_number")),
    )


def downgrade() -> None:
    op.drop_table("report_version")
    op.drop_table("report")
