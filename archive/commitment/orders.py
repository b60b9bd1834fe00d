"""The queue of requests that we make to other archives: placed, asked, answered; durable at every step (PS3.4 J.3).

A Transaction UID is in the database before it is on the wire, so that an answer finds its order whatever happens to
the process that asked.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final

from sqlalchemy import Engine, Row, text

from archive.commitment.records import COMMITTED, PROCESSING_FAILURE, Order, Outcome, Reference, Result
from archive.commitment.requests import LEASE
from archive.database import change, fetch

MOST_IN_ONE_ORDER: Final = 10_000
"""Instances in one N-ACTION of ours; not every archive takes more."""

_PLACE = text("""
WITH new AS (
    INSERT INTO commitment_order (ae_title, transaction_uid, item_count)
    VALUES (:ae_title, :transaction_uid, cardinality(CAST(:instances AS text[]))) RETURNING id
), items AS (
    INSERT INTO commitment_order_item (order_id, sop_class_uid, sop_instance_uid)
    SELECT new.id, item.sop_class_uid, item.sop_instance_uid
      FROM new, unnest(CAST(:classes AS text[]), CAST(:instances AS text[])) AS item (sop_class_uid, sop_instance_uid)
)
SELECT id FROM new
""")

# Asked before, with or without an answer: the next time it is another transaction, and the old one may still answer.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, state = 'asked' OR attempts > 0 AS again FROM commitment_order
     WHERE state IN ('waiting', 'asked') AND {due} AND (leased_until IS NULL OR leased_until < now())
     ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE commitment_order AS placed
   SET lease = :lease, leased_until = now() + make_interval(secs => :seconds), state = 'waiting',
       attempts = attempts + 1,
       earlier_uids = CASE WHEN again THEN earlier_uids || transaction_uid ELSE earlier_uids END,
       transaction_uid = CASE WHEN again THEN :transaction_uid ELSE transaction_uid END
  FROM due WHERE placed.id = due.id
RETURNING placed.id, lease, ae_title, transaction_uid, attempts, created_at
"""
_CLAIM_NEXT = text(_CLAIM.format(due="due_at <= now()"))
_CLAIM_THIS = text(_CLAIM.format(due="id = :id"))

_REFERENCES = text("""
SELECT sop_class_uid, sop_instance_uid FROM commitment_order_item WHERE order_id = :id ORDER BY sop_instance_uid
""")

_ASKED = text("""
UPDATE commitment_order
   SET state = 'asked', problem = '', lease = NULL, leased_until = NULL,
       due_at = now() + make_interval(secs => :seconds)
 WHERE id = :id AND lease = :lease AND state = 'waiting'
""")

_PUT_OFF = text("""
UPDATE commitment_order
   SET problem = :problem, lease = NULL, leased_until = NULL, due_at = now() + make_interval(secs => :seconds)
 WHERE id = :id AND lease = :lease AND state = 'waiting'
""")

_FIND = text("""
SELECT id FROM commitment_order WHERE transaction_uid = :transaction_uid AND ae_title = :ae_title
UNION ALL
SELECT id FROM commitment_order
 WHERE earlier_uids @> ARRAY[CAST(:transaction_uid AS text) COLLATE "C"] AND ae_title = :ae_title
""")

# An instance with two results that contradict each other has failed; one without any was not committed either.
_ANSWER = text("""
WITH given AS (
    SELECT sop_class_uid, sop_instance_uid, max(reason) AS reason
      FROM unnest(CAST(:classes AS text[]), CAST(:instances AS text[]), CAST(:reasons AS integer[]))
           AS result (sop_class_uid, sop_instance_uid, reason)
     GROUP BY 1, 2
), outcome AS (
    SELECT item.sop_instance_uid, coalesce(given.reason, :unmentioned) AS reason
      FROM commitment_order_item AS item LEFT JOIN given USING (sop_instance_uid, sop_class_uid)
     WHERE item.order_id = :id
), answered AS (
    UPDATE commitment_order
       SET state = 'answered', problem = '', closed_at = now(), lease = NULL, leased_until = NULL,
           failed_count = (SELECT count(*) FROM outcome WHERE reason <> 0)
     WHERE id = :id AND state IN ('waiting', 'asked')
    RETURNING id, failed_count
), items AS (
    UPDATE commitment_order_item AS item SET reason = outcome.reason
      FROM answered, outcome
     WHERE item.order_id = answered.id AND item.sop_instance_uid = outcome.sop_instance_uid
)
SELECT failed_count FROM answered
""")

_OUTCOME = text("""
SELECT placed.id, ae_title, state, problem, sop_instance_uid, reason
  FROM commitment_order AS placed JOIN commitment_order_item AS item ON item.order_id = placed.id
 WHERE placed.id = ANY(:ids) ORDER BY placed.id, sop_instance_uid
""")

_IS_OVER = text("SELECT state IN ('answered', 'failed') AS over FROM commitment_order WHERE id = :id")

_EXPIRE = text("""
UPDATE commitment_order SET state = 'failed', closed_at = now(), lease = NULL, leased_until = NULL
 WHERE state IN ('waiting', 'asked') AND created_at < now() - make_interval(secs => :age)
   AND (leased_until IS NULL OR leased_until < now())
RETURNING id, ae_title, problem
""")

_FORGET = text("""
DELETE FROM commitment_order
 WHERE id IN (SELECT id FROM commitment_order
               WHERE state IN ('answered', 'failed') AND closed_at < now() - make_interval(secs => :age) LIMIT 100)
RETURNING id
""")


class Answered(Enum):
    """What an answer of another archive was."""

    TAKEN = "taken"
    KNOWN = "known"
    """The order has its answer already: this one was sent twice, or is of an earlier attempt."""
    UNKNOWN = "unknown"
    """We never asked this, or not this peer."""


class Orders:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def place(self, ae_title: str, references: Iterable[Reference]) -> list[int]:
        """Have a peer asked to commit these instances; give the numbers of the orders, one for each 10,000.

        Returns when they are durable. A node sends them; `outcomes` tells how they stand.
        """
        # A peer has one object under a SOP Instance UID.
        wanted = list({reference.sop_instance_uid: reference for reference in references}.values())
        placed = []
        for start in range(0, len(wanted), MOST_IN_ONE_ORDER):
            part = wanted[start : start + MOST_IN_ONE_ORDER]
            parameters = {
                "ae_title": ae_title,
                "transaction_uid": _new_uid(),
                "classes": [reference.sop_class_uid for reference in part],
                "instances": [reference.sop_instance_uid for reference in part],
            }
            placed.append(int(change(self._engine, _PLACE, parameters)[0].id))
        return placed

    def outcomes(self, ids: Sequence[int]) -> list[Outcome]:
        """How orders stand, without those that were deleted since."""
        rows = fetch(self._engine, _OUTCOME, {"ids": list(ids)})
        found: dict[int, Outcome] = {}
        for row in rows:
            outcome = found.setdefault(row.id, Outcome(row.id, row.ae_title, row.state, row.problem, {}))
            outcome.results[row.sop_instance_uid] = row.reason
        return list(found.values())

    def claim(self, order_id: int | None = None) -> Order | None:
        """The order to be sent next, or this one if nobody else is at it and it has no answer."""
        parameters = {"lease": secrets.randbits(62), "seconds": LEASE, "transaction_uid": _new_uid()}
        if order_id is None:
            rows = change(self._engine, _CLAIM_NEXT, parameters)
        else:
            rows = change(self._engine, _CLAIM_THIS, {**parameters, "id": order_id})
        return Order(**rows[0]._mapping) if rows else None

    def references(self, order: Order) -> list[Reference]:
        """What it is about."""
        rows = fetch(self._engine, _REFERENCES, {"id": order.id})
        return [Reference(row.sop_class_uid, row.sop_instance_uid) for row in rows]

    def asked(self, order: Order, answer_timeout: float) -> None:
        """The peer has taken the request; it is asked again if it does not answer within these seconds."""
        change(self._engine, _ASKED, {"id": order.id, "lease": order.lease, "seconds": answer_timeout})

    def put_off(self, order: Order, seconds: float, problem: str) -> None:
        """The peer did not take the request; it is due again after this time."""
        parameters = {"id": order.id, "lease": order.lease, "seconds": seconds, "problem": problem}
        change(self._engine, _PUT_OFF, parameters)

    def answer(self, ae_title: str, transaction_uid: str, results: Sequence[Result]) -> Answered:
        """Keep the answer of a peer. An instance that it does not mention counts as failed."""
        rows = fetch(self._engine, _FIND, {"ae_title": ae_title, "transaction_uid": transaction_uid})
        if not rows:
            return Answered.UNKNOWN
        parameters = {
            "id": rows[0].id,
            "classes": [result.sop_class_uid for result in results],
            "instances": [result.sop_instance_uid for result in results],
            "reasons": [result.reason for result in results],
            "unmentioned": PROCESSING_FAILURE,
        }
        return Answered.TAKEN if change(self._engine, _ANSWER, parameters) else Answered.KNOWN

    def is_over(self, order: Order) -> bool:
        """Whether it has its answer, or was given up."""
        rows = fetch(self._engine, _IS_OVER, {"id": order.id})
        return not rows or bool(rows[0].over)

    def expire(self, age: float) -> Sequence[Row[Any]]:
        """Give up orders older than `age` seconds; give their id, ae_title and problem."""
        return change(self._engine, _EXPIRE, {"age": age})

    def forget(self, age: float) -> int:
        """Delete orders that ended longer ago than `age` seconds, a hundred at most; give how many that were."""
        return len(change(self._engine, _FORGET, {"age": age}))


def _new_uid() -> str:
    """A UID made of a UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


assert COMMITTED == 0, "the statements above say so"
