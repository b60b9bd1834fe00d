"""Patients under care: who treats a patient sees what other facilities have of them, for a time, to look at.

A facility treats a patient if it got a study of them, or has an order for them, within the days of the settings.
Objects are followed as they are stored (`archive.follow`), so that storing them knows nothing of this; orders are
looked at as they change. What a facility claims of a patient is believed: whoever sends a study with somebody's
PatientID sees the others. So each such patient is recorded in the audit trail and the owners of the studies are told,
once; they can withdraw the grant, which then does not come back; and the settings can turn all of it off.

A patient is a person here, as far as the archive has linked their numbers by a strong one or by a decision
(`archive.identity`). When a link is taken back, what followed from it ends in the same transaction.

New studies of patients who were referred, or for whom glass was broken, get their grants here, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from psycopg.rows import namedtuple_row

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.background import Background
from archive.follow import PATIENTS_OF_OBJECTS, Follower
from archive.identity.sql import GATE, LOCK_SHARED
from archive.index_session import Connection, IndexSession
from archive.people.caller import Caller, Kind
from archive.sharing import sql
from archive.sharing.ownership import tell_of_strangers
from config.logs import fields
from config.peers import UNKNOWN_FACILITY
from config.settings import DatabaseSettings
from config.sharing import SharingSettings

log = logging.getLogger(__name__)

MOST: Final = 2000
"""Objects that are looked at in one transaction."""
INTERVAL: Final = 5.0
_ORDERS_AGAIN: Final = 600.0
"""Seconds for which a changed order is looked at again and again: nobody knows when it was committed."""
_RULE: Final = Caller(Kind.SYSTEM, "care")


class Care:
    """Gives grants to those who treat patients. One process at a time does, another goes on if it dies."""

    def __init__(self, database: DatabaseSettings, settings: SharingSettings, trail: Trail) -> None:
        self._session = IndexSession(database, "pacs care")
        self._settings = settings
        self._trail = trail
        self._follower = Follower("care_cursor", MOST)

    def begin(self) -> None:
        """Follow from now on. Raises `IndexUnavailable`."""
        self._session.run(lambda connection: self._follower.begin(connection))

    def step(self) -> bool:
        """Look at what is new; whether there is more. Raises `IndexUnavailable`."""

        def work(connection: Connection) -> bool:
            with connection.transaction():
                _hold_persons(connection)
                scanned = self._follower.step(
                    connection, lambda position, horizon: self._look(connection, position, horizon)
                )
            with connection.transaction():
                _hold_persons(connection)
                row = connection.execute(sql.PATIENTS_OF_ORDERS, {"seconds": _ORDERS_AGAIN}).fetchone()
                self._care(connection, (row and row[0]) or [])
            with connection.transaction():
                _hold_persons(connection)
                rows = connection.execute(sql.PATIENTS_OF_PERSONS, {"most": MOST}).fetchall()
                self._care(connection, [row[0] for row in rows])
            return scanned.behind or len(rows) == MOST

        return self._session.run(work)

    @contextmanager
    def running(self, interval: float = INTERVAL) -> Iterator[None]:
        """A thread that does so; several processes may have one."""

        def look() -> float:
            self.begin()
            return 0.05 if self.step() else interval

        try:
            with Background("patients under care", look):
                yield
        finally:
            self.close()

    def close(self) -> None:
        """End its session."""
        self._session.close()

    def _look(self, connection: Connection, position: int, horizon: int) -> tuple[int, int]:
        given = {"position": position, "horizon": horizon, "most": MOST}
        count, last, patients = connection.execute(PATIENTS_OF_OBJECTS, given).fetchone() or (0, position, None)
        if count:
            tell_of_strangers(connection, self._trail, position, last)
        if patients:
            connection.execute(sql.OF_PATIENTS, {"patients": patients})
            connection.execute(sql.NOTIFY_OF_PATIENTS, {"patients": patients})
            self._care(connection, patients)
        return count, last

    def _care(self, connection: Connection, patients: Sequence[int]) -> None:
        if not patients or self._settings.care == "off":
            return
        given = {"patients": list(patients), "days": self._settings.care_days, "nobody": UNKNOWN_FACILITY.code}
        with connection.cursor(row_factory=namedtuple_row) as cursor:
            found = cursor.execute(sql.CARE, given).fetchall()
        for each in found:
            self._tell(connection, each)
        if found:
            log.info("patients under care", extra=fields(patients=len(found)))

    def _tell(self, connection: Connection, found: Any) -> None:
        """On record before the transaction is committed; twice at worst."""
        self._trail.record(
            AuditEvent(
                Action.SHARE,
                _RULE,
                studies=tuple(found.studies),
                patient_id=found.identity,
                issuer_of_patient_id=found.issuer,
                purpose="care",
                detail={"way": "care", "to": found.to_facility},
            )
        )
        if self._settings.care_notices:
            named = {"to": found.facility_id, "patient": found.patient, "owners": found.owners}
            connection.execute(sql.NOTIFY_OF_CARE, named)


def _hold_persons(connection: Connection) -> None:
    """Nobody parts persons until the end of the transaction: no grant follows from a link that is gone."""
    connection.execute(LOCK_SHARED, (GATE,))
