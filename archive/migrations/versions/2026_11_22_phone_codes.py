"""One-time codes by phone, and where facilities are

Revision: 2026_11_22_phone_codes, after 2026_11_22_signing_in
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_phone_codes"
down_revision = "2026_11_22_signing_in"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_FACTOR = "ck_share_link_factor"
_FACILITY = ("district", "care_level")


def upgrade() -> None:
    for name in _FACILITY:
        op.add_column("facility", sa.Column(name, _TEXT, server_default="", nullable=False))
    op.add_column("share_link", sa.Column("phone", sa.LargeBinary(), nullable=True))
    op.add_column("share_link", sa.Column("sent_code_hash", _TEXT, server_default="", nullable=False))
    op.add_column("share_link", sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("share_link", sa.Column("sent_today", sa.Integer(), server_default="0", nullable=False))
    op.drop_constraint(op.f(_FACTOR), "share_link")
    op.create_check_constraint(op.f(_FACTOR), "share_link", "factor IN ('birth_date', 'code', 'phone')")


def downgrade() -> None:
    op.drop_constraint(op.f(_FACTOR), "share_link")
    # A link whose code can no longer be sent opens nothing.
    op.execute("UPDATE share_link SET factor = 'code' WHERE factor = 'phone'")
    op.create_check_constraint(op.f(_FACTOR), "share_link", "factor IN ('birth_date', 'code')")
    for name in ("sent_today", "sent_at", "sent_code_hash", "phone"):
        op.drop_column("share_link", name)
    for name in _FACILITY:
        op.drop_column("facility", name)
