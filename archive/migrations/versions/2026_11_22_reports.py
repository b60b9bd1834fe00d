"""Reports

Revision: 2026_11_22_reports, after 2026_11_22_identity
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_reports"
down_revision = "2026_11_22_identity"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_TABLES = ("report_author", "report_object", "report_event", "report_version", "report")

# What was given out stays as it is, whoever writes.
_REFUSE = """
CREATE FUNCTION report_version_is_given_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND NOT EXISTS (SELECT FROM report_version WHERE status <> 'draft') THEN
        RETURN NULL;
    END IF;
    RAISE integrity_constraint_violation USING MESSAGE = 'a version of a report that was given out is never changed';
END $$
"""
_TRIGGERS = (
    "CREATE TRIGGER given_out BEFORE UPDATE OR DELETE ON report_version FOR EACH ROW WHEN (OLD.status <> 'draft') "
    "EXECUTE FUNCTION report_version_is_given_out()",
    "CREATE TRIGGER given_out_all BEFORE TRUNCATE ON report_version EXECUTE FUNCTION report_version_is_given_out()",
)

# Row security, as for studies (revision row_security). Who reads a draft: the facility that writes it.
_OWN = "facility_id = ANY ((SELECT nullif(current_setting('pacs.facilities', true), '')::bigint[])::bigint[])"
_POLICIES = {
    "report": f"EXISTS (SELECT FROM study WHERE study.id = report.study_id) AND (status <> 'draft' OR {_OWN})",
    "report_version": "EXISTS (SELECT FROM report WHERE report.id = report_version.report_id "
    f"AND (report_version.status <> 'draft' OR report.{_OWN}))",
}


def upgrade() -> None:
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("number", _TEXT, nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("status", _TEXT, server_default="draft", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("ticket", _TEXT, server_default="", nullable=False),
        sa.Column("source", _TEXT, server_default="page", nullable=False),
        sa.Column("external", _TEXT, nullable=True),
        sa.Column("final_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'cancelled')", name=op.f("ck_report_status")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_study_id")),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_report_facility_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("number", name=op.f("uq_report_number")),
    )
    op.create_index(op.f("ix_report_study_id"), "report", ["study_id"])
    op.create_index(op.f("ix_report_facility_id_updated_at"), "report", ["facility_id", "updated_at"])
    op.create_index(op.f("ix_report_final_at"), "report", ["final_at"])
    op.create_index(
        "uq_report_external",
        "report",
        ["facility_id", "external"],
        unique=True,
        postgresql_where=sa.text("external IS NOT NULL"),
    )
    _versions()
    _followed()
    op.execute(_REFUSE)
    for trigger in _TRIGGERS:
        op.execute(trigger)
    for name in ("given_out", "given_out_all"):
        op.execute(f"ALTER TABLE report_version ENABLE ALWAYS TRIGGER {name}")
    # Whether a study is shared to be reported on.
    op.execute("GRANT SELECT (kind) ON access_grant TO pacs_reader")
    for table, rows in _POLICIES.items():
        op.execute(f"GRANT SELECT ON {table} TO pacs_reader")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY seen ON {table} FOR SELECT TO pacs_reader USING ({rows})")


def _versions() -> None:
    op.create_table(
        "report_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("template", _TEXT, server_default="", nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("conclusion", _TEXT, nullable=False),
        sa.Column("recommendation", _TEXT, server_default="", nullable=False),
        sa.Column("addenda", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("author_name", _TEXT, nullable=False),
        sa.Column("author_licence", _TEXT, server_default="", nullable=False),
        sa.Column("reason", _TEXT, server_default="", nullable=False),
        sa.Column("subject", postgresql.JSONB(), nullable=True),
        sa.Column("issued_at", _TIME, nullable=True),
        sa.Column("signed_at", _TIME, nullable=True),
        sa.Column("signed_by", _TEXT, server_default="", nullable=False),
        sa.Column("signature", postgresql.JSONB(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'preliminary', 'final', 'amended', 'addendum', 'cancelled')",
            name=op.f("ck_report_version_status"),
        ),
        sa.CheckConstraint("(signed_at IS NULL) = (signed_by = '')", name=op.f("ck_report_version_signed")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_version_report_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_version")),
        sa.UniqueConstraint("report_id", "number", name=op.f("uq_report_version_report_id_number")),
    )
    op.create_index(
        "uq_report_version_draft",
        "report_version",
        ["report_id"],
        unique=True,
        postgresql_where=sa.text("status = 'draft'"),
    )


def _followed() -> None:
    op.create_table(
        "report_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "kind IN ('preliminary', 'final', 'amended', 'addendum', 'cancelled')", name=op.f("ck_report_event_kind")
        ),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_event_report_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_event")),
    )
    op.create_table(
        "report_object",
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", _TEXT, server_default="waiting", nullable=False),
        sa.Column("due_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("done_at", _TIME, nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'done')", name=op.f("ck_report_object_state")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_object_report_id")),
        sa.PrimaryKeyConstraint("report_id", "version", name=op.f("pk_report_object")),
    )
    op.create_index("ix_report_object_due", "report_object", ["due_at"], postgresql_where=sa.text("state = 'waiting'"))
    op.create_table(
        "report_author",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("licence", _TEXT, nullable=False),
        sa.Column("set_by", _TEXT, nullable=False),
        sa.Column("set_at", _TIME, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_report_author_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_report_author")),
    )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION report_version_is_given_out()")
