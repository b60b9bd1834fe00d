"""Finds new objects of the index and holds the routes against them: `archive.follow` says how none is forgotten.

The cursor moves in the transaction that adds the tasks. Storing costs the same with and without routes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from archive.follow import Follower, Scanned
from archive.index_session import Connection, IndexSession
from archive.routing.rules import Facts, Rule

MOST_AT_ONCE: Final = 500

_FOLLOWER: Final = Follower("route_cursor", MOST_AT_ONCE)
_NEW: Final = """
SELECT stored_object.id, stored_object.instance_id, series.study_id, instance.series_id, facility.code,
       calling_ae_title, instance.sop_class_uid, size, version, current AND state = 'available' AND quarantine = '',
       sop_instance_uid, instance_number, rows, columns, bits_allocated, number_of_frames, transfer_syntax_uid
  FROM stored_object
  JOIN facility ON facility.id = stored_object.facility_id
  JOIN instance ON instance.id = stored_object.instance_id
  JOIN series ON series.id = instance.series_id
  JOIN study ON study.id = series.study_id
 WHERE stored_object.id > %(position)s AND stored_object.id <= %(horizon)s ORDER BY stored_object.id LIMIT %(most)s
"""
_SERIES: Final = """
SELECT series.id, modality, patient.attributes || study.attributes || series.attributes
  FROM series JOIN study ON study.id = series.study_id JOIN patient ON patient.id = study.patient_id
 WHERE series.id = ANY(%s)
"""
# Where other versions of an instance came from, and where they went or are to go.
_BEEN: Final = """
SELECT other.instance_id, other.calling_ae_title
  FROM stored_object AS other WHERE other.instance_id = ANY(%(instances)s)
UNION
SELECT other.instance_id, destination
  FROM stored_object AS other JOIN route_task ON object_id = other.id
 WHERE other.instance_id = ANY(%(instances)s) AND route_task.state IN ('waiting', 'sent')
   AND NOT EXISTS (SELECT 1 FROM stored_object AS new
                    WHERE new.id = ANY(%(objects)s) AND new.instance_id = other.instance_id
                      AND new.calling_ae_title = other.calling_ae_title)
"""
_ADD_TASKS: Final = """
INSERT INTO route_task (destination, object_id, route, priority, as_stored, commitment, due_at)
SELECT given.destination, given.object_id, given.route, given.priority, given.as_stored, given.commitment,
       now() + make_interval(secs => given.delay)
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::smallint[], %s::bool[], %s::bool[], %s::float8[])
       AS given (destination, object_id, route, priority, as_stored, commitment, delay)
ON CONFLICT (object_id, destination) DO UPDATE
   SET priority = least(route_task.priority, EXCLUDED.priority),
       commitment = route_task.commitment OR EXCLUDED.commitment,
       due_at = least(route_task.due_at, EXCLUDED.due_at), state = 'waiting', ended_at = NULL
 WHERE route_task.state IN ('waiting', 'skipped')
"""
_ADD_GROUPS: Final = """
INSERT INTO route_group (destination, route, what, parent_id, due_at)
SELECT given.destination, given.route, given.what, given.parent_id, now() + make_interval(secs => max(given.delay))
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::float8[])
       AS given (destination, route, what, parent_id, delay)
 GROUP BY 1, 2, 3, 4
ON CONFLICT (destination, route, what, parent_id) DO UPDATE SET due_at = EXCLUDED.due_at
"""
_ADD_DESTINATIONS: Final = "INSERT INTO route_destination (ae_title) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"


def begin(session: IndexSession) -> None:
    """Follow the index from now on, unless that goes on already. Call it before the first object can arrive."""
    session.run(_FOLLOWER.begin)


def end(session: IndexSession) -> None:
    """Follow no more: there are no routes. What is in the queues stays there."""
    session.run(lambda connection: connection.execute("DELETE FROM route_cursor").rowcount)


def scan(session: IndexSession, rules: Sequence[Rule]) -> Scanned:
    """Look at the objects that are new, a few hundred at most. Raises `IndexUnavailable`."""

    def work(connection: Connection) -> Scanned:
        with connection.transaction():
            return _step(connection, rules)

    return session.run(work)


def _step(connection: Connection, rules: Sequence[Rule]) -> Scanned:
    def look(position: int, horizon: int) -> tuple[int, int]:
        given = {"position": position, "horizon": horizon, "most": MOST_AT_ONCE}
        rows = connection.execute(_NEW, given).fetchall()
        _apply(connection, rows, rules)
        return len(rows), rows[-1][0] if rows else position

    return _FOLLOWER.step(connection, look)


def _apply(connection: Connection, rows: Sequence[Sequence[Any]], rules: Sequence[Rule]) -> None:
    tasks, groups = [], []
    for facts in _facts(connection, rows):
        for rule in rules:
            route = rule.route
            for destination in rule.destinations(facts):
                what = route.notify or route.what
                if what == "instance":
                    as_stored = route.transcode == "never"
                    task = (
                        destination,
                        facts.object_id,
                        route.name,
                        rule.priority,
                        as_stored,
                        route.commit,
                        route.quiet,
                    )
                    tasks.append(task)
                else:
                    parent = facts.series_id if what == "series" else facts.study_id
                    groups.append((destination, route.name, what, parent, route.quiet))
    # In one order everywhere, and the first rule that wants an object is the one that is named.
    unique = {(task[1], task[0]): task for task in reversed(tasks)}
    add(connection, _ADD_TASKS, [unique[key] for key in sorted(unique)])
    add(connection, _ADD_GROUPS, sorted(set(groups)))


def add(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows, of which the first value is the destination, column by column."""
    if rows:
        connection.execute(_ADD_DESTINATIONS, (sorted({row[0] for row in rows}),))
        connection.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _facts(connection: Connection, rows: Sequence[Sequence[Any]]) -> Iterable[Facts]:
    series = _series(connection, {row[3] for row in rows})
    been = _been(connection, rows)
    for row in rows:
        (object_id, instance_id, study_id, series_id, facility, calling, sop_class, size, _, shown), rest = (
            row[:10],
            row[10:],
        )
        if not shown or series_id not in series:
            continue
        modality, attributes = series[series_id]
        names = (
            "SOPInstanceUID",
            "InstanceNumber",
            "Rows",
            "Columns",
            "BitsAllocated",
            "NumberOfFrames",
            "AvailableTransferSyntaxUID",
        )
        yield Facts(
            object_id=object_id,
            study_id=study_id,
            series_id=series_id,
            facility=facility,
            calling_ae_title=calling,
            sop_class_uid=sop_class,
            modality=modality,
            size=size,
            been=frozenset({calling, *been.get(instance_id, ())}),
            attributes=attributes,
            instance={"SOPClassUID": sop_class, **dict(zip(names, rest, strict=True))},
        )


def _series(connection: Connection, ids: Collection[int]) -> Mapping[int, tuple[str, dict[str, Any]]]:
    found = connection.execute(_SERIES, (sorted(ids),)).fetchall() if ids else []
    return {series_id: (modality, attributes) for series_id, modality, attributes in found}


def _been(connection: Connection, rows: Sequence[Sequence[Any]]) -> dict[int, set[str]]:
    """Where instances of several versions have been.

    A correction comes the way that the first version came, and goes where that went. A copy that was changed on its way
    through other archives comes another way, and goes nowhere that the instance has been: so a ring of archives ends.
    """
    several = [row for row in rows if row[8] > 1]
    found: dict[int, set[str]] = {}
    if several:
        given = {"instances": [row[1] for row in several], "objects": [row[0] for row in several]}
        for instance_id, ae_title in connection.execute(_BEEN, given).fetchall():
            found.setdefault(instance_id, set()).add(ae_title)
    return found
