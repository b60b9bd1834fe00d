"""Storage commitment

Revision: 2026_11_22_commitment, after 2026_11_22_worklist
"""

from __future__ import annotations

revision = "2026_11_22_commitment"
down_revision = "2026_11_22_worklist"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""


def downgrade() -> None:
    """Drop them."""
