"""Delivery to patients

Revision: 2026_11_22_delivery, after 2026_11_22_audit
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_delivery"
down_revision = "2026_11_22_audit"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "link_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("link_id", sa.BigInteger(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("opened_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["share_link.id"], name=op.f("fk_link_session_link_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_session")),
        sa.UniqueConstraint("secret_digest", name=op.f("uq_link_session_secret_digest")),
    )
    op.create_index(op.f("ix_link_session_expires_at"), "link_session", ["expires_at"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", _TEXT, nullable=False),
        sa.Column("delivered_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("delivered_by", _TEXT, nullable=False),
        sa.Column("link_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("mode IN ('film', 'portal', 'qr', 'dicom_media')", name=op.f("ck_delivery_mode")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_delivery_study_id")),
        sa.ForeignKeyConstraint(["link_id"], ["share_link.id"], name=op.f("fk_delivery_link_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    for column in ("study_id", "delivered_at"):
        op.create_index(op.f(f"ix_delivery_{column}"), "delivery", [column])


def downgrade() -> None:
    op.drop_table("delivery")
    op.drop_table("link_session")
