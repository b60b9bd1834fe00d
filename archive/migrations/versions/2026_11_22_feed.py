"""Change feed and webhooks

Revision: 2026_11_22_feed, after 2026_11_22_rejection
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_feed"
down_revision = "2026_11_22_rejection"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "feed_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("holders", postgresql.ARRAY(_TEXT), server_default="{}", nullable=False),
        sa.Column("last", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("forgotten", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_feed_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_cursor")),
    )
    op.create_table(
        "change",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=True),
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("series_instance_uid", _TEXT, nullable=True),
        sa.Column("sop_instance_uid", _TEXT, nullable=True),
        sa.Column("sop_class_uid", _TEXT, nullable=True),
        sa.Column("before", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("after", sa.SmallInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "kind IN ('stored', 'replaced', 'visibility', 'corrected', 'complete')", name=op.f("ck_change_kind")
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_change")),
    )
    op.create_table(
        "change_pending",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("before", sa.SmallInteger(), nullable=True),
        sa.Column("after", sa.SmallInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('visibility', 'corrected')", name=op.f("ck_change_pending_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_pending")),
    )
    op.create_table(
        "change_gathering",
        sa.Column("study_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_change_gathering")),
    )
    op.create_index(op.f("ix_change_gathering_due_at"), "change_gathering", ["due_at"])
    _webhooks()


def _webhooks() -> None:
    op.create_table(
        "webhook_cursor",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("holder", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", _TIME, nullable=True),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("failed_at", _TIME, nullable=True),
        sa.Column("delivered_at", _TIME, nullable=True),
        sa.Column("lost", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_webhook_cursor")),
    )


def downgrade() -> None:
    for table in ("webhook_cursor", "change_gathering", "change_pending", "change", "feed_cursor"):
        op.drop_table(table)
