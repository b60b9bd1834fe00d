"""What people and programs do with the queues: look, pause, retry, discard, send by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Engine, Row, text

from archive.database import change, fetch
from archive.errors import InvalidQuery, NotFound
from archive.index_session import IndexSession
from archive.locate import by_object
from archive.records import StoredInstance
from archive.routing.groups import Place
from archive.routing.queue import Queue
from archive.routing.rules import PRIORITIES
from config.peers import Peer, PeerBook
from config.settings import Settings

DestinationState = Literal["idle", "busy", "waiting", "failing", "paused", "unlisted"]

_QUEUES: Final = text("""
WITH waiting AS (
    SELECT destination, count(*) AS waiting, count(*) FILTER (WHERE due_at > now() AND holder IS NULL) AS later,
           count(holder) AS sending, min(created_at) AS oldest
      FROM route_task WHERE state = 'waiting' GROUP BY destination
), failed AS (
    SELECT destination, count(*) AS failed FROM route_task WHERE state = 'failed' GROUP BY destination
), grouped AS (
    SELECT destination, count(*) AS gathering FROM route_group GROUP BY destination
)
SELECT ae_title, paused, failures, retry_at, error, failed_at, sent_at, coalesce(waiting, 0) AS waiting,
       coalesce(later, 0) AS later, coalesce(sending, 0) AS sending, oldest, coalesce(failed, 0) AS failed,
       coalesce(gathering, 0) AS gathering,
       (SELECT count(*) FROM route_task WHERE destination = ae_title AND state IN ('sent', 'skipped')
           AND ended_at > now() - interval '10 minutes' AND state = 'sent') AS recent
  FROM route_destination
  LEFT JOIN waiting ON waiting.destination = ae_title
  LEFT JOIN failed ON failed.destination = ae_title
  LEFT JOIN grouped ON grouped.destination = ae_title
 ORDER BY ae_title
""")
_PROBLEMS: Final = text("""
SELECT task.id, route, refusals, status, error, task.created_at, ended_at, task.state,
       coalesce(study.study_instance_uid, noticed.study_instance_uid) AS study, sop_instance_uid AS instance
  FROM route_task AS task
  LEFT JOIN stored_object ON stored_object.id = task.object_id
  LEFT JOIN instance ON instance.id = stored_object.instance_id
  LEFT JOIN series ON series.id = instance.series_id
  LEFT JOIN study ON study.id = series.study_id
  LEFT JOIN study AS noticed ON noticed.id = task.study_id
 WHERE task.destination = :destination AND (task.state = 'failed' OR task.state = 'waiting' AND task.error <> '')
 ORDER BY task.state, task.id LIMIT :most
""")
_KNOWN: Final = text("SELECT 1 FROM route_destination WHERE ae_title = :destination")
_PAUSE: Final = text("""
INSERT INTO route_destination (ae_title, paused) VALUES (:destination, :paused)
ON CONFLICT (ae_title) DO UPDATE SET paused = EXCLUDED.paused
""")
_TRY_NOW: Final = text("UPDATE route_destination SET retry_at = now() WHERE ae_title = :destination AND failures > 0")
_RETRY: Final = text("""
UPDATE route_task SET state = 'waiting', refusals = 0, due_at = now(), ended_at = NULL
 WHERE destination = :destination AND (state = 'failed' OR state = 'waiting' AND holder IS NULL AND error <> '')
   AND (CAST(:task AS bigint) IS NULL OR id = :task)
RETURNING id
""")
_DISCARD: Final = text("""
UPDATE route_task SET state = 'skipped', ended_at = now(), error = left('discarded by hand. ' || error, 500)
 WHERE destination = :destination AND holder IS NULL
   AND (state = 'failed' OR state = 'waiting' AND NOT :only_failed)
   AND (CAST(:task AS bigint) IS NULL OR id = :task)
RETURNING id
""")
_FORGET_GROUPS: Final = text("DELETE FROM route_group WHERE destination = :destination")
_OBJECTS: Final = text("""
SELECT stored_object.id FROM study JOIN series ON series.study_id = study.id
  JOIN instance ON instance.series_id = series.id JOIN stored_object ON stored_object.instance_id = instance.id
 WHERE study_instance_uid = :study AND (CAST(:series AS text) IS NULL OR series_instance_uid = :series)
   AND current AND stored_object.state = 'available'
 ORDER BY series.series_number, series.id, instance.instance_number, instance.id
""")
_OF_STUDY: Final = text("""
SELECT stored_object.id FROM series JOIN instance ON instance.series_id = series.id
  JOIN stored_object ON stored_object.instance_id = instance.id
 WHERE series.study_id = :study AND current AND stored_object.state = 'available'
 ORDER BY series.series_number, series.id, instance.instance_number, instance.id
""")
# By hand an object may go where it has been: somebody may have lost it there.
_SEND: Final = text("""
WITH destination AS (
    INSERT INTO route_destination (ae_title) VALUES (:destination) ON CONFLICT DO NOTHING
)
INSERT INTO route_task (destination, object_id, priority)
SELECT :destination, object_id, :priority FROM unnest(CAST(:objects AS bigint[])) AS given (object_id)
ON CONFLICT (object_id, destination) DO UPDATE
   SET state = 'waiting', priority = least(route_task.priority, EXCLUDED.priority), refusals = 0, due_at = now(),
       ended_at = NULL, created_at = CASE WHEN route_task.state = 'waiting' THEN route_task.created_at ELSE now() END
RETURNING id
""")


@dataclass(frozen=True, slots=True)
class QueueState:
    """How the queue of one destination stands."""

    ae_title: str
    description: str
    state: DestinationState
    waiting: int = 0
    later: int = 0
    """Of the waiting ones, those whose time has not come: delayed, outside their hours, or to be tried again."""
    sending: int = 0
    gathering: int = 0
    """Series and studies that are not complete yet."""
    failed: int = 0
    """Set aside after too many tries."""
    oldest: datetime | None = None
    """When the oldest waiting one came into the queue."""
    sent_in_10_minutes: int = 0
    failures: int = 0
    retry_at: datetime | None = None
    error: str = ""
    failed_at: datetime | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An object that a destination did not take."""

    id: int
    state: str
    route: str
    study: str | None
    instance: str | None
    refusals: int
    status: int | None
    error: str
    created_at: datetime
    ended_at: datetime | None


class Routing:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, settings: Settings, engine: Engine, peers: PeerBook) -> None:
        self._settings = settings
        self._engine = engine
        self._peers = peers

    def queues(self) -> list[QueueState]:
        """All destinations of which there is something to tell, and those of routes."""
        found = {row.ae_title: row for row in fetch(self._engine, _QUEUES)}
        names = {*found, *(name for route in self._settings.routes for name in route.destinations)}
        return [self._state(name, found.get(name)) for name in sorted(names)]

    def problems(self, destination: str, most: int = 100) -> list[Problem]:
        """What was set aside, then what is waiting for another try."""
        rows = fetch(self._engine, _PROBLEMS, {"destination": destination, "most": most})
        return [Problem(**row._mapping) for row in rows]

    def pause(self, destination: str, *, paused: bool) -> None:
        """Send nothing there until told otherwise; what is on its way arrives. Raises `NotFound`."""
        self._check(destination)
        change(self._engine, _PAUSE, {"destination": destination, "paused": paused})

    def retry(self, destination: str, task: int | None = None) -> int:
        """Try again now what failed, or one of it, and the destination itself; give how many. Raises `NotFound`."""
        self._check(destination)
        change(self._engine, _TRY_NOW, {"destination": destination})
        return len(change(self._engine, _RETRY, {"destination": destination, "task": task}))

    def discard(self, destination: str, task: int | None = None, *, only_failed: bool = True) -> int:
        """Give up what failed, or one of it, or the whole queue; give how many. Raises `NotFound`."""
        self._check(destination)
        if not only_failed and task is None:
            change(self._engine, _FORGET_GROUPS, {"destination": destination})
        given = {"destination": destination, "task": task, "only_failed": only_failed}
        return len(change(self._engine, _DISCARD, given))

    def send(self, study: str, destination: str, series: str | None = None, priority: str = "high") -> int:
        """Send a study or series by hand, wherever it has been; give how many objects.

        Raises `NotFound`, `InvalidQuery`.
        """
        peer = self._peers.named(destination)
        if peer is None or not peer.host:
            raise NotFound(f"{destination} is no peer with host and port")
        if priority not in PRIORITIES:
            raise InvalidQuery("a priority is high, medium or low")
        objects = [row[0] for row in fetch(self._engine, _OBJECTS, {"study": study, "series": series})]
        shown = by_object(self._engine, objects) if objects else {}
        wanted = [object_id for object_id in objects if object_id in shown]
        if not wanted:
            raise NotFound("no such study" if series is None else "no such series")
        given = {"destination": peer.ae_title, "objects": wanted, "priority": PRIORITIES[priority]}
        return len(change(self._engine, _SEND, given))

    # -- for the node that sends -------------------------------------------------------------------------------------

    def open_session(self) -> IndexSession:
        """The session of a process that sends; what it holds is free when the session ends."""
        return IndexSession(self._settings.database, "pacs forwarding")

    def queue(self, session: IndexSession) -> Queue:
        """The queues, for the process of this session."""
        return Queue(session, self._settings.forward)

    def instances(self, objects: Sequence[int]) -> dict[int, StoredInstance]:
        """What there is to send of these objects: the shown ones."""
        return by_object(self._engine, objects)

    def study(self, study_id: int) -> list[StoredInstance]:
        """The shown instances of a study, in their order."""
        objects = [row[0] for row in fetch(self._engine, _OF_STUDY, {"study": study_id})]
        shown = by_object(self._engine, objects) if objects else {}
        return [shown[object_id] for object_id in objects if object_id in shown]

    def place_of(self, destination: str) -> Place:
        """What of a destination matters for what is sent there."""
        peer = self._peers.named(destination)
        if peer is None:
            return Place((destination,), None)
        same = tuple(each.ae_title for each in self._peers.listed if _same_place(each, peer))
        return Place(same, None if peer.sees == "province" else peer.facility)

    def _check(self, destination: str) -> None:
        if self._peers.named(destination) is None and not fetch(self._engine, _KNOWN, {"destination": destination}):
            raise NotFound(f"there is no destination {destination}")

    def _state(self, name: str, row: Row[Any] | None) -> QueueState:
        peer = self._peers.named(name)
        if row is None:
            listed = peer is not None and bool(peer.host)
            return QueueState(name, peer.description if peer else "", "idle" if listed else "unlisted")
        return QueueState(
            ae_title=name,
            description=peer.description if peer else "",
            state=_state_of(peer, row),
            waiting=row.waiting,
            later=row.later,
            sending=row.sending,
            gathering=row.gathering,
            failed=row.failed,
            oldest=row.oldest,
            sent_in_10_minutes=row.recent,
            failures=row.failures,
            retry_at=row.retry_at,
            error=row.error,
            failed_at=row.failed_at,
            sent_at=row.sent_at,
        )


def _state_of(peer: Peer | None, row: Row[Any]) -> DestinationState:
    if peer is None or not peer.host:
        return "unlisted"
    if row.paused:
        return "paused"
    if row.failures:
        return "failing"
    if row.sending or row.waiting > row.later:
        return "busy"
    return "waiting" if row.waiting else "idle"


def _same_place(one: Peer, other: Peer) -> bool:
    return one.ae_title == other.ae_title or bool(one.host and (one.host, one.port) == (other.host, other.port))
