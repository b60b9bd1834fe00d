"""Routes and their queues

Revision: 2026_11_22_routing, after 2026_11_22_commitment
"""

from __future__ import annotations

revision = "2026_11_22_routing"
down_revision = "2026_11_22_commitment"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""


def downgrade() -> None:
    """Drop them."""
