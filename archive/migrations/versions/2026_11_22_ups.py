"""Unified Procedure Steps

Revision: 2026_11_22_ups, after 2026_11_22_feed
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_ups"
down_revision = "2026_11_22_feed"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "ups_workitem",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("uid", _TEXT, nullable=False),
        sa.Column("facility", _TEXT, server_default="", nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("transaction_uid", _TEXT, server_default="", nullable=False),
        sa.Column("patient_id", _TEXT, nullable=False),
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("scheduled_start", _TIME, nullable=False),
        sa.Column("expected_completion", _TIME, nullable=True),
        sa.Column("modified", _TIME, nullable=False),
        sa.Column("attributes", postgresql.JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')", name=op.f("ck_ups_workitem_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_workitem")),
        sa.UniqueConstraint("uid", name=op.f("uq_ups_workitem_uid")),
    )
    op.create_index(op.f("ix_ups_workitem_state_scheduled_start"), "ups_workitem", ["state", "scheduled_start"])
    for column in ("scheduled_start", "patient_id", "study_instance_uid"):
        op.create_index(op.f(f"ix_ups_workitem_{column}"), "ups_workitem", [column])
    op.create_index(
        "ix_ups_workitem_ended_at", "ups_workitem", ["ended_at"], postgresql_where=sa.text("ended_at IS NOT NULL")
    )
    op.create_table(
        "ups_subscription",
        sa.Column("workitem_id", sa.BigInteger(), nullable=False),
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workitem_id"], ["ups_workitem.id"], name=op.f("fk_ups_subscription_workitem_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workitem_id", "ae_title", name=op.f("pk_ups_subscription")),
    )
    op.create_index(op.f("ix_ups_subscription_ae_title"), "ups_subscription", ["ae_title"])
    op.create_table(
        "ups_global_subscription",
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.Column("keys", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_ups_global_subscription")),
    )
    op.create_table(
        "ups_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("uid", _TEXT, nullable=False),
        sa.Column("event_type", sa.SmallInteger(), nullable=False),
        sa.Column("information", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ups_event")),
    )
    op.create_index(op.f("ix_ups_event_ae_title_id"), "ups_event", ["ae_title", "id"])
    op.create_table(
        "ups_channel",
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("opened_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_ups_channel")),
    )


def downgrade() -> None:
    for table in ("ups_channel", "ups_event", "ups_global_subscription", "ups_subscription", "ups_workitem"):
        op.drop_table(table)
