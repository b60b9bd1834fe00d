"""Distinct persons by body part, sex and age group are counted from an index alone

Revision: 2026_11_22_wider_facts, after 2026_11_22_registry
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_22_wider_facts"
down_revision = "2026_11_22_registry"
branch_labels = None
depends_on = None

_NARROW = ["facility_id", "modality", "person_id"]
_WIDE = [*_NARROW, "body_part", "sex", "age_group"]


def upgrade() -> None:
    _include(_WIDE)


def downgrade() -> None:
    _include(_NARROW)


def _include(columns: list[str]) -> None:
    op.drop_index("ix_study_fact_studied_at", "study_fact")
    op.create_index("ix_study_fact_studied_at", "study_fact", ["studied_at"], postgresql_include=columns)
