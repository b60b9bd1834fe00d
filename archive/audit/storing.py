"""Puts on record what was stored, without touching who stores.

A record before each object would make storing wait for another transaction; one after it could be lost with the
process, or make an object be refused that is safe already. So the trail follows the ids of ``stored_object``
(`archive.follow`): whatever dies when, each object that was acknowledged comes on record, at the latest a minute later,
together with what else the same sender has sent of the same study since the last look.

The cursor is moved when the records are durable: after a crash in between they are there twice, with the same ids.
"""

from __future__ import annotations

from typing import Final

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.follow import Follower, Scanned
from archive.index_session import Connection, IndexSession
from archive.people.caller import Caller, Kind

MOST_AT_ONCE: Final = 5000
_FOLLOWER: Final = Follower("audit_cursor", MOST_AT_ONCE)
_NEW: Final = """
WITH new AS (
    SELECT stored_object.id, study_instance_uid, facility.code, transport, calling_ae_title, address, user_name,
           patient.patient_id, patient.issuer, sop_class_uid
      FROM stored_object JOIN instance ON instance.id = instance_id
      JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
      JOIN patient ON patient.id = study.patient_id JOIN facility ON facility.id = stored_object.facility_id
     WHERE stored_object.id > %(position)s AND stored_object.id <= %(horizon)s
     ORDER BY stored_object.id LIMIT %(most)s
)
SELECT study_instance_uid, code, transport, calling_ae_title, address, user_name, patient_id, issuer, count(*), min(id),
       max(id), array_agg(DISTINCT sop_class_uid)
  FROM new GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY min(id)
"""


def begin(session: IndexSession) -> None:
    """Follow from now on, unless that goes on already. Raises `IndexUnavailable`."""
    session.run(_FOLLOWER.begin)


def record_stored(session: IndexSession, trail: Trail) -> Scanned:
    """Put on record what is new, up to some thousand objects. Raises `IndexUnavailable`."""

    def look(connection: Connection, position: int, horizon: int) -> tuple[int, int]:
        given = {"position": position, "horizon": horizon, "most": MOST_AT_ONCE}
        rows = connection.execute(_NEW, given).fetchall()
        # STOW-RS puts itself on record, for it knows who sends.
        trail.record_all([_event(*row) for row in rows if row[2] != "stow"])
        return sum(row[8] for row in rows), max((row[10] for row in rows), default=position)

    def work(connection: Connection) -> Scanned:
        with connection.transaction():
            return _FOLLOWER.step(connection, lambda position, horizon: look(connection, position, horizon))

    return session.run(work)


def _event(
    study: str,
    facility: str,
    transport: str,
    title: str,
    address: str,
    user: str,
    patient: str,
    issuer: str,
    count: int,
    first: int,
    last: int,
    classes: list[str],
) -> AuditEvent:
    name = user or title or f"({transport})"
    return AuditEvent(
        Action.STORE,
        Caller(Kind.PEER, name, address=address, home=frozenset({facility})),
        studies=(study,),
        patient_id=patient,
        issuer_of_patient_id=issuer,
        detail={
            "what": "stored",
            "instances": count,
            "first_object": first,
            "last_object": last,
            "transport": transport,
            "calling": title,
            "sop_classes": classes,
        },
    )
