"""Row security behind the access predicate

Revision: 2026_11_22_row_security, after 2026_11_22_grants
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_22_row_security"
down_revision = "2026_11_22_grants"
branch_labels = None
depends_on = None

_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pacs_reader') THEN
        BEGIN
            CREATE ROLE pacs_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = format(
                    'the role pacs_reader is missing: an administrator has to run '
                    '"CREATE ROLE pacs_reader NOLOGIN; GRANT pacs_reader TO %I"', current_user);
        END;
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       AND NOT pg_has_role(current_user, 'pacs_reader', 'USAGE') THEN
        EXECUTE format('GRANT pacs_reader TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO pacs_reader', current_schema());
END $$
"""
_OWN = "facility_id = ANY ((SELECT nullif(current_setting('pacs.facilities', true), '')::bigint[])::bigint[])"
_GRANTED = """
EXISTS (SELECT FROM access_grant
         WHERE access_grant.study_id = {study} AND withdrawn_at IS NULL AND expires_at > now()
           AND (may_copy OR (SELECT coalesce(current_setting('pacs.copying', true), '')) <> 'on')
           AND (access_grant.facility_id =
                    ANY ((SELECT nullif(current_setting('pacs.facilities', true), '')::bigint[])::bigint[])
                OR account_id = (SELECT nullif(current_setting('pacs.account', true), '')::bigint)
                OR link_id = (SELECT nullif(current_setting('pacs.link', true), '')::bigint)))
"""
_OF_STUDY = f"{_OWN} OR {_GRANTED.format(study='study.id')}"
# Views have the rights of their owner: what stands above a row is looked up without asking its policies once more.
_VIEWS = {
    "access_series": "SELECT series.id, study.id AS study_id, study.facility_id "
    "FROM series JOIN study ON study.id = series.study_id",
    "access_instance": "SELECT instance.id, study.id AS study_id, study.facility_id FROM instance "
    "JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id",
}


def _above(view: str, key: str) -> str:
    of_row = f"above.{_OWN} OR {_GRANTED.format(study='above.study_id')}"
    return f"EXISTS (SELECT FROM {view} AS above WHERE above.id = {key} AND ({of_row}))"


_POLICIES = {
    "patient": "EXISTS (SELECT FROM study WHERE study.patient_id = patient.id)",
    "study": _OF_STUDY,
    "series": "EXISTS (SELECT FROM study WHERE study.id = series.study_id)",
    "instance": _above("access_series", "instance.series_id"),
    "stored_object": _above("access_instance", "stored_object.instance_id"),
}


def upgrade() -> None:
    op.execute(_ROLE)
    for view, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {view} AS {query}")
        op.execute(f"GRANT SELECT ON {view} TO pacs_reader")
    op.execute("GRANT SELECT ON facility TO pacs_reader")
    columns = "study_id, facility_id, account_id, link_id, may_copy, expires_at, withdrawn_at"
    op.execute(f"GRANT SELECT ({columns}) ON access_grant TO pacs_reader")
    for table, rows in _POLICIES.items():
        op.execute(f"GRANT SELECT ON {table} TO pacs_reader")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY seen ON {table} FOR SELECT TO pacs_reader USING ({rows})")


def downgrade() -> None:
    for table in _POLICIES:
        op.execute(f"DROP POLICY seen ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"REVOKE SELECT ON {table} FROM pacs_reader")  # noqa: S608
    op.execute("REVOKE ALL ON facility, access_grant FROM pacs_reader")
    for view in _VIEWS:
        op.execute(f"DROP VIEW {view}")
