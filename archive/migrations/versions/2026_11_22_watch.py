"""How long queues were, and since when each facility, device and sender is listed

Revision: 2026_11_22_watch, after 2026_11_22_fhir
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_watch"
down_revision = "2026_11_22_fhir"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "figure_sample",
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "at", name=op.f("pk_figure_sample")),
    )
    op.create_table(
        "figure_listed",
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.CheckConstraint("kind IN ('facility', 'device', 'sender')", name=op.f("ck_figure_listed_kind")),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_figure_listed")),
    )
    op.create_index(
        "ix_hl7_message_troubled",
        "hl7_message",
        ["direction", "peer", "done_at"],
        postgresql_where=sa.text("state IN ('refused', 'set_aside')"),
    )


def downgrade() -> None:
    op.drop_index("ix_hl7_message_troubled", table_name="hl7_message")
    op.drop_table("figure_listed")
    op.drop_table("figure_sample")
