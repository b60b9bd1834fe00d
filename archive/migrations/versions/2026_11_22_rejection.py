"""Rejected and quarantined instances

Revision: 2026_11_22_rejection, after 2026_11_22_correction
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_rejection"
down_revision = "2026_11_22_correction"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("study", sa.Column("quarantine", _TEXT, server_default="", nullable=False))
    op.add_column("study", sa.Column("hidden_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("study", sa.Column("rejection_epoch", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("series", sa.Column("hidden_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("instance", sa.Column("hidden", sa.SmallInteger(), server_default="0", nullable=False))
    op.drop_constraint(op.f("uq_study_study_instance_uid"), "study")
    op.create_unique_constraint(
        op.f("uq_study_study_instance_uid_quarantine"), "study", ["study_instance_uid", "quarantine"]
    )
    op.create_index("ix_study_quarantine", "study", ["quarantine"], postgresql_where=sa.text("quarantine <> ''"))
    op.create_index("ix_instance_hidden", "instance", ["series_id"], postgresql_where=sa.text("hidden <> 0"))
    _notes()
    op.create_table(
        "hiding_action",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", _TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("who", _TEXT, nullable=False),
        sa.Column("why", _TEXT, nullable=False),
        sa.Column("instances", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hiding_action")),
    )
    op.create_index(op.f("ix_hiding_action_subject"), "hiding_action", ["subject"])


def _notes() -> None:
    op.create_table(
        "rejection_note",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("series_instance_uid", _TEXT, nullable=False),
        sa.Column("sop_instance_uid", _TEXT, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("anywhere", sa.Boolean(), nullable=False),
        sa.Column("permitted", sa.Boolean(), nullable=False),
        sa.Column("code", _TEXT, nullable=False),
        sa.Column("cause", sa.SmallInteger(), nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("applied", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_rejection_note_instance_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_rejection_note_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejection_note")),
        sa.UniqueConstraint("instance_id", name=op.f("uq_rejection_note_instance_id")),
    )
    op.create_index(op.f("ix_rejection_note_sop_instance_uid"), "rejection_note", ["sop_instance_uid"])
    op.create_index("ix_rejection_note_waiting", "rejection_note", ["id"], postgresql_where=sa.text("NOT applied"))
    op.create_table(
        "rejection_reference",
        sa.Column("note_id", sa.BigInteger(), nullable=False),
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("series_instance_uid", _TEXT, nullable=False),
        sa.Column("sop_instance_uid", _TEXT, nullable=False),
        sa.Column("stale", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["note_id"], ["rejection_note.id"], name=op.f("fk_rejection_reference_note_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "note_id",
            "study_instance_uid",
            "series_instance_uid",
            "sop_instance_uid",
            name=op.f("pk_rejection_reference"),
        ),
    )
    for column in ("sop_instance_uid", "study_instance_uid"):
        op.create_index(op.f(f"ix_rejection_reference_{column}"), "rejection_reference", [column])


def downgrade() -> None:
    for table in ("hiding_action", "rejection_reference", "rejection_note"):
        op.drop_table(table)
    op.drop_index("ix_instance_hidden", table_name="instance")
    op.drop_index("ix_study_quarantine", table_name="study")
    op.drop_constraint(op.f("uq_study_study_instance_uid_quarantine"), "study")
    op.create_unique_constraint(op.f("uq_study_study_instance_uid"), "study", ["study_instance_uid"])
    op.drop_column("instance", "hidden")
    op.drop_column("series", "hidden_count")
    for column in ("rejection_epoch", "hidden_count", "quarantine"):
        op.drop_column("study", column)
