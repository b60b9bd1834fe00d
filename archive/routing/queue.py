"""The queues as those see them who empty them: one for each destination, durable at every step.

A task that a process works on carries the number of an advisory lock which that process holds as long as its database
session lives. So a task of a dead process is free at once, and a long object needs no renewing of a lease. What was
sent but not yet noted when a process dies is sent again: every object arrives at least once.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from archive.index_session import Connection, IndexSession
from archive.rejection.causes import NOTES
from config.routes import ForwardSettings, Route

T = TypeVar("T")

MOST_IN_ONE_BATCH: Final = 50
NOT_SHOWN: Final = "the object is not shown"
"""Why a task was skipped whose object was rejected or replaced."""
AFTER_OTHERS: Final = 30.0
"""Seconds for which an object waits with which an association broke, so that others are tried first."""
_PRUNED_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class Task:
    """An object to send, or a study to tell of."""

    id: int
    object_id: int | None
    study_id: int | None
    as_stored: bool
    commitment: bool
    refusals: int


@dataclass(frozen=True, slots=True)
class Work:
    """A destination that has something to do."""

    ae_title: str
    waiting: int
    """Tasks that could be begun now, as far as they were counted."""
    probing: bool
    """It failed before; one try says whether it is back."""


_READY: Final = """
SELECT ae_title, failures > 0,
       (SELECT count(*) FROM (
           SELECT 1 FROM route_task
            WHERE destination = ae_title AND state = 'waiting' AND holder IS NULL AND due_at <= now()
              AND route <> ALL(%(closed)s::text[]) LIMIT %(most)s) AS counted)
  FROM route_destination
 WHERE NOT paused AND (retry_at IS NULL OR retry_at <= now()) AND ae_title = ANY(%(known)s::text[])
"""
# Whoever gets to move the time has the one try that is due.
_PROBE: Final = """
UPDATE route_destination SET retry_at = now() + make_interval(secs => %s)
 WHERE ae_title = %s AND NOT paused AND retry_at <= now() AND failures > 0
"""
_MINE: Final = (
    "SELECT id, object_id, study_id, as_stored, commitment, refusals FROM route_task WHERE holder = %s AND batch = %s"
)
_CLAIM: Final = """
WITH next AS MATERIALIZED (
    SELECT id, study_id IS NOT NULL AS notice FROM route_task
     WHERE destination = %(destination)s AND state = 'waiting' AND holder IS NULL AND due_at <= now()
       AND route <> ALL(%(closed)s::text[])
       AND EXISTS (SELECT 1 FROM route_destination WHERE ae_title = %(destination)s AND NOT paused)
     ORDER BY priority, due_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE route_task SET holder = %(holder)s, batch = %(batch)s
  FROM next WHERE route_task.id = next.id AND next.notice = (SELECT notice FROM next LIMIT 1)
"""
_FREE_DEAD: Final = """
UPDATE route_task SET holder = NULL, batch = NULL
 WHERE holder IS NOT NULL AND holder <> %s
   AND holder NOT IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                       WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
# Claimed by a thread that never heard of it, because the session was lost behind the commit, or that failed.
_FREE_LOST: Final = """
UPDATE route_task SET holder = NULL, batch = NULL WHERE holder = %s AND batch <> ALL(%s::bigint[])
"""
_GIVE_BACK: Final = "UPDATE route_task SET holder = NULL, batch = NULL WHERE id = ANY(%s) AND holder = %s"
_PUT_OFF: Final = """
UPDATE route_task SET holder = NULL, batch = NULL, due_at = now() + make_interval(secs => %s), error = %s
 WHERE id = ANY(%s) AND holder = %s
"""
_END: Final = """
UPDATE route_task SET state = given.state, status = given.status, error = given.error, ended_at = now(),
                      holder = NULL, batch = NULL
  FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::text[]) AS given (id, state, status, error)
 WHERE route_task.id = given.id AND route_task.state = 'waiting'
"""
_REACHED: Final = """
UPDATE route_destination SET failures = 0, retry_at = NULL, sent_at = now() WHERE ae_title = %s
"""
_REFUSED: Final = """
UPDATE route_task
   SET refusals = refusals + 1, status = %(status)s, error = %(error)s, holder = NULL, batch = NULL,
       state = CASE WHEN refusals + 1 >= %(tries)s THEN 'failed' ELSE 'waiting' END,
       ended_at = CASE WHEN refusals + 1 >= %(tries)s THEN now() END,
       due_at = now() + make_interval(secs => %(wait)s)
 WHERE id = %(id)s AND holder = %(holder)s
RETURNING state
"""
# It is the object's fault if the destination took something else since the last time that it broke, or if there is
# nothing else to try. When there is no room, only the former tells.
_BROKE: Final = """
UPDATE route_task
   SET refusals = refusals + counts, status = %(status)s, error = %(error)s, holder = NULL, batch = NULL,
       broke_at = now(), due_at = now() + make_interval(secs => %(wait)s),
       state = CASE WHEN refusals + counts >= %(tries)s THEN 'failed' ELSE 'waiting' END,
       ended_at = CASE WHEN refusals + counts >= %(tries)s THEN now() END
  FROM (SELECT task.id AS broken,
               CASE WHEN broke_at IS NULL OR sent_at > broke_at THEN 1
                    WHEN %(status)s::int IS NOT NULL THEN 0
                    WHEN EXISTS (SELECT 1 FROM route_task AS fresh
                                  WHERE fresh.destination = task.destination AND fresh.state = 'waiting'
                                    AND fresh.broke_at IS NULL AND fresh.due_at <= now()) THEN 0
                    ELSE 1 END AS counts
          FROM route_task AS task JOIN route_destination ON ae_title = destination WHERE task.id = %(id)s) AS judged
 WHERE id = broken AND holder = %(holder)s
RETURNING state
"""
_FAILURES: Final = "SELECT failures FROM route_destination WHERE ae_title = %s FOR UPDATE"
_UNREACHED: Final = """
UPDATE route_destination
   SET failures = failures + 1, retry_at = now() + make_interval(secs => %s), error = %s, failed_at = now()
 WHERE ae_title = %s
"""
# So that what may not be sent now is not looked at again and again.
_POSTPONE: Final = """
UPDATE route_task SET due_at = now() + make_interval(secs => %s)
 WHERE state = 'waiting' AND holder IS NULL AND route = %s AND destination = ANY(%s)
   AND due_at < now() + make_interval(secs => %s)
"""
_REVIVE: Final = f"""
UPDATE route_task SET state = 'waiting', error = '', ended_at = NULL, due_at = now()
  FROM stored_object JOIN instance ON instance.id = instance_id
 WHERE route_task.state = 'skipped' AND route_task.error = '{NOT_SHOWN}' AND stored_object.id = object_id
   AND current AND hidden & {0xFF & ~int(NOTES)} = 0
"""  # noqa: S608  put together from constants
_PRUNE: Final = """
DELETE FROM route_task WHERE id IN (
    SELECT id FROM route_task
     WHERE state IN ('sent', 'skipped') AND destination = ANY(SELECT ae_title FROM route_destination)
       AND ended_at < now() - make_interval(secs => %s) LIMIT %s)
"""


def new_batch() -> int:
    """A number that no batch had."""
    return secrets.randbits(62)


class Queue:
    """All queues, for the threads of one process. Methods raise `IndexUnavailable`."""

    def __init__(self, session: IndexSession, settings: ForwardSettings) -> None:
        self._session = session
        self._settings = settings

    def ready(self, known: Collection[str], closed: Sequence[str], most: int) -> list[Work]:
        """Destinations among `known` for which something could be begun now. Routes in `closed` are not to be sent."""
        given = {"known": sorted(known), "closed": list(closed), "most": most}
        rows = self._run(lambda connection: connection.execute(_READY, given).fetchall())
        return [Work(ae_title, waiting, probing) for ae_title, probing, waiting in rows if waiting]

    def probe(self, destination: str) -> bool:
        """Whether this process is the one to try a destination that failed before."""
        given = (self._settings.longest_wait, destination)
        return bool(self._run(lambda connection: connection.execute(_PROBE, given).rowcount))

    def claim(
        self, destination: str, closed: Sequence[str], most: int = MOST_IN_ONE_BATCH, batch: int | None = None
    ) -> list[Task]:
        """The next tasks for a destination, all of objects or all of studies; nobody else gets them while we live.

        `batch` is a number from `new_batch` by which `free_lost` tells them.
        """
        batch = new_batch() if batch is None else batch
        given = {
            "destination": destination,
            "closed": list(closed),
            "most": most,
            "holder": self._session.writer,
            "batch": batch,
        }

        def work(connection: Connection) -> list[Any]:
            rows = connection.execute(_MINE, (self._session.writer, batch)).fetchall()
            # There are some if this is repeated because the session was lost behind the commit.
            if not rows and connection.execute(_CLAIM, given).rowcount:
                rows = connection.execute(
                    _MINE + " ORDER BY priority, due_at, id", (self._session.writer, batch)
                ).fetchall()
            return rows

        return [Task(*row) for row in self._run(work)]

    def free_dead(self) -> int:
        """Free what processes hold that are no more."""
        return self._run(lambda connection: connection.execute(_FREE_DEAD, (self._session.writer,)).rowcount)

    def free_lost(self, live: Callable[[], Collection[int]]) -> int:
        """Free what this process holds for none of its threads. `live` gives the batches that they work on."""

        def work(connection: Connection) -> int:
            # Asked for while no other thread can claim: whoever has claimed has said under which number before.
            return connection.execute(_FREE_LOST, (self._session.writer, sorted(live()))).rowcount

        return self._run(work)

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Tasks that were not begun."""
        given = ([task.id for task in tasks], self._session.writer)
        self._run(lambda connection: connection.execute(_GIVE_BACK, given).rowcount)

    def put_off(self, tasks: Sequence[Task], seconds: float, why: str) -> None:
        """Tasks that we cannot do now, for no fault of theirs or of the destination."""
        given = (seconds, why[:500], [task.id for task in tasks], self._session.writer)
        self._run(lambda connection: connection.execute(_PUT_OFF, given).rowcount)

    def sent(self, destination: str, ended: Sequence[tuple[Task, int, str]]) -> None:
        """Tasks that the destination took, each with the status of its response and a note."""
        if ended:
            self._end([(task, "sent", status, note) for task, status, note in ended], destination)

    def skipped(self, tasks: Sequence[Task], why: str) -> None:
        """Tasks of which there is nothing to send any more."""
        if tasks:
            self._end([(task, "skipped", None, why) for task in tasks])

    def refused(self, task: Task, status: int | None, error: str) -> bool:
        """The destination does not want an object, or we cannot give it; whether it is set aside now."""
        return self._failed(_REFUSED, task, status, error, self._wait(task.refusals))

    def broke(self, task: Task, status: int | None, error: str) -> bool:
        """The association broke with an object, or there was no room for it; whether it is set aside now."""
        return self._failed(_BROKE, task, status, error, AFTER_OTHERS)

    def unreached(self, destination: str, error: str) -> float:
        """A destination cannot take anything now; give the seconds until it is tried again."""

        def work(connection: Connection) -> float:
            with connection.transaction():
                row = connection.execute(_FAILURES, (destination,)).fetchone()
                wait = self._wait(row[0] if row else 0)
                connection.execute(_UNREACHED, (wait, error[:500], destination))
            return wait

        return self._run(work)

    def postpone(self, route: Route, seconds: float) -> None:
        """Put off what a route has waiting until its hours begin."""
        given = (seconds, route.name, list(route.destinations), seconds)
        self._run(lambda connection: connection.execute(_POSTPONE, given).rowcount)

    def revive(self) -> int:
        """Have objects sent that were rejected when their turn came, and are shown again; give how many."""
        return self._run(lambda connection: connection.execute(_REVIVE).rowcount)

    def prune(self) -> int:
        """Forget old ends, some thousands at most; give how many."""
        given = (self._settings.keep_days * 86_400, _PRUNED_AT_ONCE)
        return self._run(lambda connection: connection.execute(_PRUNE, given).rowcount)

    def _failed(self, statement: str, task: Task, status: int | None, error: str, wait: float) -> bool:
        given = {
            "id": task.id,
            "holder": self._session.writer,
            "status": status,
            "error": error[:500],
            "tries": self._settings.tries,
            "wait": wait,
        }
        row = self._run(lambda connection: connection.execute(statement, given).fetchone())
        return row is not None and row[0] == "failed"

    def _end(self, ended: Sequence[tuple[Task, str, int | None, str]], destination: str | None = None) -> None:
        columns = [
            [task.id for task, *_ in ended],
            [state for _, state, _, _ in ended],
            [status for _, _, status, _ in ended],
            [note[:500] for *_, note in ended],
        ]

        def work(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(_END, columns)
                if destination is not None:
                    connection.execute(_REACHED, (destination,))

        self._run(work)

    def _wait(self, failures: int) -> float:
        """Doubled with each failure, and not the same for all who failed at the same moment."""
        settings = self._settings
        wait = min(settings.first_wait * 2.0 ** min(failures, 30), settings.longest_wait)
        return wait * random.uniform(0.75, 1.25)  # noqa: S311  no secret

    def _run(self, work: Callable[[Connection], T]) -> T:
        return self._session.run(work)
