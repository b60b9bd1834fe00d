"""Routes and their queues

Revision: 2026_11_22_routing, after 2026_11_22_commitment
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_routing"
down_revision = "2026_11_22_commitment"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "route_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("holders", postgresql.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_route_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_cursor")),
    )
    op.create_table(
        "route_destination",
        sa.Column("ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_route_destination")),
    )
    op.create_table(
        "route_group",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("destination", sa.Text(collation="C"), nullable=False),
        sa.Column("route", sa.Text(collation="C"), nullable=False),
        sa.Column("what", sa.Text(collation="C"), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("what IN ('series', 'study', 'availability')", name=op.f("ck_route_group_what")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_group")),
        sa.UniqueConstraint(
            "destination", "route", "what", "parent_id", name=op.f("uq_route_group_destination_route_what_parent_id")
        ),
    )
    op.create_index(op.f("ix_route_group_due_at"), "route_group", ["due_at"], unique=False)
    op.create_table(
        "route_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("destination", sa.Text(collation="C"), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=True),
        sa.Column("study_id", sa.BigInteger(), nullable=True),
        sa.Column("route", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("as_stored", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("commitment", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(collation="C"), server_default="waiting", nullable=False),
        sa.Column(
            "due_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("holder", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=True),
        sa.Column("refusals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("broke_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed', 'skipped')", name=op.f("ck_route_task_state")),
        sa.CheckConstraint("(object_id IS NULL) <> (study_id IS NULL)", name=op.f("ck_route_task_about")),
        sa.ForeignKeyConstraint(
            ["object_id"], ["stored_object.id"], name=op.f("fk_route_task_object_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_route_task_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_task")),
        sa.UniqueConstraint("object_id", "destination", name=op.f("uq_route_task_object_id_destination")),
    )
    op.create_index(
        "ix_route_task_ended",
        "route_task",
        ["destination", "ended_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('sent', 'skipped')"),
    )
    op.create_index(
        "ix_route_task_failed",
        "route_task",
        ["destination", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(
        "ix_route_task_held", "route_task", ["holder"], unique=False, postgresql_where=sa.text("holder IS NOT NULL")
    )
    op.create_index(
        "ix_route_task_not_shown",
        "route_task",
        ["object_id"],
        unique=False,
        postgresql_where=sa.text("state = 'skipped' AND error = 'the object is not shown'"),
    )
    op.create_index(
        "ix_route_task_order",
        "route_task",
        ["order_id"],
        unique=False,
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "ix_route_task_study",
        "route_task",
        ["study_id"],
        unique=False,
        postgresql_where=sa.text("study_id IS NOT NULL"),
    )
    op.create_index(
        "ix_route_task_uncommitted",
        "route_task",
        ["destination"],
        unique=False,
        postgresql_where=sa.text("state = 'sent' AND commitment AND order_id IS NULL"),
    )
    op.create_index(
        "ix_route_task_waiting",
        "route_task",
        ["destination", "priority", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_route_task_waiting", table_name="route_task", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index(
        "ix_route_task_uncommitted",
        table_name="route_task",
        postgresql_where=sa.text("state = 'sent' AND commitment AND order_id IS NULL"),
    )
    op.drop_index("ix_route_task_study", table_name="route_task", postgresql_where=sa.text("study_id IS NOT NULL"))
    op.drop_index(
        "ix_route_task_not_shown",
        table_name="route_task",
        postgresql_where=sa.text("state = 'skipped' AND error = 'the object is not shown'"),
    )
    op.drop_index("ix_route_task_order", table_name="route_task", postgresql_where=sa.text("order_id IS NOT NULL"))
    op.drop_index("ix_route_task_held", table_name="route_task", postgresql_where=sa.text("holder IS NOT NULL"))
    op.drop_index("ix_route_task_failed", table_name="route_task", postgresql_where=sa.text("state = 'failed'"))
    op.drop_index(
        "ix_route_task_ended", table_name="route_task", postgresql_where=sa.text("state IN ('sent', 'skipped')")
    )
    op.drop_table("route_task")
    op.drop_index(op.f("ix_route_group_due_at"), table_name="route_group")
    op.drop_table("route_group")
    op.drop_table("route_destination")
    op.drop_table("route_cursor")
