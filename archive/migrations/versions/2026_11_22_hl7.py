"""The log of HL7 messages

Revision: 2026_11_22_hl7, after 2026_11_22_figures
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_hl7"
down_revision = "2026_11_22_figures"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_ZERO = sa.text("0")
_FALSE = sa.text("false")


def upgrade() -> None:
    op.create_table(
        "hl7_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("direction", _TEXT, nullable=False),
        sa.Column("peer", _TEXT, nullable=False),
        sa.Column("control_id", _TEXT, nullable=False),
        sa.Column("message_type", _TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("note", _TEXT, server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("replays", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("address", _TEXT, server_default="", nullable=False),
        sa.Column("about", postgresql.ARRAY(_TEXT), nullable=False),
        sa.Column("links", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("done_at", _TIME, nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_hl7_message_direction")),
        sa.CheckConstraint(
            "state IN ('received', 'done', 'refused', 'waiting', 'sent', 'set_aside')",
            name=op.f("ck_hl7_message_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hl7_message")),
    )
    op.create_index(
        "uq_hl7_message_incoming",
        "hl7_message",
        ["peer", "control_id", "digest"],
        unique=True,
        postgresql_where=sa.text("direction = 'in'"),
    )
    op.create_index(
        "ix_hl7_message_open",
        "hl7_message",
        ["direction", "peer", "id"],
        postgresql_where=sa.text("state IN ('received', 'waiting')"),
    )
    op.create_index(op.f("ix_hl7_message_peer_id"), "hl7_message", ["peer", "id"])
    op.create_index(op.f("ix_hl7_message_received_at"), "hl7_message", ["received_at"])
    op.create_index("ix_hl7_message_about", "hl7_message", ["about"], postgresql_using="gin")
    op.create_table(
        "hl7_peer",
        sa.Column("direction", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("holder", sa.BigInteger(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=_FALSE, nullable=False),
        sa.Column("failures", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("retry_at", _TIME, nullable=True),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("failed_at", _TIME, nullable=True),
        sa.Column("last_at", _TIME, nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_hl7_peer_direction")),
        sa.PrimaryKeyConstraint("direction", "name", name=op.f("pk_hl7_peer")),
    )
    op.create_table(
        "hl7_order",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sender", _TEXT, nullable=False),
        sa.Column("placer", _TEXT, nullable=False),
        sa.Column("filler", _TEXT, nullable=False),
        sa.Column("told", _TEXT, nullable=False),
        sa.Column("over", sa.Boolean(), server_default=_FALSE, nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["worklist_item.id"], name=op.f("fk_hl7_order_item_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_hl7_order")),
    )
    op.create_index("ix_hl7_order_untold", "hl7_order", ["item_id"], postgresql_where=sa.text("NOT over"))
    op.create_table(
        "hl7_cursor",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hl7_cursor")),
    )


def downgrade() -> None:
    for table in ("hl7_cursor", "hl7_order", "hl7_peer", "hl7_message"):
        op.drop_table(table)
