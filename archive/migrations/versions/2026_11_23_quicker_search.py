"""Studies of a patient are found by their dates, and patients by their birth date

Revision: 2026_11_23_quicker_search, after 2026_11_22_wider_facts
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_23_quicker_search"
down_revision = "2026_11_22_wider_facts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of a million studies and half a million patients: two seconds and one. Arrivals wait as long, and are kept.
    op.create_index("ix_study_patient_id_study_date", "study", ["patient_id", "study_date"])
    op.drop_index("ix_study_patient_id", "study")
    op.create_index("ix_patient_birth_date", "patient", ["birth_date"])


def downgrade() -> None:
    op.drop_index("ix_patient_birth_date", "patient")
    op.create_index("ix_study_patient_id", "study", ["patient_id"])
    op.drop_index("ix_study_patient_id_study_date", "study")
