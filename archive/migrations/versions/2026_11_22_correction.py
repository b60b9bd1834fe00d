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


def downgrade() -> None:
    op.add_column("stored_object", sa.Column("default_character_set", sa.Text(collation="C"), nullable=True))
    op.execute("UPDATE stored_object SET default_character_set = corrections ->> 'character_set'")
    op.drop_column("stored_object", "corrections")
