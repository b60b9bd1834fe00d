"""Whose a study is, and what happens when that is in doubt.

A study belongs to the facility whose object came first under its Study Instance UID. Whoever knows a UID that somebody
else is going to use could send an object under it first; then what the other sends would land in a study that is not
theirs. Objects cannot be refused for that: hospitals send on what they got from others, and reports on what they were
referred. So whenever objects of a facility come into the study of another, both are told by a notice, once, and it is
on record (`tell_of_strangers`, which `archive.sharing.care` calls); and the administrator of the province gives the
study to whose it is.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, text

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import fetch, in_transaction
from archive.errors import InvalidItem, NotFound, NotPermitted
from archive.feed import sql as feed
from archive.index_session import Connection
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from config.peers import UNKNOWN_FACILITY

LONGEST_REASON: Final = 1024
_RULE: Final = Caller(Kind.SYSTEM, "ownership")
_STRANGERS: Final = """
WITH new AS (
    SELECT DISTINCT study.id AS study_id, study.facility_id AS owner, stored_object.facility_id AS sender
      FROM stored_object JOIN instance ON instance.id = stored_object.instance_id
      JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
     WHERE stored_object.id > %(position)s AND stored_object.id <= %(last)s AND study.quarantine = ''
       AND stored_object.facility_id <> study.facility_id
), told AS (
    INSERT INTO access_notice (kind, facility_id, to_facility_id, patient_id, study_id)
    SELECT 'stranger', facility.id, other, study.patient_id, study.id
      FROM new JOIN study ON study.id = new.study_id
      CROSS JOIN LATERAL (VALUES (owner, sender), (sender, owner)) AS each (facility, other)
      JOIN facility ON facility.id = each.facility AND facility.code <> %(nobody)s
    ON CONFLICT DO NOTHING RETURNING study_id
)
SELECT study.study_instance_uid AS study, owner.code AS owner, sender.code AS sender
  FROM new JOIN study ON study.id = new.study_id
  JOIN facility AS owner ON owner.id = new.owner JOIN facility AS sender ON sender.id = new.sender
 WHERE study.id IN (SELECT study_id FROM told) ORDER BY study.id, sender.code
"""
_OWNED: Final = text("""
SELECT study.id, facility.code, patient.patient_id, patient.issuer
  FROM study JOIN facility ON facility.id = study.facility_id JOIN patient ON patient.id = study.patient_id
 WHERE study_instance_uid = :study AND quarantine = ''
""")
_GIVE: Final = text("""
UPDATE study SET facility_id = (SELECT id FROM facility WHERE code = :facility), updated_at = clock_timestamp()
 WHERE id = :study AND facility_id = (SELECT id FROM facility WHERE code = :before) RETURNING id
""")
# Who let others see it was not whose it is. Who treats the patient, and who broke glass, had reasons of their own.
_END_GRANTS: Final = text("""
UPDATE access_grant SET withdrawn_at = now()
 WHERE study_id = :study AND withdrawn_at IS NULL AND kind IN ('referral', 'consultation', 'link')
""")
# Its new owner's followers have never heard of it.
_TELL: Final = text(f"""
{feed.NOTE}
SELECT 'corrected', instance.id, stored_object.id, NULL, NULL
  FROM series JOIN instance ON instance.series_id = series.id
  JOIN stored_object ON stored_object.instance_id = instance.id AND stored_object.current
 WHERE series.study_id = :study AND {feed.IF_FOLLOWED}
""")  # noqa: S608


def tell_of_strangers(connection: Connection, trail: Trail, position: int, last: int) -> int:
    """Tell both facilities of objects between these rows that came into a study of another; how many studies.

    For a transaction; what is recorded twice after a crash is the same. Raises `IndexUnavailable`.
    """
    given = {"position": position, "last": last, "nobody": UNKNOWN_FACILITY.code}
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        found = cursor.execute(_STRANGERS, given).fetchall()
    trail.record_all([_event(row) for row in found])
    return len(found)


def _event(row: Any) -> AuditEvent:
    told = {"what": "objects of another facility came into the study", "owner": row.owner, "sender": row.sender}
    return AuditEvent(Action.STORE, _RULE, studies=(row.study,), detail=told)


class Ownership:
    """Gives studies to whose they are."""

    def __init__(self, engine: Engine, trail: Trail, facilities: frozenset[str]) -> None:
        self._engine = engine
        self._trail = trail
        self._facilities = facilities

    def give(self, caller: Caller, study: str, facility: str, reason: str) -> str:
        """Make a study another facility's; the code of the one that had it. Nothing that it shared holds any more.

        Only for whoever looks after what the whole province shares. Raises `NotPermitted`, `NotFound`, `InvalidItem`,
        `IndexUnavailable`.
        """
        if not caller.may_everywhere(Right.GRANTS):
            raise NotPermitted("to say whose a study is takes the right to its grants for the whole province")
        if facility not in self._facilities or facility == UNKNOWN_FACILITY.code:
            raise InvalidItem.of({"facility": "is not a facility of this archive"})
        if not reason.strip() or len(reason) > LONGEST_REASON:
            raise InvalidItem.of({"reason": f"is needed, with at most {LONGEST_REASON} characters"})
        rows = fetch(self._engine, _OWNED, {"study": study})
        if not rows:
            raise NotFound("no such study")
        found = rows[0]
        if found.code == facility:
            raise InvalidItem.of({"facility": "has this study already"})
        self._trail.record(
            AuditEvent(
                Action.SHARE,
                caller,
                studies=(study,),
                patient_id=found.patient_id,
                issuer_of_patient_id=found.issuer,
                purpose=reason.strip(),
                detail={"way": "ownership", "from": found.code, "to": facility},
            )
        )
        given = {"study": found.id, "facility": facility, "before": found.code}

        def work(connection: Any) -> None:
            # After a lost connection it may have been done already: then nothing is left to do.
            if connection.execute(_GIVE, given).first() is not None:
                connection.execute(_END_GRANTS, given)
                connection.execute(_TELL, given)

        in_transaction(self._engine, work)
        return str(found.code)
