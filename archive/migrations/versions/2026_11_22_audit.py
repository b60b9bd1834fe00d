"""The audit trail

Revision: 2026_11_22_audit, after 2026_11_22_sharing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_audit"
down_revision = "2026_11_22_sharing"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_NONE = sa.text("0")
_TABLES = ("audit_segment", "audit_record", "audit_anchor")

# Records are only added, and only to a segment that is open. They go with their whole segment, when its time is over;
# less than a year is never over, whatever the settings are.
_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'audit_record' AND TG_OP = 'DELETE' THEN
        PERFORM FROM audit_segment WHERE id = OLD.segment_id AND expired_at IS NOT NULL;
        IF FOUND THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$
"""
_ADD_RECORD = """
CREATE FUNCTION audit_add_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN audit_segment ON audit_segment.id = added.segment_id WHERE closed_at IS NOT NULL)
    THEN
        RAISE EXCEPTION 'the segment of the audit trail is closed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$
"""
_CHANGE_SEGMENT = """
CREATE FUNCTION audit_change_segment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.keeping, OLD.writer, OLD.opened_at)
       IS DISTINCT FROM (NEW.id, NEW.keeping, NEW.writer, NEW.opened_at)
       OR (OLD.closed_at IS NOT NULL AND (OLD.closed_at, OLD.last_at, OLD.records, OLD.head)
           IS DISTINCT FROM (NEW.closed_at, NEW.last_at, NEW.records, NEW.head))
       OR (OLD.expired_at IS NOT NULL AND OLD.expired_at IS DISTINCT FROM NEW.expired_at)
       OR NEW.sent < OLD.sent
    THEN
        RAISE EXCEPTION 'a segment of the audit trail cannot be changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.expired_at IS NOT NULL AND OLD.expired_at IS NULL AND
       (NEW.closed_at IS NULL OR NEW.anchored > -1 OR NEW.last_at > now() - interval '365 days')
    THEN
        RAISE EXCEPTION 'the audit trail is kept for a year at least' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""
_CHANGE_ANCHOR = """
CREATE FUNCTION audit_change_anchor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.number, OLD.made_at, OLD.body, OLD.digest, OLD.signature)
       IS DISTINCT FROM (NEW.number, NEW.made_at, NEW.body, NEW.digest, NEW.signature)
    THEN
        RAISE EXCEPTION 'an anchor of the audit trail cannot be changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""
_FUNCTIONS = ("audit_refuse", "audit_add_record", "audit_change_segment", "audit_change_anchor")
_TRIGGERS = (
    ("audit_record", "refuse_change", "BEFORE UPDATE OR DELETE ON audit_record FOR EACH ROW", "audit_refuse"),
    (
        "audit_record",
        "refuse_late",
        "AFTER INSERT ON audit_record REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "audit_add_record",
    ),
    ("audit_segment", "refuse_change", "BEFORE UPDATE ON audit_segment FOR EACH ROW", "audit_change_segment"),
    ("audit_segment", "refuse_delete", "BEFORE DELETE ON audit_segment FOR EACH ROW", "audit_refuse"),
    ("audit_anchor", "refuse_change", "BEFORE UPDATE ON audit_anchor FOR EACH ROW", "audit_change_anchor"),
    ("audit_anchor", "refuse_delete", "BEFORE DELETE ON audit_anchor FOR EACH ROW", "audit_refuse"),
    *(
        (table, "refuse_truncate", f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT", "audit_refuse")
        for table in _TABLES
    ),
)


def upgrade() -> None:
    _segments()
    _records()
    op.create_table(
        "audit_anchor",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("made_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("body", _TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("copied", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_anchor")),
    )
    op.create_table(
        "audit_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("horizon", sa.BigInteger(), nullable=False),
        sa.Column("holders", postgresql.ARRAY(_TEXT), server_default="{}", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_cursor")),
    )
    for function in (_REFUSE, _ADD_RECORD, _CHANGE_SEGMENT, _CHANGE_ANCHOR):
        op.execute(function)
    for table, name, when, function in _TRIGGERS:
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}()")
        # Also in a session that plays the part of a replica.
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    for table in _TABLES:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM PUBLIC")


def _segments() -> None:
    op.create_table(
        "audit_segment",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("keeping", _TEXT, nullable=False),
        sa.Column("writer", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("last_at", _TIME, nullable=True),
        sa.Column("records", sa.BigInteger(), nullable=True),
        sa.Column("head", sa.LargeBinary(), nullable=True),
        sa.Column("expired_at", _TIME, nullable=True),
        sa.Column("anchored", sa.BigInteger(), server_default=_NONE, nullable=False),
        sa.Column("sent", sa.BigInteger(), server_default=_NONE, nullable=False),
        sa.CheckConstraint("keeping IN ('access', 'security')", name=op.f("ck_audit_segment_keeping")),
        sa.CheckConstraint(
            "num_nonnulls(closed_at, last_at, records, head) IN (0, 4)", name=op.f("ck_audit_segment_closed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_segment")),
    )
    op.create_index("ix_audit_segment_open", "audit_segment", ["writer"], postgresql_where=sa.text("closed_at IS NULL"))
    op.create_index(
        "ix_audit_segment_unsent",
        "audit_segment",
        ["id"],
        postgresql_where=sa.text("closed_at IS NULL OR sent < records"),
    )


def _records() -> None:
    op.create_table(
        "audit_record",
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("action", "outcome", "kind", "name")),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("address", _TEXT, nullable=False),
        *(sa.Column(name, postgresql.ARRAY(_TEXT), nullable=False) for name in ("home", "studies", "owners")),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("patient_id", "issuer_of_patient_id", "purpose")),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["audit_segment.id"], name=op.f("fk_audit_record_segment_id")),
        sa.PrimaryKeyConstraint("segment_id", "sequence", name=op.f("pk_audit_record")),
    )
    op.create_index(op.f("ix_audit_record_recorded_at"), "audit_record", ["recorded_at"])
    op.create_index(op.f("ix_audit_record_studies"), "audit_record", ["studies"], postgresql_using="gin")
    op.create_index(
        op.f("ix_audit_record_patient_id_recorded_at"),
        "audit_record",
        ["patient_id", "recorded_at"],
        postgresql_where=sa.text("patient_id <> ''"),
    )
    op.create_index(op.f("ix_audit_record_name_recorded_at"), "audit_record", ["name", "recorded_at"])


def downgrade() -> None:
    for table in ("audit_cursor", "audit_anchor", "audit_record", "audit_segment"):
        op.drop_table(table)
    for function in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}()")
