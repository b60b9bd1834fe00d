"""Index of patients, studies, series, instances and objects

Revision: 2026_11_22_index, after
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_index"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "facility",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facility")),
        sa.UniqueConstraint("code", name=op.f("uq_facility_code")),
    )
    op.create_table(
        "key_block",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("writer", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="open", nullable=False),
        sa.Column(
            "reserved_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("state IN ('open', 'settling')", name=op.f("ck_key_block_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_block")),
        sa.UniqueConstraint("prefix", name=op.f("uq_key_block_prefix")),
    )
    op.create_table(
        "patient",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("issuer", sa.Text(collation="C"), nullable=False),
        sa.Column("identity", sa.Text(collation="C"), nullable=False),
        sa.Column("patient_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("name_fold", sa.Text(collation="C"), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(collation="C"), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient")),
        sa.UniqueConstraint("issuer", "identity", name=op.f("uq_patient_issuer_identity")),
    )
    op.create_index(op.f("ix_patient_name_fold_id"), "patient", ["name_fold", "id"], unique=False)
    op.create_index(
        "ix_patient_name_words",
        "patient",
        [sa.literal_column("array_to_tsvector(array_remove(string_to_array(replace(name_fold, '=', ' '), ' '), ''))")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index(op.f("ix_patient_patient_id_id"), "patient", ["patient_id", "id"], unique=False)
    op.create_table(
        "study",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("study_time", sa.Time(), nullable=True),
        sa.Column("accession_number", sa.Text(collation="C"), nullable=False),
        sa.Column("study_id", sa.Text(collation="C"), nullable=False),
        sa.Column("study_description", sa.Text(collation="C"), nullable=False),
        sa.Column("referring_physician_fold", sa.Text(collation="C"), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("modalities_in_study", postgresql.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False),
        sa.Column(
            "sop_classes_in_study", postgresql.ARRAY(sa.Text(collation="C")), server_default="{}", nullable=False
        ),
        sa.Column("series_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("instance_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("byte_count", sa.BigInteger(), server_default="0", nullable=False),
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
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_study_facility_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_study_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_study_study_instance_uid")),
    )
    op.create_index(op.f("ix_study_accession_number_id"), "study", ["accession_number", "id"], unique=False)
    op.create_index(op.f("ix_study_facility_id_study_date"), "study", ["facility_id", "study_date"], unique=False)
    op.create_index(
        "ix_study_newest",
        "study",
        [
            sa.literal_column("study_date DESC NULLS LAST"),
            sa.literal_column("study_time DESC NULLS LAST"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
    )
    op.create_index(op.f("ix_study_patient_id"), "study", ["patient_id"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("modality", sa.Text(collation="C"), nullable=False),
        sa.Column("series_number", sa.BigInteger(), nullable=True),
        sa.Column("series_description", sa.Text(collation="C"), nullable=False),
        sa.Column("body_part_examined", sa.Text(collation="C"), nullable=False),
        sa.Column("performed_date", sa.Date(), nullable=True),
        sa.Column("performed_time", sa.Time(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("instance_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_series_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("study_id", "series_instance_uid", name=op.f("uq_series_study_id_series_instance_uid")),
    )
    op.create_index(op.f("ix_series_series_instance_uid"), "series", ["series_instance_uid"], unique=False)
    op.create_table(
        "instance",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.Column("bits_allocated", sa.Integer(), nullable=True),
        sa.Column("number_of_frames", sa.Integer(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_instance_series_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("series_id", "sop_instance_uid", name=op.f("uq_instance_series_id_sop_instance_uid")),
    )
    op.create_index(op.f("ix_instance_sop_instance_uid"), "instance", ["sop_instance_uid"], unique=False)
    op.create_table(
        "stored_object",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(collation="C"), server_default="available", nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("dataset_offset", sa.Integer(), nullable=False),
        sa.Column("header_length", sa.BigInteger(), nullable=False),
        sa.Column("trailer_offset", sa.BigInteger(), nullable=True),
        sa.Column("frame_table", sa.LargeBinary(), nullable=True),
        sa.Column("default_character_set", sa.Text(collation="C"), nullable=True),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("transport", sa.Text(collation="C"), nullable=False),
        sa.Column("calling_ae_title", sa.Text(collation="C"), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("warnings", postgresql.ARRAY(sa.Text(collation="C")), nullable=True),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('available', 'missing', 'corrupt')", name=op.f("ck_stored_object_state")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_stored_object_facility_id")),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_stored_object_instance_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_object")),
        sa.UniqueConstraint("instance_id", "version", name=op.f("uq_stored_object_instance_id_version")),
        sa.UniqueConstraint("key", name=op.f("uq_stored_object_key")),
    )
    op.create_index(
        "uq_stored_object_current", "stored_object", ["instance_id"], unique=True, postgresql_where=sa.text("current")
    )


def downgrade() -> None:
    op.drop_index("uq_stored_object_current", table_name="stored_object", postgresql_where=sa.text("current"))
    op.drop_table("stored_object")
    op.drop_index(op.f("ix_instance_sop_instance_uid"), table_name="instance")
    op.drop_table("instance")
    op.drop_index(op.f("ix_series_series_instance_uid"), table_name="series")
    op.drop_table("series")
    op.drop_index(op.f("ix_study_patient_id"), table_name="study")
    op.drop_index("ix_study_newest", table_name="study")
    op.drop_index(op.f("ix_study_facility_id_study_date"), table_name="study")
    op.drop_index(op.f("ix_study_accession_number_id"), table_name="study")
    op.drop_table("study")
    op.drop_index(op.f("ix_patient_patient_id_id"), table_name="patient")
    op.drop_index(op.f("ix_patient_name_fold_id"), table_name="patient")
    op.drop_table("patient")
    op.drop_table("key_block")
    op.drop_table("facility")
