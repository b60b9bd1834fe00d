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
_TABLES = (
    "identity_apart",
    "identity_candidate",
    "identity_claim",
    "identity_identifier",
    "identity_name",
    "identity_cursor",
    "care_due",
    "patient_person",
    "identity_record",
    "identity_event",
    "person",
)

# What was done is a trace: rows are only added.
_REFUSE = """
CREATE FUNCTION identity_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was done to persons is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$
"""
# Who may see a patient may see whose it is; nothing of those of others. All else is read by the archive alone.
_POLICIES = {
    "patient_person": "EXISTS (SELECT FROM patient WHERE patient.id = patient_person.patient_id)",
    "person": "EXISTS (SELECT FROM patient_person WHERE patient_person.person_id = person.id)",
}


def upgrade() -> None:
    _persons()
    _records()
    _of_records()
    _events()
    _decisions()
    _queues()
    op.execute(_REFUSE)
    for when in (
        "BEFORE UPDATE OR DELETE ON identity_event FOR EACH ROW",
        "BEFORE TRUNCATE ON identity_event FOR EACH STATEMENT",
    ):
        name = "refuse_truncate" if "TRUNCATE" in when else "refuse_change"
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION identity_refuse()")
        op.execute(f"ALTER TABLE identity_event ENABLE ALWAYS TRIGGER {name}")
    for table, rows in _POLICIES.items():
        op.execute(f"GRANT SELECT ON {table} TO pacs_reader")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY seen ON {table} FOR SELECT TO pacs_reader USING ({rows})")


def _persons() -> None:
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
        op.f("ix_person_citizen_id"),
        "person",
        ["citizen_id"],
        unique=False,
        postgresql_where=sa.text("citizen_id <> ''"),
    )
    op.create_index(op.f("ix_person_name_fold_id"), "person", ["name_fold", "id"], unique=False)
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
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_patient_person_patient_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_patient_person_person_id")),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_patient_person")),
    )
    op.create_index(op.f("ix_patient_person_person_id"), "patient_person", ["person_id"], unique=False)


def _records() -> None:
    op.create_table(
        "identity_record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("issuer", _TEXT, nullable=False),
        sa.Column("identity", _TEXT, nullable=False),
        sa.Column("number", _TEXT, nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=True),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("how", _TEXT, server_default="own", nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("linked_by", _TEXT, server_default="", nullable=False),
        sa.Column("linked_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("name", _TEXT, server_default="", nullable=False),
        sa.Column("name_fold", _TEXT, server_default="", nullable=False),
        sa.Column("name_key", _TEXT, server_default="", nullable=False),
        sa.Column("given", _TEXT, server_default="", nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("sex", _TEXT, server_default="", nullable=False),
        sa.Column("phone", _TEXT, server_default="", nullable=False),
        sa.Column("seen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "how IN ('identifier', 'own', 'review', 'hl7', 'manual')", name=op.f("ck_identity_record_how")
        ),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_identity_record_patient_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_identity_record_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_record")),
        sa.UniqueConstraint("issuer", "identity", name=op.f("uq_identity_record_issuer_identity")),
    )
    op.create_index(
        op.f("ix_identity_record_birth_date_given"),
        "identity_record",
        ["birth_date", "given"],
        unique=False,
        postgresql_where=sa.text("name_key <> ''"),
    )
    op.create_index("ix_identity_record_due", "identity_record", ["id"], unique=False, postgresql_where=sa.text("due"))
    op.create_index(
        op.f("ix_identity_record_name_key_birth_year"),
        "identity_record",
        ["name_key", "birth_year"],
        unique=False,
        postgresql_where=sa.text("name_key <> ''"),
    )
    op.create_index(
        op.f("ix_identity_record_patient_id"),
        "identity_record",
        ["patient_id"],
        unique=True,
        postgresql_where=sa.text("patient_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_identity_record_person_id"), "identity_record", ["person_id"], unique=False)
    op.create_index(
        op.f("ix_identity_record_phone"),
        "identity_record",
        ["phone"],
        unique=False,
        postgresql_where=sa.text("phone <> ''"),
    )


def _of_records() -> None:
    op.create_table(
        "identity_identifier",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("issuer", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=False),
        sa.Column("text", _TEXT, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["record_id"], ["identity_record.id"], name=op.f("fk_identity_identifier_record_id")),
        sa.PrimaryKeyConstraint("record_id", "kind", "issuer", "value", name=op.f("pk_identity_identifier")),
    )
    op.create_index(op.f("ix_identity_identifier_value_kind"), "identity_identifier", ["value", "kind"], unique=False)
    op.create_table(
        "identity_claim",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("said_by", _TEXT, nullable=False),
        sa.Column("said_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("source IN ('manual', 'hl7', 'fhir', 'worklist')", name=op.f("ck_identity_claim_source")),
        sa.ForeignKeyConstraint(["record_id"], ["identity_record.id"], name=op.f("fk_identity_claim_record_id")),
        sa.PrimaryKeyConstraint("record_id", "source", name=op.f("pk_identity_claim")),
    )
    op.create_table(
        "identity_name",
        sa.Column("name_key", _TEXT, nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name_key", name=op.f("pk_identity_name")),
    )


def _events() -> None:
    op.create_table(
        "identity_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("other_person_id", sa.BigInteger(), nullable=True),
        sa.Column("caller_kind", _TEXT, nullable=False),
        sa.Column("caller", _TEXT, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", _TEXT, server_default="", nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("undoes", sa.BigInteger(), nullable=True),
        sa.Column("ticket", _TEXT, nullable=False),
        sa.CheckConstraint(
            "action IN ('link', 'split', 'merge', 'separate', 'apart', 'move', 'temporary', 'undo')",
            name=op.f("ck_identity_event_action"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_identity_event_account_id")),
        sa.ForeignKeyConstraint(["other_person_id"], ["person.id"], name=op.f("fk_identity_event_other_person_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_identity_event_person_id")),
        sa.ForeignKeyConstraint(["undoes"], ["identity_event.id"], name=op.f("fk_identity_event_undoes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_event")),
        sa.UniqueConstraint("ticket", name=op.f("uq_identity_event_ticket")),
    )
    op.create_index(
        op.f("ix_identity_event_other_person_id_id"),
        "identity_event",
        ["other_person_id", "id"],
        unique=False,
        postgresql_where=sa.text("other_person_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_identity_event_person_id_id"), "identity_event", ["person_id", "id"], unique=False)
    op.create_index(
        op.f("ix_identity_event_undoes"),
        "identity_event",
        ["undoes"],
        unique=True,
        postgresql_where=sa.text("undoes IS NOT NULL"),
    )


def _decisions() -> None:
    op.create_table(
        "identity_apart",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("other_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("record_id < other_id", name=op.f("ck_identity_apart_once")),
        sa.ForeignKeyConstraint(["event_id"], ["identity_event.id"], name=op.f("fk_identity_apart_event_id")),
        sa.ForeignKeyConstraint(["other_id"], ["identity_record.id"], name=op.f("fk_identity_apart_other_id")),
        sa.ForeignKeyConstraint(["record_id"], ["identity_record.id"], name=op.f("fk_identity_apart_record_id")),
        sa.PrimaryKeyConstraint("record_id", "other_id", name=op.f("pk_identity_apart")),
    )
    op.create_index(op.f("ix_identity_apart_other_id"), "identity_apart", ["other_id"], unique=False)
    op.create_table(
        "identity_candidate",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("other_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("likelihood", sa.Float(), nullable=False),
        sa.Column("conflict", sa.Boolean(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("found_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("record_id < other_id", name=op.f("ck_identity_candidate_once")),
        sa.ForeignKeyConstraint(["other_id"], ["identity_record.id"], name=op.f("fk_identity_candidate_other_id")),
        sa.ForeignKeyConstraint(["record_id"], ["identity_record.id"], name=op.f("fk_identity_candidate_record_id")),
        sa.PrimaryKeyConstraint("record_id", "other_id", name=op.f("pk_identity_candidate")),
    )
    op.create_index(
        "ix_identity_candidate_best",
        "identity_candidate",
        [sa.literal_column("conflict DESC"), sa.literal_column("likelihood DESC"), "record_id"],
        unique=False,
    )
    op.create_index(op.f("ix_identity_candidate_other_id"), "identity_candidate", ["other_id"], unique=False)


def _queues() -> None:
    op.create_table(
        "identity_cursor",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("holders", postgresql.ARRAY(_TEXT), server_default="{}", nullable=False),
        sa.Column("swept_at", _TIME, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_identity_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_cursor")),
    )
    op.create_table(
        "care_due",
        sa.Column("patient_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_care_due")),
    )


def downgrade() -> None:
    for table in _POLICIES:
        op.execute(f"DROP POLICY seen ON {table}")
    for table in _TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION identity_refuse()")
