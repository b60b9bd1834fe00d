"""Corrections beside the objects

Revision: 2026_11_22_correction, after 2026_11_22_routing
"""

from __future__ import annotations

revision = "2026_11_22_correction"
down_revision = "2026_11_22_routing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""


def downgrade() -> None:
    """Drop them."""
