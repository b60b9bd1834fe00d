"""Row security of everything else that callers read

Revision: 2026_11_22_wider_walls, after 2026_11_22_row_security
"""

# ruff: noqa: S608 - the texts are all of this file
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_wider_walls"
down_revision = "2026_11_22_row_security"
branch_labels = None
depends_on = None

_KINDS = "ck_access_notice_kind"
_FACILITIES = "((SELECT nullif(current_setting('pacs.facilities', true), '')::bigint[])::bigint[])"
_ACCOUNT = "(SELECT nullif(current_setting('pacs.account', true), '')::bigint)"
_LINK = "(SELECT nullif(current_setting('pacs.link', true), '')::bigint)"
_OWN = f"facility_id = ANY {_FACILITIES}"
_GRANTED = f"""
EXISTS (SELECT FROM access_held AS held
         WHERE held.study_id = {{study}}
           AND (may_copy OR (SELECT coalesce(current_setting('pacs.copying', true), '')) <> 'on')
           AND (held.facility_id = ANY {_FACILITIES} OR account_id = {_ACCOUNT} OR link_id = {_LINK}))
"""
_OF_STUDY = f"{_OWN} OR {_GRANTED.format(study='study.id')}"


def _above(view: str, key: str) -> str:
    of_row = f"above.{_OWN} OR {_GRANTED.format(study='above.study_id')}"
    return f"EXISTS (SELECT FROM {view} AS above WHERE above.id = {key} AND ({of_row}))"


_OF_GRANT = f"""
(access_grant.facility_id = ANY {_FACILITIES} OR access_grant.account_id = {_ACCOUNT} OR access_grant.link_id = {_LINK}
 OR EXISTS (SELECT FROM access_study AS above WHERE above.id = access_grant.study_id AND above.{_OWN}))
"""
_OF_SHARING = f"""
(sharing.{_OWN} OR sharing.opened_by = {_ACCOUNT}
 OR EXISTS (SELECT FROM access_member AS member WHERE member.sharing_id = sharing.id
               AND (member.{_OWN} OR member.account_id = {_ACCOUNT})))
"""
_NOBODYS = "facility_id = (SELECT id FROM facility WHERE code = 'UNKNOWN')"
# Whoever owns the tables, and works for the archive itself, sees these views whole.
_COUNTED = f"(current_user <> 'pacs_reader' OR {{table}}.{_OWN} OR {{table}}.{_NOBODYS})"
# Views have the rights of their owner: what stands above a row is looked up without asking its policies once more, and
# where a row that is seen names one that is not, a view gives of that what goes with it.
_VIEWS = {
    "access_held": "SELECT study_id, facility_id, account_id, link_id, may_copy FROM access_grant "
    "WHERE withdrawn_at IS NULL AND expires_at > now()",
    "access_series": "SELECT series.id, study.id AS study_id, study.facility_id "
    "FROM series JOIN study ON study.id = series.study_id",
    "access_instance": "SELECT instance.id, study.id AS study_id, study.facility_id FROM instance "
    "JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id",
    "access_study": "SELECT id, facility_id FROM study",
    "access_member": "SELECT sharing_id, facility_id, account_id FROM sharing_member",
    "counted_study": "SELECT study_instance_uid, facility_id, instance_count FROM study WHERE "
    + _COUNTED.format(table="study"),
    "counted_instance": "SELECT sop_instance_uid, stored_object.facility_id FROM stored_object "
    "JOIN instance ON instance.id = stored_object.instance_id WHERE " + _COUNTED.format(table="stored_object"),
    "grant_name": "SELECT access_grant.id, grantee.name AS to_account, giver.name AS granted_by FROM access_grant "
    "LEFT JOIN account AS grantee ON grantee.id = access_grant.account_id "
    "LEFT JOIN account AS giver ON giver.id = access_grant.granted_by "
    f"WHERE current_user <> 'pacs_reader' OR {_OF_GRANT}",
    "sharing_name": "SELECT member.sharing_id, account.name FROM sharing_member AS member "
    "JOIN account ON account.id = member.account_id JOIN sharing ON sharing.id = member.sharing_id "
    f"WHERE current_user <> 'pacs_reader' OR {_OF_SHARING}",
    "notice_reason": "SELECT access_notice.id, sharing.opened_by_name, sharing.purpose, sharing.expires_at, "
    "study.study_instance_uid FROM access_notice LEFT JOIN sharing ON sharing.id = access_notice.sharing_id "
    "LEFT JOIN study ON study.id = access_notice.study_id "
    f"WHERE current_user <> 'pacs_reader' OR access_notice.{_OWN}",
    "note_sender": "SELECT rejection_note.id, stored_object.calling_ae_title, stored_object.address "
    "FROM rejection_note JOIN stored_object ON stored_object.id = rejection_note.object_id "
    f"WHERE current_user <> 'pacs_reader' OR rejection_note.{_OWN}",
}
_OF_STEP = "EXISTS (SELECT FROM performed_step WHERE performed_step.id = step_id)"
_IN_SHARING = "EXISTS (SELECT FROM sharing WHERE sharing.id = sharing_id)"
_POLICIES = {
    "patient": "EXISTS (SELECT FROM study WHERE study.patient_id = patient.id)",
    "study": _OF_STUDY,
    "series": "EXISTS (SELECT FROM study WHERE study.id = series.study_id)",
    "instance": _above("access_series", "instance.series_id"),
    "stored_object": _above("access_instance", "stored_object.instance_id"),
    "worklist_item": _OWN,
    "performed_step": _OWN,
    "performed_step_item": _OF_STEP,
    "performed_series": _OF_STEP,
    "ups_workitem": f"facility = ANY (ARRAY(SELECT code FROM facility WHERE id = ANY {_FACILITIES}))",
    "change": _OWN,
    "rejection_note": _OWN,
    "rejection_reference": "EXISTS (SELECT FROM rejection_note WHERE rejection_note.id = note_id)",
    "hiding_action": "EXISTS (SELECT FROM rejection_note WHERE rejection_note.sop_instance_uid = subject)",
    "access_grant": _OF_GRANT,
    "sharing": _OF_SHARING,
    "sharing_member": _IN_SHARING,
    "sharing_study": _IN_SHARING,
    "access_notice": _OWN,
    "share_link": _OWN,
    "delivery": "EXISTS (SELECT FROM study WHERE study.id = delivery.study_id)",
}
# Secrets and their digests are nobody's to read.
_COLUMNS = {
    "ups_workitem": "id, uid, facility, state, patient_id, study_instance_uid, scheduled_start, expected_completion, "
    "modified, attributes, version, created_at, updated_at, ended_at",
    "share_link": "id, patient_id, facility_id, factor, may_copy, failures, made_by, created_at, expires_at, "
    "withdrawn_at, first_opened_at, last_opened_at, times_opened",
}


def upgrade() -> None:
    _before().downgrade()
    op.add_column("access_notice", sa.Column("study_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_access_notice_study_id"), "access_notice", "study", ["study_id"], ["id"])
    op.drop_constraint(op.f(_KINDS), "access_notice")
    op.create_check_constraint(op.f(_KINDS), "access_notice", "kind IN ('break_glass', 'care', 'stranger')")
    op.create_index(
        "uq_access_notice_stranger",
        "access_notice",
        ["study_id", "facility_id", "to_facility_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'stranger'"),
    )
    for view, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {view} AS {query}")
        op.execute(f"GRANT SELECT ON {view} TO pacs_reader")
    op.execute("GRANT SELECT ON facility TO pacs_reader")
    for table, rows in _POLICIES.items():
        columns = f"({_COLUMNS[table]})" if table in _COLUMNS else ""
        op.execute(f"GRANT SELECT {columns} ON {table} TO pacs_reader")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY seen ON {table} FOR SELECT TO pacs_reader USING ({rows})")


def downgrade() -> None:
    for table in reversed(_POLICIES):
        op.execute(f"DROP POLICY seen ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {table} FROM pacs_reader")
    op.execute("REVOKE ALL ON facility FROM pacs_reader")
    for view in reversed(_VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.execute("DELETE FROM access_notice WHERE kind = 'stranger'")
    op.drop_constraint(op.f(_KINDS), "access_notice")
    op.create_check_constraint(op.f(_KINDS), "access_notice", "kind IN ('break_glass', 'care')")
    op.drop_column("access_notice", "study_id")
    _before().upgrade()


def _before() -> Any:
    """The walls as they were: taken down, and put up again on the way back."""
    script = op.get_context().script
    assert script is not None
    revision = script.get_revision(down_revision)
    assert revision is not None
    return revision.module
