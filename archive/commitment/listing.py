"""Requests of both directions as an operator sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row, text

from archive.database import change, fetch

STATES: Final = ("received", "ready", "delivered", "failed", "waiting", "asked", "answered")

_LIST = text("""
SELECT * FROM (
    SELECT 'in' AS direction, id, ae_title, state, item_count, failed_count, attempts, problem, due_at,
           received_at AS since, closed_at, transaction_uid
      FROM commitment_request
    UNION ALL
    SELECT 'out', id, ae_title, state, item_count, failed_count, attempts, problem, due_at, created_at, closed_at,
           transaction_uid
      FROM commitment_order
) AS listed
 WHERE (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:ae_title AS text) IS NULL OR ae_title = :ae_title)
   AND (CAST(:direction AS text) IS NULL OR direction = :direction)
 ORDER BY since DESC, id DESC LIMIT :limit
""")

_COUNTS = text("""
SELECT 'in' AS direction, state, count(*) AS requests FROM commitment_request GROUP BY state
UNION ALL
SELECT 'out', state, count(*) FROM commitment_order GROUP BY state ORDER BY 1, 2
""")

# By the indexes of what is due: whatever was closed stays out of it.
_BACKLOG = text("""
SELECT 'in' AS direction, count(*) AS open, count(*) FILTER (WHERE attempts > 0) AS failing, min(received_at) AS oldest
  FROM commitment_request WHERE state IN ('received', 'ready')
UNION ALL
SELECT 'out', count(*), count(*) FILTER (WHERE attempts > 0), min(created_at)
  FROM commitment_order WHERE state IN ('waiting', 'asked')
""")

_FAILED_ITEMS = {
    "in": text("""SELECT sop_instance_uid, reason FROM commitment_request_item
                   WHERE request_id = :id AND (reason IS NULL OR reason <> 0) ORDER BY number LIMIT :limit"""),
    "out": text("""SELECT sop_instance_uid, reason FROM commitment_order_item
                    WHERE order_id = :id AND (reason IS NULL OR reason <> 0) ORDER BY sop_instance_uid LIMIT :limit"""),
}

# Looked at, delivered or asked once more from the start of its state; what had failed may be whole by now.
_RETRY = {
    "in": text("""
WITH chosen AS (
    UPDATE commitment_request
       SET state = CASE WHEN failed_count > 0 OR state = 'received' THEN 'received' ELSE 'ready' END,
           due_at = now(), attempts = 0, problem = '', closed_at = NULL, received_at = now(),
           ready_at = now(), lease = NULL, leased_until = NULL
     WHERE id = :id AND (leased_until IS NULL OR leased_until < now())
       AND NOT EXISTS (SELECT 1 FROM commitment_request AS other
                        WHERE other.ae_title = commitment_request.ae_title AND other.id <> commitment_request.id
                          AND other.transaction_uid = commitment_request.transaction_uid
                          AND other.state IN ('received', 'ready'))
    RETURNING id, state
), again AS (
    UPDATE commitment_request_item AS item SET reason = NULL
      FROM chosen WHERE item.request_id = chosen.id AND chosen.state = 'received' AND item.reason <> 0
)
SELECT id FROM chosen
"""),
    "out": text("""
WITH chosen AS (
    UPDATE commitment_order
       SET state = 'waiting', due_at = now(), attempts = greatest(attempts, 1), problem = '', closed_at = NULL,
           created_at = now(), lease = NULL, leased_until = NULL
     WHERE id = :id AND (leased_until IS NULL OR leased_until < now())
    RETURNING id
), again AS (
    UPDATE commitment_order_item AS item SET reason = NULL FROM chosen WHERE item.order_id = chosen.id
)
SELECT id FROM chosen
"""),
}


class Listing:
    """Reads both queues, and sends one request round again. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def requests(
        self, *, state: str | None = None, ae_title: str | None = None, direction: str | None = None, limit: int = 50
    ) -> Sequence[Row[Any]]:
        """The youngest first."""
        wanted = {"state": state, "ae_title": ae_title, "direction": direction, "limit": limit}
        return fetch(self._engine, _LIST, wanted)

    def counts(self) -> Sequence[Row[Any]]:
        """How many there are by direction and state."""
        return fetch(self._engine, _COUNTS)

    def backlog(self) -> Sequence[Row[Any]]:
        """By direction: how many are open, how many of these were tried in vain, and since when the oldest waits."""
        return fetch(self._engine, _BACKLOG)

    def not_committed(self, direction: str, number: int, limit: int = 1000) -> Sequence[Row[Any]]:
        """The instances of a request that are not committed, with the reason."""
        return fetch(self._engine, _FAILED_ITEMS[direction], {"id": number, "limit": limit})

    def retry(self, direction: str, number: int) -> bool:
        """Have a request dealt with again; False if there is none, or somebody works on it now."""
        return bool(change(self._engine, _RETRY[direction], {"id": number}))
