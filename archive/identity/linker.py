"""Follows patients as they come, and links them, in a thread of the web service.

Storing knows nothing of it: new objects are followed by their ids (`archive.follow`), changed orders by their time, and
now and then all patients are compared with what was seen of them (a row of PostgreSQL tells by which transaction it was
written). What a record says is noted first, with a mark that it is to be compared; the mark goes in the transaction
that compares. So a process that dies leaves nothing undone, and several may run: one at a time works on it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from archive.background import Background
from archive.follow import PATIENTS_OF_OBJECTS, Follower
from archive.identity import sql
from archive.identity.book import Book, lock, named
from archive.identity.linking import MOST, Looked, look
from archive.identity.records import Number, of_dicom
from archive.index_session import Connection, IndexSession
from config.identity import IdentitySettings
from config.logs import fields
from config.settings import DatabaseSettings

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
_MOST: Final = 2000
_SWEEP_SECONDS: Final = 600.0
_TELL_SECONDS: Final = 60.0
_ORDERS_AGAIN: Final = 900.0
_ALL_ORDERS: Final = 400 * 86_400.0
_ORDERS: Final = 1000


class Linker:
    """Enters what is new and looks at what is due."""

    def __init__(self, database: DatabaseSettings, settings: IdentitySettings) -> None:
        self._session = IndexSession(database, "pacs identity link")
        self._settings = settings
        self._follower = Follower("identity_cursor", _MOST)
        self._swept_to: int | None = None
        self._people: int | None = None
        self._told_at = -_TELL_SECONDS

    def begin(self) -> None:
        """Follow from now on; what is there already comes with the first sweep. Raises `IndexUnavailable`."""
        self._session.run(lambda connection: self._follower.begin(connection))

    def step(self) -> bool:
        """Enter what is new, sweep on, look at some; whether there is more. Raises `IndexUnavailable`."""
        behind = self._session.run(self._follow)
        ordered = self._session.run(lambda connection: self._orders(connection, _ORDERS_AGAIN))
        sweeping = self._session.run(self._sweep)
        looked = self.look()
        self._tell(looked)
        return behind or ordered or sweeping or looked.records > 0

    def _tell(self, looked: Looked) -> None:
        if looked.linked or looked.split or looked.proposed:
            counts = fields(linked=looked.linked, split=looked.split, proposed=looked.proposed)
            log.info("patients were linked to persons", extra=counts)
        if looked.records == MOST and time.monotonic() > self._told_at + _TELL_SECONDS:
            # The first run after an import takes minutes: say how far it is.
            self._told_at = time.monotonic()
            log.info("patients wait to be compared", extra=fields(waiting=self.waiting()))

    def waiting(self) -> int:
        """How many records are due. Raises `IndexUnavailable`."""
        (found,) = self._session.run(lambda connection: connection.execute(sql.WAITING).fetchone()) or (0,)
        return int(found)

    def not_entered(self) -> int:
        """How many patients have no record yet, about. Raises `IndexUnavailable`."""
        (found,) = self._session.run(lambda connection: connection.execute(sql.NOT_ENTERED).fetchone()) or (0,)
        return int(found)

    def look(self, most: int = MOST) -> Looked:
        """Look at the next records that are due, at most so many. Raises `IndexUnavailable`."""

        def work(connection: Connection) -> Looked:
            if self._people is None:
                (self._people,) = connection.execute(sql.PEOPLE).fetchone() or (0,)
            with connection.transaction():
                return look(connection, self._settings, self._people, most)

        looked = self._session.run(work)
        if not looked.records:
            # Counted anew when there is something to do again: it grows slowly, and counting it takes long.
            self._people = None
        return looked

    def enter_all(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Enter all patients and orders that are not, or have changed; give how many. Raises `IndexUnavailable`."""
        entered, behind = 0, 0
        while True:
            last, count = self._session.run(partial(self._sweep_from, behind=behind))
            entered += count
            if last is None:
                break
            behind = last
            progress(entered)
        while self._session.run(lambda connection: self._orders(connection, _ALL_ORDERS)):
            pass
        self._session.run(lambda connection: connection.execute(sql.SWEPT))
        # A first run fills tables that the planner knows to be empty.
        self._session.run(lambda connection: connection.execute("ANALYZE identity_record, identity_identifier"))
        self._people = None
        return entered

    @contextmanager
    def running(self, interval: float = INTERVAL) -> Iterator[None]:
        """A thread that does so; several processes may have one."""

        def work() -> float:
            self.begin()
            return 0.05 if self.step() else interval

        try:
            with Background("identity", work):
                yield
        finally:
            self.close()

    def close(self) -> None:
        """End its session."""
        self._session.close()

    # -- parts -------------------------------------------------------------------------------------------------------

    def _follow(self, connection: Connection) -> bool:
        def entered(position: int, horizon: int) -> tuple[int, int]:
            given = {"position": position, "horizon": horizon, "most": _MOST}
            count, last, patients = connection.execute(PATIENTS_OF_OBJECTS, given).fetchone() or (0, position, None)
            self._enter(connection, _ids(connection, sql.CHANGED, {"patients": patients or []}))
            return count, last

        with connection.transaction():
            return self._follower.step(connection, entered).behind

    def _sweep(self, connection: Connection) -> bool:
        if self._swept_to is None:
            with connection.transaction():
                due = connection.execute(sql.SWEEP_DUE, {"seconds": _SWEEP_SECONDS}).fetchone() is not None
                if not due:
                    return False
                # Others need not do the same now; should this process die, the next sweep comes in some minutes.
                connection.execute(sql.SWEPT)
            self._swept_to = 0
        self._swept_to, _ = self._sweep_from(connection, self._swept_to)
        return self._swept_to is not None

    def _sweep_from(self, connection: Connection, behind: int) -> tuple[int | None, int]:
        """Enter the next patients; give the last of them, None if there are no more, and how many."""
        with connection.transaction():
            connection.execute(sql.PLAN_ANEW)
            patients = _ids(connection, sql.SWEEP, {"behind": behind, "most": _MOST})
            self._enter(connection, patients)
        return (patients[-1] if patients else None), len(patients)

    def _enter(self, connection: Connection, patients: list[int]) -> None:
        if patients:
            lock(connection)
            Book(connection).enter_patients(patients)

    def _orders(self, connection: Connection, seconds: float) -> bool:
        rows: list[Any] = named(connection, sql.ORDERS, {"seconds": seconds, "most": _ORDERS})
        if rows:
            with connection.transaction():
                lock(connection)
                said = {
                    Number(row.issuer, row.number): of_dicom(
                        row.name, row.birth_date, row.sex, None, row.others, row.other_ids, row.phones
                    )
                    for row in rows
                }
                Book(connection).claim("worklist", said, "worklist")
        return len(rows) == _ORDERS


def _ids(connection: Connection, statement: str, given: dict[str, Any]) -> list[int]:
    return [int(row[0]) for row in connection.execute(statement, given).fetchall()]
