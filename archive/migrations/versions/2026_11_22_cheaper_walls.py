"""Row security of patients and series that is answered from one index, and the same rows as before

Revision: 2026_11_22_cheaper_walls, after 2026_11_22_persons
"""

# ruff: noqa: S608 - the texts are all of this file
from __future__ import annotations

from typing import Any

from alembic import op

revision = "2026_11_22_cheaper_walls"
down_revision = "2026_11_22_persons"
branch_labels = None
depends_on = None

_FACILITIES = "((SELECT nullif(current_setting('pacs.facilities', true), '')::bigint[])::bigint[])"
_ACCOUNT = "(SELECT nullif(current_setting('pacs.account', true), '')::bigint)"
_LINK = "(SELECT nullif(current_setting('pacs.link', true), '')::bigint)"
_OWN = f"facility_id = ANY {_FACILITIES}"
_HELD = f"""
((SELECT coalesce(current_setting('pacs.copying', true), '')) <> 'on' OR held.may_copy)
 AND (held.facility_id = ANY {_FACILITIES} OR held.account_id = {_ACCOUNT} OR held.link_id = {_LINK})
"""
# What stands above or below a row is looked up by views, which have the rights of their owner: to ask the policy of
# `study` for each patient and each series took longer than the rest of a search.
_VIEWS = {
    "access_patient": "SELECT patient_id, facility_id FROM study",
    "access_held_patient": "SELECT study.patient_id, held.facility_id, held.account_id, held.link_id, held.may_copy "
    "FROM access_held AS held JOIN study ON study.id = held.study_id",
}
_POLICIES = {
    "patient": f"""
EXISTS (SELECT FROM access_patient AS below WHERE below.patient_id = patient.id AND below.{_OWN})
 OR EXISTS (SELECT FROM access_held_patient AS held WHERE held.patient_id = patient.id AND {_HELD})
""",
    "series": f"""
EXISTS (SELECT FROM access_study AS above WHERE above.id = series.study_id AND (above.{_OWN}
        OR EXISTS (SELECT FROM access_held AS held WHERE held.study_id = above.id AND {_HELD})))
""",
}
_INDEX = "ix_study_facility_id_patient_id"


def upgrade() -> None:
    op.create_index(op.f(_INDEX), "study", ["facility_id", "patient_id"])
    for view, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {view} AS {query}")
        op.execute(f"GRANT SELECT ON {view} TO pacs_reader")
    _put_up(_POLICIES)


def downgrade() -> None:
    _put_up({table: _before()._POLICIES[table] for table in _POLICIES})
    for view in reversed(_VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.drop_index(op.f(_INDEX), "study")


def _put_up(policies: dict[str, str]) -> None:
    for table, rows in policies.items():
        op.execute(f"ALTER POLICY seen ON {table} USING ({rows})")


def _before() -> Any:
    """The walls as they were."""
    script = op.get_context().script
    assert script is not None
    revision = script.get_revision("2026_11_22_wider_walls")
    assert revision is not None
    return revision.module
