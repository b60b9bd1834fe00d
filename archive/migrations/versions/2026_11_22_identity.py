"""Persons

Revision: 2026_11_22_identity, after 2026_11_22_phone_codes
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_identity"
down_revision = "2026_11_22_phone_codes"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", _TEXT, server_default="known", nullable=False),
        sa.Column("citizen_id", _TEXT, server_default="", nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("name_fold", _TEXT, nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", _TEXT, server_default="", nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind IN ('known', 'newborn', 'unknown')", name=op.f("ck_person_kind")),
        sa.ForeignKeyConstraint(["merged_into"], ["person.id"], name=op.f("fk_person_merged_into")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
    )
    op.create_index(
        "uq_person_citizen_id", "person", ["citizen_id"], unique=True, postgresql_where=sa.text("citizen_id <> ''")
    )
    op.create_index(op.f("ix_person_name_fold_id"), "person", ["name_fold", "id"])
    op.create_table(
        "patient_person",
        sa.Column("patient_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("how", _TEXT, nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("linked_by", _TEXT, server_default="", nullable=False),
        sa.Column("linked_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "how IN ('identifier', 'own', 'review', 'hl7', 'manual')", name=op.f("ck_patient_person_how")
        ),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_patient_person_patient_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_patient_person_person_id")),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_patient_person")),
    )
    op.create_index(op.f("ix_patient_person_person_id"), "patient_person", ["person_id"])


def downgrade() -> None:
    op.drop_table("patient_person")
    op.drop_table("person")
