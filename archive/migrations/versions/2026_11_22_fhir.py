"""Orders whose study a caller may see

Revision: 2026_11_22_fhir, after 2026_11_22_hl7
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_22_fhir"
down_revision = "2026_11_22_hl7"
branch_labels = None
depends_on = None

# Beside those of the caller's own facilities. Of studies, the reader sees what its own policy lets through.
_MADE_FOR = """
EXISTS (SELECT FROM study
         WHERE study.study_instance_uid = worklist_item.study_instance_uid
           AND (study.facility_id = worklist_item.facility_id
                OR study.facility_id = (SELECT id FROM facility WHERE code = 'UNKNOWN')))
"""


def upgrade() -> None:
    op.create_index(op.f("ix_report_version_issued_at_id"), "report_version", ["issued_at", "id"])
    op.execute(f"CREATE POLICY seen_by_study ON worklist_item FOR SELECT TO pacs_reader USING ({_MADE_FOR})")


def downgrade() -> None:
    op.execute("DROP POLICY seen_by_study ON worklist_item")
    op.drop_index(op.f("ix_report_version_issued_at_id"), table_name="report_version")
