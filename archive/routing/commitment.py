"""Storage commitment of what was sent on, for routes that ask for it (PS3.4 J.3.2).

When a destination has got nothing more for a moment, it is asked about all that it took. What it does not commit to is
sent again, as often as an object that it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archive.commitment.commitments import Commitments
from archive.commitment.records import COMMITTED, PROCESSING_FAILURE, Reference, reason_text
from archive.index_session import Connection, IndexSession

SETTLED: Final = 30.0
"""Seconds without anything sent after which a destination is asked."""
MOST_AT_ONCE: Final = 10_000

_DESTINATIONS: Final = """
SELECT DISTINCT destination FROM route_task JOIN route_destination ON ae_title = destination
 WHERE route_task.state = 'sent' AND commitment AND order_id IS NULL AND sent_at < now() - make_interval(secs => %s)
"""
_SENT: Final = """
SELECT route_task.id, sop_class_uid, sop_instance_uid
  FROM route_task JOIN stored_object ON stored_object.id = object_id JOIN instance ON instance.id = instance_id
 WHERE destination = %s AND route_task.state = 'sent' AND commitment AND order_id IS NULL
 ORDER BY route_task.id LIMIT %s FOR UPDATE OF route_task SKIP LOCKED
"""
_ORDERED: Final = "UPDATE route_task SET order_id = %s WHERE id = ANY(%s)"
_OPEN: Final = "SELECT DISTINCT order_id FROM route_task WHERE order_id IS NOT NULL ORDER BY 1 LIMIT 100"
_JUDGED: Final = """
UPDATE route_task
   SET order_id = NULL, commitment = given.reason <> 0,
       state = CASE WHEN given.reason = 0 THEN 'sent' WHEN refusals + 1 >= %(tries)s THEN 'failed' ELSE 'waiting' END,
       refusals = refusals + CASE WHEN given.reason = 0 THEN 0 ELSE 1 END,
       error = given.error, due_at = now(), ended_at = CASE WHEN given.reason = 0 THEN ended_at ELSE now() END
  FROM unnest(%(instances)s::text[], %(reasons)s::int[], %(errors)s::text[]) AS given (uid, reason, error),
       stored_object JOIN instance ON instance.id = instance_id
 WHERE route_task.order_id = %(order)s AND stored_object.id = object_id AND sop_instance_uid = given.uid
"""
# Never answered, or forgotten with its order: it was taken with Success, and that is all there is to know.
_UNANSWERED: Final = """
UPDATE route_task SET order_id = NULL, commitment = false, error = %s WHERE order_id = ANY(%s)
"""


def follow_commitment(session: IndexSession, commitments: Commitments, tries: int) -> None:
    """Ask destinations about what they took, and see to their answers. Raises `IndexUnavailable`."""
    for (destination,) in _fetch(session, _DESTINATIONS, (SETTLED,)):
        _place(session, commitments, destination)
    orders = [order for (order,) in _fetch(session, _OPEN, ())]
    found = {outcome.id: outcome for outcome in commitments.orders.outcomes(orders)} if orders else {}
    for order in orders:
        outcome = found.get(order)
        if outcome is None or outcome.state == "failed":
            given = ("storage commitment was asked for and never answered", [order])
            session.run(lambda connection, given=given: connection.execute(_UNANSWERED, given).rowcount)  # type: ignore[misc]
        elif outcome.state == "answered":
            _judge(session, order, outcome.results, tries)


def _place(session: IndexSession, commitments: Commitments, destination: str) -> None:
    """Order commitment of what a destination took. A crash in between has it ordered twice, which does no harm."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            rows = connection.execute(_SENT, (destination, MOST_AT_ONCE)).fetchall()
            if rows:
                references = [Reference(sop_class, instance) for _, sop_class, instance in rows]
                # Not more than one order takes.
                (order,) = commitments.orders.place(destination, references)
                connection.execute(_ORDERED, (order, [row[0] for row in rows]))

    session.run(work)


def _judge(session: IndexSession, order: int, results: Mapping[str, int | None], tries: int) -> None:
    reasons = {uid: reason if reason is not None else PROCESSING_FAILURE for uid, reason in results.items()}
    given = {
        "order": order,
        "instances": list(reasons),
        "reasons": list(reasons.values()),
        "errors": ["" if each == COMMITTED else f"not committed: {reason_text(each)}" for each in reasons.values()],
        "tries": tries,
    }
    session.run(lambda connection: connection.execute(_JUDGED, given).rowcount)


def _fetch(session: IndexSession, statement: str, given: tuple[object, ...]) -> list[Any]:
    return session.run(lambda connection: connection.execute(statement, given).fetchall())
