"""Modality worklist and performed procedure steps

Revision: 2026_11_22_worklist, after 2026_11_22_index
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_worklist"
down_revision = "2026_11_22_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "performed_step",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), nullable=False),
        sa.Column("performed_procedure_step_id", sa.Text(collation="C"), nullable=False),
        sa.Column("modality", sa.Text(collation="C"), nullable=False),
        sa.Column("station_ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=True),
        sa.Column("start_time", sa.Time(), nullable=True),
        sa.Column("patient_id", sa.Text(collation="C"), nullable=False),
        sa.Column("accession_number", sa.Text(collation="C"), nullable=False),
        sa.Column("study_instance_uids", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calling_ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')", name=op.f("ck_performed_step_state")
        ),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_performed_step_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_performed_step")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_performed_step_sop_instance_uid")),
    )
    op.create_index(op.f("ix_performed_step_accession_number"), "performed_step", ["accession_number"], unique=False)
    op.create_index(
        op.f("ix_performed_step_facility_id_start_date"), "performed_step", ["facility_id", "start_date"], unique=False
    )
    op.create_index(
        "ix_performed_step_studies", "performed_step", ["study_instance_uids"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "worklist_item",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("accession_number", sa.Text(collation="C"), nullable=False),
        sa.Column("requested_procedure_id", sa.Text(collation="C"), nullable=False),
        sa.Column("scheduled_procedure_step_id", sa.Text(collation="C"), nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("patient_id", sa.Text(collation="C"), nullable=False),
        sa.Column("issuer", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("name_fold", sa.Text(collation="C"), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(collation="C"), nullable=False),
        sa.Column("modality", sa.Text(collation="C"), nullable=False),
        sa.Column("station_ae_titles", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("start_time", sa.Time(), nullable=False),
        sa.Column("status", sa.Text(collation="C"), nullable=False),
        sa.Column("closed_by", sa.Text(collation="C"), nullable=True),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED', 'COMPLETED', 'DISCONTINUED', 'CANCELLED')",
            name=op.f("ck_worklist_item_status"),
        ),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_worklist_item_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worklist_item")),
        sa.UniqueConstraint(
            "facility_id",
            "accession_number",
            "requested_procedure_id",
            "scheduled_procedure_step_id",
            name="uq_worklist_item_order",
        ),
    )
    op.create_index(op.f("ix_worklist_item_accession_number"), "worklist_item", ["accession_number"], unique=False)
    op.create_index(
        op.f("ix_worklist_item_facility_id_start_date_start_time"),
        "worklist_item",
        ["facility_id", "start_date", "start_time"],
        unique=False,
    )
    op.create_index(
        "ix_worklist_item_open",
        "worklist_item",
        ["start_date"],
        unique=False,
        postgresql_where=sa.text("status IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED')"),
    )
    op.create_index(op.f("ix_worklist_item_patient_id"), "worklist_item", ["patient_id"], unique=False)
    op.create_index(
        op.f("ix_worklist_item_start_date_start_time"), "worklist_item", ["start_date", "start_time"], unique=False
    )
    op.create_index(op.f("ix_worklist_item_study_instance_uid"), "worklist_item", ["study_instance_uid"], unique=False)
    op.create_table(
        "performed_series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("step_id", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_instance_uids", postgresql.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.ForeignKeyConstraint(
            ["step_id"], ["performed_step.id"], name=op.f("fk_performed_series_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_performed_series")),
        sa.UniqueConstraint(
            "step_id", "series_instance_uid", name=op.f("uq_performed_series_step_id_series_instance_uid")
        ),
    )
    op.create_index(
        op.f("ix_performed_series_series_instance_uid"), "performed_series", ["series_instance_uid"], unique=False
    )
    op.create_table(
        "performed_step_change",
        sa.Column("step_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["step_id"], ["performed_step.id"], name=op.f("fk_performed_step_change_step_id")),
        sa.PrimaryKeyConstraint("step_id", "version", name=op.f("pk_performed_step_change")),
    )
    op.create_table(
        "performed_step_item",
        sa.Column("step_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["worklist_item.id"], name=op.f("fk_performed_step_item_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["step_id"], ["performed_step.id"], name=op.f("fk_performed_step_item_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("step_id", "item_id", name=op.f("pk_performed_step_item")),
    )
    op.create_index(op.f("ix_performed_step_item_item_id"), "performed_step_item", ["item_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_performed_step_item_item_id"), table_name="performed_step_item")
    op.drop_table("performed_step_item")
    op.drop_table("performed_step_change")
    op.drop_index(op.f("ix_performed_series_series_instance_uid"), table_name="performed_series")
    op.drop_table("performed_series")
    op.drop_index(op.f("ix_worklist_item_study_instance_uid"), table_name="worklist_item")
    op.drop_index(op.f("ix_worklist_item_start_date_start_time"), table_name="worklist_item")
    op.drop_index(op.f("ix_worklist_item_patient_id"), table_name="worklist_item")
    op.drop_index(
        "ix_worklist_item_open",
        table_name="worklist_item",
        postgresql_where=sa.text("status IN ('SCHEDULED', 'ARRIVED', 'READY', 'STARTED')"),
    )
    op.drop_index(op.f("ix_worklist_item_facility_id_start_date_start_time"), table_name="worklist_item")
    op.drop_index(op.f("ix_worklist_item_accession_number"), table_name="worklist_item")
    op.drop_table("worklist_item")
    op.drop_index("ix_performed_step_studies", table_name="performed_step", postgresql_using="gin")
    op.drop_index(op.f("ix_performed_step_facility_id_start_date"), table_name="performed_step")
    op.drop_index(op.f("ix_performed_step_accession_number"), table_name="performed_step")
    op.drop_table("performed_step")
