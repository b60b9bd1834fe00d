"""Adds received objects to the index: one transaction for all that wait at the same moment.

Threads that arrive while a transaction is under way queue up; then the first of them commits for the whole queue
(`storage.group`). So one association pays one commit per object, and many associations share theirs (group commit).

Counters move in the statement that inserts the instance. A parent (`archive.index_parents`) without instances may be
seen in the table for a moment; queries leave it out, and `archive.reconcile` removes it if its first instance never
comes.

Rows of what comes by C-STORE are committed without waiting for PostgreSQL's log to be on the medium (within 0.6 s it
is): a row that a crash takes is made again from its object, which was durable before. Until the log has it, the key
block is there: what deletes the block waits for the log, and so for all that was committed before. After a crash of
PostgreSQL the block is given up (`archive.index_session`), after a crash of the machine its writer is dead; either way
`archive.reconcile` adopts the objects in it that have no row. So a modality waits for one flush instead of two. What
comes by STOW-RS waits for the log: its file does not say for which facility it was stored.

Whether an arrival is hidden by a rejection note is asked only for studies that a note names; which those are is kept
with the series, and was asked after the study was committed. A note that comes later counts the study's
`rejection_epoch` up, and the statement that inserts instances fails for an epoch that is not the present one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from archive import index_sql as sql
from archive.errors import ConflictingDuplicate, IndexUnavailable
from archive.index_ahead import Held, RowsAhead
from archive.index_insert import Inserts, Sent
from archive.index_parameters import (
    Place,
    input_row,
    input_rows,
    instance_parameters,
    object_parameters,
)
from archive.index_parents import KnownSeries, ParentRows
from archive.index_session import Connection, IndexSession
from archive.records import Arrival, Outcome
from archive.rejection.arrival import hidden_on_arrival
from config.logs import fields
from config.peers import UNKNOWN_FACILITY
from storage.group import Group, Ticket, fail

log = logging.getLogger(__name__)

MOST_IN_ONE_TRANSACTION = 64
ATTEMPTS = 3
EPOCHS = 10


@dataclass(frozen=True, slots=True)
class Added:
    """What the index did with an arrival. `existing` is the row that was there, for a duplicate."""

    outcome: Outcome
    existing: sql.VersionRow | None = None


_Ticket = Ticket[Arrival, Added]


class StaleKey(IndexUnavailable):
    """The object has certainly no row, and it is not safe: send it again.

    Its key block was settled by somebody else while we were cut off, or somebody else repaired the row first.
    """

    def __init__(self) -> None:
        super().__init__("the object was not stored because the index was cut off from its writer; send it again")


class IndexWriter:
    """Adds arrivals to the index of one process, through its `IndexSession`."""

    def __init__(
        self,
        session: IndexSession,
        *,
        conflict: str,
        on_stale: Callable[[int], None] = lambda _: None,
        waits_for_log: bool = True,
    ) -> None:
        """Without `waits_for_log`, rows for which it is not needed are committed without; see the module."""
        self._session = session
        self._waits_for_log = waits_for_log
        self._conflict = conflict
        self._on_stale = on_stale
        self._group: Group[Arrival, Added] = Group(self._settle, MOST_IN_ONE_TRANSACTION)
        self._parents = ParentRows()
        self._inserts = Inserts()

    def add(self, arrival: Arrival) -> Added:
        """Commit the row of an object that is durable in the store.

        Raises `ConflictingDuplicate` or `StaleKey` (nothing was added), or another `IndexUnavailable`: then it is not
        known whether the row was added, so the object must not be deleted by the caller.
        """
        return self._group.add(arrival)

    def add_all(self, arrivals: Sequence[Arrival]) -> list[Added | Exception]:
        """As `add`, for some at once, as if one came after the other; what it would have raised is given back."""
        error = self._describe(arrivals)
        if error is not None:
            return [error for _ in arrivals]
        tickets = [Ticket[Arrival, Added](arrival) for arrival in arrivals]
        self._group.add_all(tickets)
        return [_outcome_of(ticket) for ticket in tickets]

    def _describe(self, arrivals: Sequence[Arrival]) -> IndexUnavailable | None:
        """Have the first of a patient, study or series describe it; in a transaction, they come in another order."""
        for arrival in arrivals:
            if not self._parents.has(arrival):
                try:
                    self.prepare(arrival)
                except IndexUnavailable as error:
                    return error
                except Exception:  # noqa: S112  its own transaction is to tell, and the next describes the series
                    continue
        return None

    def ahead(self, arrivals: Sequence[Arrival]) -> RowsAhead:
        """Have PostgreSQL add rows while their objects are made durable, by this thread; see `archive.index_ahead`.

        Nothing is done ahead if PostgreSQL would have to be asked before, or if another thread uses the index.
        """
        connection = self._session.take()
        if connection is None:
            return RowsAhead(len(arrivals))
        order = sorted(range(len(arrivals)), key=lambda n: _place(arrivals[n]))
        sent = None
        try:
            sent = self._send(connection, [arrivals[n] for n in order])
        except Exception as error:
            log.info("rows could not be sent ahead", extra=fields(error=type(error).__name__))  # `add` will tell
        finally:
            if sent is None:
                self._session.give_back()
        return RowsAhead(len(arrivals), Held(self._session, sent, order) if sent else None)

    def _send(self, connection: Connection, arrivals: Sequence[Arrival]) -> Sent | None:
        found = self._parents.at_hand(arrivals)
        if found is None or any(series.named for series in found[0]) or any(arrival.hidden for arrival in arrivals):
            return None
        return self._inserts.send(connection, self._rows(arrivals, *found, {}))

    def prepare(self, arrival: Arrival) -> None:
        """Commit the parents of an arrival, so that `add` needs no transaction of its own for them."""
        self._session.run(lambda connection: self._parents.series(connection, [arrival]))

    def replace_lost(self, lost: sql.VersionRow, arrival: Arrival) -> None:
        """Point a row whose bytes the store lost at the bytes just received. Raises as `add` does."""
        parameters = {**object_parameters(arrival), "id": lost.id, "lost_key": lost.key, "block": arrival.block}
        if not self._session.run(lambda connection: connection.execute(sql.REPLACE_LOST, parameters).fetchall()):
            self._on_stale(arrival.block)
            raise StaleKey

    # -- one transaction -------------------------------------------------------------------------------------------

    def _settle(self, tickets: Sequence[_Ticket]) -> None:
        """Give each of them a result or an error."""
        try:
            self._add_all(tickets)
        except (IndexUnavailable, ConflictingDuplicate) as error:
            fail(tickets, error)
        except Exception as error:
            if len(tickets) == 1:
                fail(tickets, error)
                return
            # One arrival that PostgreSQL refuses must not take the others down with it.
            log.warning("a group of arrivals is added one by one", extra=fields(size=len(tickets)), exc_info=True)
            for ticket in tickets:
                self._add_alone(ticket)

    def _add_alone(self, ticket: _Ticket) -> None:
        try:
            self._add_all([ticket])
        except Exception as error:
            fail([ticket], error)

    def _add_all(self, tickets: Sequence[_Ticket]) -> None:
        # In one order everywhere, so that two processes do not wait for each other's studies and series.
        waiting = sorted((ticket for ticket in tickets if not ticket.done), key=lambda ticket: _place(ticket.item))
        added = self._session.run(lambda connection: self._insert_with_retry(connection, waiting))
        for ticket, is_new in zip(waiting, added, strict=True):
            if is_new:
                ticket.result = Added(Outcome.STORED)
                continue
            try:
                ticket.result = self._settle_existing(ticket.item)
            except Exception as error:
                ticket.error = error

    def _insert_with_retry(self, connection: Connection, tickets: Sequence[_Ticket]) -> list[bool]:
        attempt, epochs = 0, 0
        while True:
            try:
                return self._insert(connection, tickets)
            except psycopg.errors.NotNullViolation as error:
                # A note rejects something in one of the studies since their series were looked up.
                epochs += 1
                if error.diag.column_name != "instance_count" or epochs == EPOCHS:
                    raise
                self._parents.forget(ticket.item for ticket in tickets)
            except (psycopg.errors.ForeignKeyViolation, psycopg.errors.DeadlockDetected):
                # A cached parent was deleted, or another process updates the same studies in another order.
                self._parents.forget_all()
                attempt += 1
                if attempt == ATTEMPTS:
                    raise

    def _insert(self, connection: Connection, tickets: Sequence[_Ticket]) -> list[bool]:
        arrivals = [ticket.item for ticket in tickets]
        known = self._parents.series(connection, arrivals)
        facilities = [self._parents.facility(connection, arrival.source.facility) for arrival in arrivals]
        named = {n: arrivals[n] for n, series in enumerate(known) if series.named}
        rejected = hidden_on_arrival(connection, named) if named else {}
        rows = self._rows(arrivals, known, facilities, rejected)
        if not any(row["hidden"] for row in rows):
            return self._inserts(connection, rows)
        inserted = {n for (n,) in connection.execute(sql.INSERT_SOME_HIDDEN, {"rows": input_rows(rows)}).fetchall()}
        return [n in inserted for n in range(len(rows))]

    def _rows(
        self,
        arrivals: Sequence[Arrival],
        known: Sequence[KnownSeries],
        facilities: Sequence[int],
        rejected: Mapping[int, int],
    ) -> list[dict[str, object]]:
        told_by_files = all(arrival.source.told_by_file for arrival in arrivals)
        commit = "off" if told_by_files and not self._waits_for_log else None
        rows = []
        for n, (arrival, series, facility) in enumerate(zip(arrivals, known, facilities, strict=True)):
            hidden = int(arrival.hidden | rejected[n] if n in rejected else arrival.hidden)
            place = Place(series.series_id, series.epoch, hidden, series.warning)
            rows.append(input_row(arrival, place, facility, commit))
        return rows

    # -- an instance that is there already ---------------------------------------------------------------------------

    def _settle_existing(self, arrival: Arrival) -> Added:
        def work(connection: Connection) -> Added:
            with connection.transaction():
                return self._compare(connection, arrival)

        try:
            return self._session.run(work)
        except StaleKey:
            # Not within `work`: whoever takes a key waits for the session while holding the lock that this needs.
            self._on_stale(arrival.block)
            raise

    def _compare(self, connection: Connection, arrival: Arrival) -> Added:
        """Decide on an arrival whose instance exists: the same bytes, or a conflict (see `IngestSettings.conflict`)."""
        names = {
            "study": arrival.study_instance_uid,
            "quarantine": arrival.source.quarantine,
            "series": arrival.series_instance_uid,
            "instance": arrival.instance.sop_instance_uid,
        }
        found = connection.execute(sql.LOCK_INSTANCE, names).fetchone()
        rows = connection.execute(sql.VERSIONS, {"instance_id": found[0]}).fetchall() if found else []
        versions = [sql.VersionRow(*row) for row in rows]
        if not versions:
            raise StaleKey
        for row in versions:
            if row.key == arrival.object.key:
                # The row was committed although the connection broke before we heard of it.
                return Added(_outcome(row.version, shown=row.current))
            if row.digest == arrival.object.digest and row.transfer_syntax_uid == arrival.object.transfer_syntax_uid:
                self._note_sender(connection, arrival, row)
                return Added(Outcome.DUPLICATE, row)
        if self._conflict == "reject":
            raise ConflictingDuplicate("this SOP Instance UID is stored with other content")
        return self._add_version(connection, arrival, versions)

    def _note_sender(self, connection: Connection, arrival: Arrival, row: sql.VersionRow) -> None:
        """A facility that sends what another one sent before may ask whether it is kept (storage commitment)."""
        source = arrival.source
        facility = self._parents.facility(connection, source.facility)
        if facility != row.facility_id or source.facility == UNKNOWN_FACILITY.code:
            connection.execute(
                sql.ALSO_SENT,
                {"object_id": row.id, "facility_id": facility, "calling_ae_title": source.calling_ae_title},
            )

    def _add_version(self, connection: Connection, arrival: Arrival, versions: Sequence[sql.VersionRow]) -> Added:
        facility = self._parents.facility(connection, arrival.source.facility)
        first, version = versions[0], versions[-1].version + 1
        shown = facility == first.facility_id
        warning = f"version {version} of an instance that was stored with other bytes"
        parameters = {
            **object_parameters(arrival),
            **instance_parameters(arrival),
            "attributes": None if arrival.instance.attributes is None else Jsonb(arrival.instance.attributes),
            "instance_id": first.instance_id,
            "facility_id": facility,
            "block": arrival.block,
            "version": version,
            "current": shown,
            "warnings": [*arrival.warnings, warning],
        }
        if shown:
            connection.execute(sql.RETIRE_CURRENT, parameters)
        if not connection.execute(sql.INSERT_VERSION, parameters).rowcount:
            raise StaleKey
        if shown:
            connection.execute(sql.UPDATE_INSTANCE, parameters)
            if arrival.instance.sop_class_uid != first.sop_class_uid:
                connection.execute(sql.RECOUNT_CLASSES, parameters)
        log.warning(
            "same SOP Instance UID with other bytes: kept as a version",
            extra=fields(instance=arrival.instance.sop_instance_uid, shown=shown, facility=arrival.source.facility),
        )
        return Added(_outcome(version, shown=shown))


def _outcome_of(ticket: _Ticket) -> Added | Exception:
    if ticket.result is not None:
        return ticket.result
    assert isinstance(ticket.error, Exception)
    return ticket.error


def _outcome(version: int, *, shown: bool) -> Outcome:
    if version == 1:
        return Outcome.STORED
    return Outcome.NEW_VERSION if shown else Outcome.HELD_VERSION


def _place(arrival: Arrival) -> tuple[str, str]:
    return arrival.study_instance_uid, arrival.series_instance_uid
