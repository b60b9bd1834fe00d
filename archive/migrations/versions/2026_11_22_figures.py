"""Figures

Revision: 2026_11_22_figures, after 2026_11_22_reports
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_22_figures"
down_revision = "2026_11_22_reports"
branch_labels = None
depends_on = None

_TEXT = sa.Text(collation="C")
_TIME = postgresql.TIMESTAMP(timezone=True)
_LOCAL = postgresql.TIMESTAMP(timezone=False)
_NOW = sa.text("clock_timestamp()")
_COUNTERS = (
    *("studies", "instances", "bytes", "reported", "tele_read", "delivered", "filmless", "duplicates_found"),
    *("data_right", "data_whole", "data_clean", "data_alive", "complete", "cross_views", "duplicates_avoided"),
)
# Changes that are rare: nothing here is on the way of an object that is stored. Without a cursor, nobody would take
# the notes out again.
_NOTE = """
CREATE FUNCTION note_figures() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO figure_dirty (what, key) SELECT DISTINCT %L, %I FROM changed
                     WHERE EXISTS (SELECT FROM figure_cursor)', TG_ARGV[0], TG_ARGV[1]);
    RETURN NULL;
END $$
"""
_NOTED = (
    ("report", "study", "study_id", ("INSERT", "UPDATE", "DELETE")),
    ("delivery", "study", "study_id", ("INSERT", "DELETE")),
    ("patient_person", "patient", "patient_id", ("INSERT", "UPDATE", "DELETE")),
    ("worklist_item", "item", "id", ("INSERT", "UPDATE")),
)


def upgrade() -> None:
    _facts()
    _sums()
    _cursors()
    _given_out()
    op.execute(_NOTE)
    for table, what, column, events in _NOTED:
        for event in events:
            op.execute(
                f"CREATE TRIGGER {table}_figures_{event.lower()} AFTER {event} ON {table} "
                f"REFERENCING {'OLD' if event == 'DELETE' else 'NEW'} TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION note_figures('{what}', '{column}')"
            )


def downgrade() -> None:
    for table, _, _, events in _NOTED:
        for event in events:
            op.execute(f"DROP TRIGGER {table}_figures_{event.lower()} ON {table}")
    op.execute("DROP FUNCTION note_figures()")
    for table in (
        *("figure_pushed", "figure_report", "figure_source", "figure_segment", "figure_dirty", "figure_cursor"),
        *("study_spread", "study_sum", "study_look", "study_fact"),
    ):
        op.drop_table(table)


def _facts() -> None:
    op.create_table(
        "study_fact",
        sa.Column("study_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_stamp", sa.BigInteger(), nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("modality", "body_part", "sex", "age_group")),
        sa.Column("studied_at", _LOCAL, nullable=False),
        sa.Column("ordered_at", _TIME, nullable=True),
        sa.Column("first_image_at", _TIME, nullable=False),
        sa.Column("last_image_at", _TIME, nullable=False),
        sa.Column("final_at", _TIME, nullable=True),
        *(
            sa.Column(name, sa.SmallInteger(), nullable=True)
            for name in ("order_to_images", "images_to_report", "order_to_report")
        ),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Boolean(), nullable=False)
            for name in (
                *("reported", "tele_read", "delivered", "filmless", "duplicate"),
                *("data_right", "data_whole", "data_clean", "data_alive"),
            )
        ),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_fact")),
    )
    included = ["facility_id", "modality", "person_id"]
    op.create_index("ix_study_fact_studied_at", "study_fact", ["studied_at"], postgresql_include=included)
    op.create_index(op.f("ix_study_fact_person_id_studied_at"), "study_fact", ["person_id", "studied_at"])
    op.create_index(op.f("ix_study_fact_patient_id"), "study_fact", ["patient_id"])
    op.create_index(op.f("ix_study_fact_facility_id_last_image_at"), "study_fact", ["facility_id", "last_image_at"])
    op.create_index(op.f("ix_study_fact_first_image_at"), "study_fact", ["first_image_at"])
    read = sa.text("final_at IS NOT NULL")
    op.create_index(op.f("ix_study_fact_final_at"), "study_fact", ["final_at"], postgresql_where=read)
    unread = sa.text("final_at IS NULL")
    op.create_index("ix_study_fact_unread", "study_fact", ["first_image_at", "facility_id"], postgresql_where=unread)
    op.create_table(
        "study_look",
        sa.Column("segment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("facility_id", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", _LOCAL, nullable=False),
        sa.Column("avoided", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", "sequence", "study_id", name=op.f("pk_study_look")),
    )
    op.create_index(op.f("ix_study_look_study_id"), "study_look", ["study_id"])
    op.create_index(op.f("ix_study_look_looked_at"), "study_look", ["looked_at"])


def _sums() -> None:
    op.create_table(
        "study_sum",
        sa.Column("cube", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("modality", "body_part", "sex", "age_group")),
        sa.Column("clock", sa.SmallInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in _COUNTERS),
        sa.CheckConstraint("cube BETWEEN 1 AND 4", name=op.f("ck_study_sum_cube")),
        sa.PrimaryKeyConstraint(
            *("cube", "day", "facility_id", "modality", "body_part", "sex", "age_group", "clock"),
            name=op.f("pk_study_sum"),
        ),
    )
    op.create_table(
        "study_spread",
        sa.Column("span", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("facility_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("modality", _TEXT, nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("studies", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("span", "day", "facility_id", "modality", "bucket", name=op.f("pk_study_spread")),
    )


def _cursors() -> None:
    op.create_table(
        "figure_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("sweep", sa.BigInteger(), nullable=True),
        sa.Column("swept_at", _TIME, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_figure_cursor_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_cursor")),
    )
    op.create_table(
        "figure_dirty",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("what", _TEXT, nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("due_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("what IN ('study', 'patient', 'item')", name=op.f("ck_figure_dirty_what")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_dirty")),
    )
    op.create_index(op.f("ix_figure_dirty_due_at_id"), "figure_dirty", ["due_at", "id"])
    op.create_table(
        "figure_segment",
        sa.Column("segment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_figure_segment")),
    )
    op.create_table(
        "figure_source",
        sa.Column("facility_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("calling_ae_title", _TEXT, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["facility_id"], ["facility.id"], name=op.f("fk_figure_source_facility_id")),
        sa.PrimaryKeyConstraint("facility_id", "calling_ae_title", name=op.f("pk_figure_source")),
    )


def _given_out() -> None:
    op.create_table(
        "figure_report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("period", _TEXT, nullable=False),
        sa.Column("begins_at", _LOCAL, nullable=False),
        sa.Column("made_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("made_by", _TEXT, nullable=False),
        sa.Column("title", _TEXT, nullable=False),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in ("xlsx", "html", "pdf")),
        sa.CheckConstraint("period IN ('month', 'quarter', 'year')", name=op.f("ck_figure_report_period")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_report")),
    )
    op.create_index(op.f("ix_figure_report_begins_at_period"), "figure_report", ["begins_at", "period"])
    op.create_table(
        "figure_pushed",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("until", _LOCAL, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", _TEXT, server_default="waiting", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", _TEXT, server_default="", nullable=False),
        sa.Column("made_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("due_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'taken', 'given_up')", name=op.f("ck_figure_pushed_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_pushed")),
        sa.UniqueConstraint("name", "until", name=op.f("uq_figure_pushed_name_until")),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("ix_figure_pushed_waiting", "figure_pushed", ["name", "due_at"], postgresql_where=waiting)
