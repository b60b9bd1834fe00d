"""Corrections beside the objects

Revision: 2026_11_22_correction, after 2026_11_22_routing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_correction"
down_revision = "2026_11_22_routing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored_object", sa.Column("corrections", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute(
        """
        UPDATE stored_object
           SET corrections = jsonb_build_object('character_set', default_character_set, 'peer', calling_ae_title,
                                                'at', received_at)
         WHERE default_character_set IS NOT NULL
        """
    )
    op.drop_column("stored_object", "default_character_set")
    now = sa.text("clock_timestamp()")
    op.create_table(
        "former_corrections",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("corrections", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.ForeignKeyConstraint(
            ["object_id"], ["stored_object.id"], name=op.f("fk_former_corrections_object_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_corrections")),
    )
    op.create_index(op.f("ix_former_corrections_object_id"), "former_corrections", ["object_id"], unique=False)
    op.create_table(
        "correction_run",
        sa.Column("peer", sa.Text(collation="C"), nullable=False),
        sa.Column("settings", sa.Text(collation="C"), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("peer", name=op.f("pk_correction_run")),
    )


def downgrade() -> None:
    op.drop_table("correction_run")
    op.drop_table("former_corrections")
    op.add_column("stored_object", sa.Column("default_character_set", sa.Text(collation="C"), nullable=True))
    op.execute("UPDATE stored_object SET default_character_set = corrections ->> 'character_set'")
    op.drop_column("stored_object", "corrections")
