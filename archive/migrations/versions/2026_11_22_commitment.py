"""Storage commitment

Revision: 2026_11_22_commitment, after 2026_11_22_worklist
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_commitment"
down_revision = "2026_11_22_worklist"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commitment_order",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("transaction_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("earlier_uids", postgresql.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="waiting", nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "due_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("lease", sa.BigInteger(), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'asked', 'answered', 'failed')", name=op.f("ck_commitment_order_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_order")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_order_transaction_uid")),
    )
    op.create_index(op.f("ix_commitment_order_created_at"), "commitment_order", ["created_at"], unique=False)
    op.create_index(
        op.f("ix_commitment_order_earlier_uids"),
        "commitment_order",
        ["earlier_uids"],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index(
        "ix_commitment_order_due",
        "commitment_order",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'asked')"),
    )
    op.create_table(
        "commitment_request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transaction_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("called_ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("facility", sa.Text(collation="C"), nullable=False),
        sa.Column("scope", postgresql.ARRAY(sa.Text(collation="C")), nullable=True),
        sa.Column("view", sa.Text(collation="C"), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("duplicate", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="received", nullable=False),
        sa.Column("home", sa.BigInteger(), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("failed_count", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column(
            "due_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("lease", sa.BigInteger(), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ready_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'ready', 'delivered', 'failed')", name=op.f("ck_commitment_request_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
    )
    op.create_index(
        "ix_commitment_request_due",
        "commitment_request",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('received', 'ready')"),
    )
    op.create_index(op.f("ix_commitment_request_received_at"), "commitment_request", ["received_at"], unique=False)
    op.create_index(
        "uq_commitment_request_open",
        "commitment_request",
        ["ae_title", "transaction_uid"],
        unique=True,
        postgresql_where=sa.text("state IN ('received', 'ready') AND NOT duplicate"),
    )
    op.create_table(
        "commitment_order_item",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["order_id"], ["commitment_order.id"], name=op.f("fk_commitment_order_item_order_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("order_id", "sop_instance_uid", name=op.f("pk_commitment_order_item")),
    )
    op.create_table(
        "commitment_request_item",
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["commitment_request.id"],
            name=op.f("fk_commitment_request_item_request_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", "number", name=op.f("pk_commitment_request_item")),
    )
    op.create_table(
        "also_sent",
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", sa.Text(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_also_sent_facility_id")),
        sa.ForeignKeyConstraint(
            ["object_id"], ["stored_object.id"], name=op.f("fk_also_sent_object_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("object_id", "facility_id", "calling_ae_title", name=op.f("pk_also_sent")),
    )


def downgrade() -> None:
    op.drop_table("also_sent")
    op.drop_table("commitment_request_item")
    op.drop_table("commitment_order_item")
    op.drop_index(
        "uq_commitment_request_open",
        table_name="commitment_request",
        postgresql_where=sa.text("state IN ('received', 'ready') AND NOT duplicate"),
    )
    op.drop_index(op.f("ix_commitment_request_received_at"), table_name="commitment_request")
    op.drop_index(
        "ix_commitment_request_due",
        table_name="commitment_request",
        postgresql_where=sa.text("state IN ('received', 'ready')"),
    )
    op.drop_table("commitment_request")
    op.drop_index(
        "ix_commitment_order_due",
        table_name="commitment_order",
        postgresql_where=sa.text("state IN ('waiting', 'asked')"),
    )
    op.drop_index(op.f("ix_commitment_order_earlier_uids"), table_name="commitment_order", postgresql_using="gin")
    op.drop_index(op.f("ix_commitment_order_created_at"), table_name="commitment_order")
    op.drop_table("commitment_order")
