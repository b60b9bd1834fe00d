"""Orders whose study a caller may see

Revision: 2026_11_22_fhir, after 2026_11_22_hl7
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_fhir"
down_revision = "2026_11_22_hl7"
branch_labels = None
depends_on = None

# Beside those of the caller's own facilities. Of studies, the reader sees what its own policy lets through.
_MADE_FOR = """
EXISTS (SELECT FROM study
         WHERE study.study_instance_uid = worklist_item.study_instance_uid
           AND (study.facility_id = worklist_item.facility_id
                OR study.facility_id = (SELECT id FROM facility WHERE code = 'UNKNOWN')))
"""


_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "fhir_subscription",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("number", _TEXT, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("facilities", postgresql.ARRAY(_TEXT), nullable=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("criteria", _TEXT, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("endpoint", _TEXT, nullable=False),
        sa.Column("receiver", _TEXT, nullable=False),
        sa.Column("payload", _TEXT, nullable=False),
        sa.Column("status", _TEXT, server_default="active", nullable=False),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("end_at", _TIME, nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("holder", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_at", _TIME, nullable=True),
        sa.Column("retry_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind IN ('ImagingStudy', 'DiagnosticReport')", name=op.f("ck_fhir_subscription_kind")),
        sa.CheckConstraint("status IN ('active', 'error', 'off')", name=op.f("ck_fhir_subscription_status")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_fhir_subscription_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fhir_subscription")),
        sa.UniqueConstraint("number", name=op.f("uq_fhir_subscription_number")),
    )
    op.create_index(op.f("ix_fhir_subscription_account_id"), "fhir_subscription", ["account_id"])
    op.create_index(op.f("ix_report_version_issued_at_id"), "report_version", ["issued_at", "id"])
    op.execute(f"CREATE POLICY seen_by_study ON worklist_item FOR SELECT TO pacs_reader USING ({_MADE_FOR})")


def downgrade() -> None:
    op.execute("DROP POLICY seen_by_study ON worklist_item")
    op.drop_table("fhir_subscription")
    op.drop_index(op.f("ix_report_version_issued_at_id"), table_name="report_version")
