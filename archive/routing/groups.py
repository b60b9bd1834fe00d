"""Series and studies that objects came for, and what becomes of them when no more come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from archive.index_session import Connection, IndexSession
from archive.routing.rules import PRIORITIES
from archive.routing.scan import add
from config.routes import Route

_DUE_GROUPS: Final = """
DELETE FROM route_group WHERE id IN (
    SELECT id FROM route_group WHERE due_at <= now() ORDER BY due_at LIMIT 20 FOR UPDATE SKIP LOCKED)
RETURNING destination, route, what, parent_id
"""
_SHOWN: Final = """
SELECT stored_object.id FROM stored_object
  JOIN instance ON instance.id = stored_object.instance_id JOIN series ON series.id = instance.series_id
 WHERE {parent}.id = ANY(%(parents)s) AND stored_object.current AND stored_object.state = 'available'
   AND NOT EXISTS (SELECT 1 FROM stored_object AS version
                    WHERE version.instance_id = instance.id AND version.calling_ae_title = ANY(%(same_place)s))
 ORDER BY series.series_number, series.id, instance.instance_number, instance.id
"""
_OF_SERIES: Final = _SHOWN.format(parent="series")
_OF_STUDY: Final = _SHOWN.format(parent="series").replace("series.id = ANY", "series.study_id = ANY")
_PRIORS: Final = """
SELECT prior.id FROM study AS prior JOIN study AS this ON this.patient_id = prior.patient_id
  JOIN facility ON facility.id = prior.facility_id
 WHERE this.id = %(study)s AND prior.id <> this.id AND prior.instance_count > 0
   AND prior.study_date <= coalesce(this.study_date, CURRENT_DATE)
   AND (%(facility)s::text IS NULL OR facility.code = %(facility)s)
 ORDER BY prior.study_date DESC, prior.study_time DESC NULLS LAST, prior.id DESC LIMIT %(most)s
"""
ADD: Final = """
INSERT INTO route_task (destination, object_id, route, priority, as_stored, commitment)
SELECT %(destination)s, object_id, %(route)s, %(priority)s, %(as_stored)s, %(commitment)s
  FROM unnest(%(objects)s::bigint[]) AS given (object_id)
ON CONFLICT (object_id, destination) DO NOTHING
"""
_ADD_NOTICES: Final = """
INSERT INTO route_task (destination, study_id, route, priority)
SELECT given.destination, study.id, given.route, given.priority
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::smallint[]) AS given (destination, study_id, route, priority)
  JOIN study ON study.id = given.study_id
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What of a destination matters for what is sent there."""

    same_place: tuple[str, ...]
    """All AE titles of the application there."""
    facility: str | None
    """The one whose studies it may see; None if all."""


def ripen(session: IndexSession, routes: Sequence[Route], place_of: Callable[[str], Place]) -> int:
    """Turn series and studies that are complete into tasks; give how many there were.

    Parameters
    ----------
    place_of : callable
        What is known of a destination.

    Raises
    ------
    IndexUnavailable
    """
    by_name = {route.name: route for route in routes}

    def work(connection: Connection) -> int:
        with connection.transaction():
            due = connection.execute(_DUE_GROUPS).fetchall()
            for destination, name, what, parent in due:
                # Of a route that is gone, nothing is sent.
                if (route := by_name.get(name)) is not None:
                    _expand(connection, route, what, parent, destination, place_of(destination))
        return len(due)

    return session.run(work)


def _expand(connection: Connection, route: Route, what: str, parent: int, destination: str, place: Place) -> None:
    priority = PRIORITIES[route.priority]
    if what == "availability":
        add(connection, _ADD_NOTICES, [(destination, parent, route.name, priority)])
        return
    parents = [parent]
    if route.priors:
        given = {"study": parent, "facility": place.facility, "most": route.priors}
        parents += [prior for (prior,) in connection.execute(_PRIORS, given).fetchall()]
    for each in parents:
        shown = {"parents": [each], "same_place": list(place.same_place)}
        objects = connection.execute(_OF_SERIES if what == "series" else _OF_STUDY, shown).fetchall()
        connection.execute(
            ADD,
            {
                "destination": destination,
                "objects": [object_id for (object_id,) in objects],
                "route": route.name,
                "priority": priority,
                "as_stored": route.transcode == "never",
                "commitment": route.commit,
            },
        )
