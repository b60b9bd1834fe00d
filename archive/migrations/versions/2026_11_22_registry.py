"""Peers that are added while the archive runs

Revision: 2026_11_22_registry, after 2026_11_22_cheaper_walls
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_registry"
down_revision = "2026_11_22_cheaper_walls"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")

# However a row is changed, also by hand: processes compare this number only.
_COUNT = """
CREATE FUNCTION count_peer_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE peer_epoch SET epoch = epoch + 1;
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER count_peer_epoch AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON peer
   FOR EACH STATEMENT EXECUTE FUNCTION count_peer_epoch()
"""


def upgrade() -> None:
    op.create_table(
        "peer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("created_by", _TEXT, nullable=False),
        sa.Column("changed_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("changed_by", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peer")),
        sa.UniqueConstraint("ae_title", name=op.f("uq_peer_ae_title")),
    )
    op.create_table(
        "peer_epoch",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_peer_epoch_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peer_epoch")),
    )
    op.execute("INSERT INTO peer_epoch (id) VALUES (1)")
    op.create_table(
        "peer_test",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("asked_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("asked_by", _TEXT, nullable=False),
        sa.Column("leased_until", _TIME, nullable=True),
        sa.Column("done_at", _TIME, nullable=True),
        sa.Column("outcome", _TEXT, server_default="", nullable=False),
        sa.Column("detail", _TEXT, server_default="", nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peer_test")),
    )
    op.create_index("ix_peer_test_open", "peer_test", ["id"], postgresql_where=sa.text("done_at IS NULL"))
    op.create_index(op.f("ix_peer_test_asked_at"), "peer_test", ["asked_at"])
    op.execute(_COUNT)
    op.execute(_TRIGGER)


def downgrade() -> None:
    for table in ("peer_test", "peer_epoch", "peer"):
        op.drop_table(table)
    op.execute("DROP FUNCTION count_peer_epoch()")
