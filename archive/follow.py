"""Follows the rows that are added to ``stored_object``, in the order of their ids, without touching who adds them.

An object must not be forgotten when the process that stored it dies right after the commit, and storing must not become
slower. So nothing is added to the transaction that stores: a follower looks at the ids, and how far it has come is
itself a row, moved in the transaction that does something about the new objects.

Ids are given out before the commit, so a row with a lower id can appear after one with a higher. ``CREATE INDEX
CONCURRENTLY`` has the same problem and the same answer: note the last id that was given out, then who holds the lock
that every ``INSERT`` takes before it draws an id; when those transactions have ended, all rows up to that id are there
or will never be. The order matters, so these are two statements. It needs no clock and holds up no writer.

One process follows at a time; another takes over with the next step if that one dies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from archive.index_session import Connection

_SEQUENCE: Final = """
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM stored_object_id_seq
"""
# Exactly this mode: vacuum holds others for hours, and readers a weaker one.
_WRITERS: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'stored_object'::regclass AND mode = 'RowExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND pid IS DISTINCT FROM pg_backend_pid()
"""

PATIENTS_OF_OBJECTS: Final = """
SELECT count(*), coalesce(max(id), %(position)s), array_agg(DISTINCT patient_id) FILTER (WHERE quarantine = '')
  FROM (SELECT stored_object.id, study.patient_id, study.quarantine
          FROM stored_object JOIN instance ON instance.id = stored_object.instance_id
          JOIN series ON series.id = instance.series_id JOIN study ON study.id = series.study_id
         WHERE stored_object.id > %(position)s AND stored_object.id <= %(horizon)s
         ORDER BY stored_object.id LIMIT %(most)s) AS new
"""
"""Whose the next objects are; how many there were, and the id of the last. For `Look`."""

Look = Callable[[int, int], tuple[int, int]]
"""Does something about the objects behind the first id and up to the second, or about the first of them; gives how many
it looked at and the id of the last."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a step did."""

    objects: int = 0
    """How many objects were looked at."""
    behind: bool = False
    """There is more to look at now, or somebody may still commit what is to be looked at."""


class Follower:
    """Follows with the cursor in this table: one row with ``position``, ``horizon`` and ``holders``.

    `most` is how many objects a step looks at.
    """

    def __init__(
        self,
        cursor: Literal["route_cursor", "feed_cursor", "care_cursor", "audit_cursor", "identity_cursor"],
        most: int,
    ) -> None:
        self._most = most
        self._cursor: Final = f"SELECT position, horizon, holders FROM {cursor} FOR UPDATE SKIP LOCKED"  # noqa: S608
        self._move: Final = f"UPDATE {cursor} SET position = %s, horizon = %s, holders = %s"  # noqa: S608
        self._begin: Final = (
            f"INSERT INTO {cursor} (id, position, horizon) SELECT 1, at, at FROM ({_SEQUENCE}) AS seq (at) "  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )

    def begin(self, connection: Connection) -> None:
        """Follow from now on, unless that goes on already."""
        connection.execute(self._begin)

    def step(self, connection: Connection, look: Look) -> Scanned:
        """Look at what is new, in the transaction of the caller."""
        row = connection.execute(self._cursor).fetchone()
        if row is None:
            return Scanned()  # another process is at it, or nobody is to
        position, horizon, holders = row
        if position >= horizon:
            (horizon,) = connection.execute(_SEQUENCE).fetchone() or (0,)
            if horizon <= position:
                return Scanned()
            holders = _writers(connection)
        if set(holders) & set(_writers(connection)):
            connection.execute(self._move, (position, horizon, holders))
            return Scanned(behind=True)
        count, last = look(position, horizon)
        whole = count < self._most
        connection.execute(self._move, (horizon if whole else last, horizon, []))
        return Scanned(count, behind=not whole)


def _writers(connection: Connection) -> list[str]:
    return [str(holder) for (holder,) in connection.execute(_WRITERS).fetchall()]
