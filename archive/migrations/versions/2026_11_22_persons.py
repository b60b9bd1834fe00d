"""Distinct persons by month, and by the month in which they were seen before

Revision: 2026_11_22_persons, after 2026_11_22_watch
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_persons"
down_revision = "2026_11_22_watch"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
# Figures that are whole stay whole: what is counted already is summed here.
_LEVELS = (("0::bigint", "''"), ("facility_id", "''"), ("0::bigint", "modality"), ("facility_id", "modality"))
_FILL = """
INSERT INTO study_person (level, day, before, facility_id, modality, persons)
SELECT {level}, day, before, facility_id, modality, count(*) FROM (
    SELECT day, facility_id, modality, coalesce(
               lag(day) OVER (PARTITION BY person_id, facility_id, modality ORDER BY day), '1900-01-01'::date) AS before
      FROM (SELECT DISTINCT person_id, date_trunc('month', studied_at)::date AS day,
                   {facility} AS facility_id, {modality} COLLATE "C" AS modality
              FROM study_fact WHERE EXISTS (SELECT FROM figure_cursor WHERE swept_at IS NOT NULL)) AS seen) AS course
 GROUP BY day, before, facility_id, modality
"""


def upgrade() -> None:
    op.create_table(
        "study_person",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("before", sa.Date(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("modality", _TEXT, nullable=False),
        sa.Column("persons", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("level BETWEEN 1 AND 4", name=op.f("ck_study_person_level")),
        sa.PrimaryKeyConstraint("level", "day", "before", "facility_id", "modality", name=op.f("pk_study_person")),
    )
    none = sa.text("persons = 0")
    op.create_index("ix_study_person_none", "study_person", ["level"], postgresql_where=none)
    op.add_column("figure_cursor", sa.Column("revision", sa.BigInteger(), server_default="0", nullable=False))
    for level, (facility, modality) in enumerate(_LEVELS, 1):
        op.execute(_FILL.format(level=level, facility=facility, modality=modality))


def downgrade() -> None:
    op.drop_column("figure_cursor", "revision")
    op.drop_table("study_person")
