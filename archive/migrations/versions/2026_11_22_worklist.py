"""Modality worklist and performed procedure steps

Revision: 2026_11_22_worklist, after 2026_11_22_index
"""

from __future__ import annotations

revision = "2026_11_22_worklist"
down_revision = "2026_11_22_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""


def downgrade() -> None:
    """Drop them."""
