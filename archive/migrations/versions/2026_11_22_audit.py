"""The audit trail

Revision: 2026_11_22_audit, after 2026_11_22_sharing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_audit"
down_revision = "2026_11_22_sharing"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")


def upgrade() -> None:
    op.create_table(
        "audit_record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("action", "outcome", "kind", "name")),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("studies", postgresql.ARRAY(_TEXT), nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("patient_id", "issuer_of_patient_id", "purpose")),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_record")),
    )
    op.create_index(op.f("ix_audit_record_recorded_at"), "audit_record", ["recorded_at"])


def downgrade() -> None:
    op.drop_table("audit_record")
