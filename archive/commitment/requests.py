"""The queue of requests that peers make: taken in, looked at, answered; durable at every step (PS3.4 J.3).

Each method is one statement, so one transaction. A process that works on a request holds a lease on it; when the
process dies, the lease ends by itself and another goes on where it stopped.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row, text

from archive.commitment.records import Claimed, Reference, Requester, Result, content_digest
from archive.database import change, fetch
from archive.errors import IndexUnavailable
from archive.records import Scope
from archive.rejection.causes import View

LEASE: Final = 120.0
"""Seconds that a lease lasts; whoever works longer renews it."""
HEAD_START: Final = 15.0
"""Seconds for which a request is left to the process that has the association with the peer."""
MOST_DELIVERED_AT_ONCE: Final = 16
_ATTEMPTS: Final = 3

_FREE: Final = "due_at <= now() AND (leased_until IS NULL OR leased_until < now())"
_CLAIMED: Final = """request.id, request.lease, transaction_uid, ae_title, called_ae_title, address, facility, scope,
    view, duplicate, attempts, received_at, failed_count"""

_ACCEPT = text("""
WITH open AS (
    SELECT content FROM commitment_request
     WHERE ae_title = :ae_title AND transaction_uid = :transaction_uid AND state IN ('received', 'ready')
), new AS (
    INSERT INTO commitment_request
           (transaction_uid, ae_title, called_ae_title, address, facility, scope, view, content, duplicate, home,
            item_count)
    SELECT :transaction_uid, :ae_title, :called_ae_title, :address, :facility, CAST(:scope AS text[]), :view, :content,
           EXISTS (SELECT 1 FROM open), :home, cardinality(CAST(:instances AS text[]))
     WHERE NOT EXISTS (SELECT 1 FROM open WHERE content = :content)
    ON CONFLICT (ae_title, transaction_uid) WHERE state IN ('received', 'ready') AND NOT duplicate DO NOTHING
    RETURNING id
), items AS (
    INSERT INTO commitment_request_item (request_id, number, sop_class_uid, sop_instance_uid)
    SELECT new.id, item.number, item.sop_class_uid, item.sop_instance_uid
      FROM new, unnest(CAST(:classes AS text[]), CAST(:instances AS text[]))
                WITH ORDINALITY AS item (sop_class_uid, sop_instance_uid, number)
)
SELECT (SELECT id FROM new) AS new, EXISTS (SELECT 1 FROM open WHERE content = :content) AS known
""")

_AGAIN = text("""
UPDATE commitment_request SET home = :home
 WHERE ae_title = :ae_title AND transaction_uid = :transaction_uid AND content = :content
   AND state IN ('received', 'ready')
RETURNING id
""")

# Whoever looks at the objects of a dead process's request is the first to deliver the result as well.
_CLAIM_TO_CHECK = text(f"""
UPDATE commitment_request AS request
   SET home = :home, lease = :lease, leased_until = now() + make_interval(secs => {LEASE})
 WHERE id = (SELECT id FROM commitment_request
              WHERE state = 'received' AND {_FREE}
                AND (home = :home OR received_at < now() - make_interval(secs => {HEAD_START}))
              ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {_CLAIMED}
""")  # noqa: S608  put together from constants

# All that is due for one peer, which nobody else is talking to now: events come in order, on one association. What is
# picked must say again that it is free: PostgreSQL looks at that once more when it locks the row.
_CLAIM_TO_DELIVER = text(f"""
WITH due AS (
    SELECT id, ae_title, due_at, received_at FROM commitment_request
     WHERE state = 'ready' AND {_FREE}
       AND (home = :home OR ready_at < now() - make_interval(secs => {HEAD_START}))
), peer AS (
    SELECT ae_title FROM due
     WHERE NOT EXISTS (SELECT 1 FROM commitment_request AS other
                        WHERE other.ae_title = due.ae_title AND other.state = 'ready' AND other.leased_until > now())
     ORDER BY due_at LIMIT 1
), picked AS MATERIALIZED (
    SELECT id FROM commitment_request
     WHERE id IN (SELECT id FROM due WHERE ae_title = (SELECT ae_title FROM peer)) AND state = 'ready' AND {_FREE}
     ORDER BY received_at LIMIT {MOST_DELIVERED_AT_ONCE} FOR UPDATE SKIP LOCKED
)
UPDATE commitment_request AS request SET lease = :lease, leased_until = now() + make_interval(secs => {LEASE})
  FROM picked WHERE request.id = picked.id
RETURNING {_CLAIMED}
""")  # noqa: S608  put together from constants

_HELD: Final = "WHERE id = :id AND lease = :lease"

_RENEW = text(
    f"UPDATE commitment_request SET leased_until = now() + make_interval(secs => {LEASE}) {_HELD} RETURNING id"  # noqa: S608
)

_ITEMS = text("""
SELECT number, sop_class_uid, sop_instance_uid FROM commitment_request_item
 WHERE request_id = :id AND reason IS NULL AND number > :after ORDER BY number LIMIT :limit
""")

_RECORD = text(f"""
WITH held AS (
    UPDATE commitment_request SET leased_until = now() + make_interval(secs => {LEASE}) {_HELD} RETURNING id
)
UPDATE commitment_request_item AS item SET reason = found.reason
  FROM held, unnest(CAST(:numbers AS integer[]), CAST(:reasons AS integer[])) AS found (number, reason)
 WHERE item.request_id = held.id AND item.number = found.number
RETURNING item.number
""")  # noqa: S608  put together from constants

_REFUSE_REST = text("UPDATE commitment_request_item SET reason = :reason WHERE request_id = :id AND reason IS NULL")

_CHECKED = text(f"""
UPDATE commitment_request
   SET state = 'ready', ready_at = now(), due_at = now(), attempts = 0, problem = '', lease = NULL, leased_until = NULL,
       failed_count = (SELECT count(*) FROM commitment_request_item WHERE request_id = :id AND reason <> 0)
 {_HELD} AND NOT EXISTS (SELECT 1 FROM commitment_request_item WHERE request_id = :id AND reason IS NULL)
RETURNING failed_count
""")  # noqa: S608  put together from constants

_LET_GO = text(f"""
UPDATE commitment_request
   SET lease = NULL, leased_until = NULL, due_at = now() + make_interval(secs => :seconds), problem = :problem,
       attempts = attempts + :tried
 {_HELD}
""")  # noqa: S608  put together from constants

_DELIVERED = text(f"""
UPDATE commitment_request
   SET state = 'delivered', closed_at = now(), problem = '', lease = NULL, leased_until = NULL {_HELD} RETURNING id
""")  # noqa: S608  put together from constants

_RESULTS = text("""
SELECT sop_class_uid, sop_instance_uid, reason FROM commitment_request_item WHERE request_id = :id ORDER BY number
""")

_UNDELIVERED = text("SELECT EXISTS (SELECT 1 FROM commitment_request WHERE ae_title = :ae_title AND state = 'ready')")

_ROUSE = text("""
UPDATE commitment_request SET due_at = now(), home = :home
 WHERE ae_title = :ae_title AND state = 'ready' AND (leased_until IS NULL OR leased_until < now())
""")

_EXPIRE = text("""
UPDATE commitment_request SET state = 'failed', closed_at = now(), lease = NULL, leased_until = NULL
 WHERE state = 'ready' AND received_at < now() - make_interval(secs => :age)
   AND (leased_until IS NULL OR leased_until < now())
RETURNING id, ae_title, transaction_uid, problem
""")

_FORGET = text("""
DELETE FROM commitment_request
 WHERE id IN (SELECT id FROM commitment_request
               WHERE state IN ('delivered', 'failed') AND closed_at < now() - make_interval(secs => :age) LIMIT 100)
RETURNING id
""")


class LeaseLost(Exception):
    """Another process took the request over, because this one was silent for longer than the lease."""


class Requests:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.home = secrets.randbits(62)
        """Names this process."""

    def accept(self, requester: Requester, transaction_uid: str, references: Sequence[Reference]) -> int:
        """Keep a request; give its number. When this returns, it will be answered whatever happens to the process.

        The same request made again while it is open is the same request. Another one under a Transaction UID that is
        in use is kept as a duplicate, to be answered with failures (PS3.3 C.14.1.1).
        """
        wanted = list(dict.fromkeys(references))
        facilities = requester.scope.facilities
        parameters = {
            "transaction_uid": transaction_uid,
            "ae_title": requester.ae_title,
            "called_ae_title": requester.called_ae_title,
            "address": requester.address,
            "facility": requester.facility,
            "scope": None if facilities is None else sorted(facilities),
            "view": requester.scope.view.value,
            "content": content_digest(wanted),
            "home": self.home,
            "classes": [reference.sop_class_uid for reference in wanted],
            "instances": [reference.sop_instance_uid for reference in wanted],
        }
        for _ in range(_ATTEMPTS):
            # The same request is the same request also when it was kept, and the news of that was lost.
            row = change(self._engine, _ACCEPT, parameters, repeatable=True)[0]
            if row.new is not None:
                return int(row.new)
            # Neither: another association made the same request at this moment, which is seen the next time.
            if row.known and (rows := change(self._engine, _AGAIN, parameters)):
                return int(rows[0].id)
        raise IndexUnavailable("the request could not be kept; ask again")

    def claim_to_check(self) -> Claimed | None:
        """The request whose objects are to be looked at next."""
        rows = change(self._engine, _CLAIM_TO_CHECK, self._claim())
        return _claimed(rows[0]) if rows else None

    def claim_to_deliver(self) -> list[Claimed]:
        """The results that are due for one peer, oldest request first."""
        rows = change(self._engine, _CLAIM_TO_DELIVER, self._claim())
        return sorted((_claimed(row) for row in rows), key=lambda claimed: claimed.received_at)

    def renew(self, claimed: Claimed) -> None:
        """Hold the lease for longer. Raises `LeaseLost`."""
        if not change(self._engine, _RENEW, _held(claimed)):
            raise LeaseLost

    def unchecked(self, claimed: Claimed, after: int, limit: int) -> list[tuple[int, Reference]]:
        """The next items that have no result yet, with their numbers."""
        rows = fetch(self._engine, _ITEMS, {"id": claimed.id, "after": after, "limit": limit})
        return [(row.number, Reference(row.sop_class_uid, row.sop_instance_uid)) for row in rows]

    def record(self, claimed: Claimed, reasons: dict[int, int]) -> None:
        """Keep the results of items by their numbers. Raises `LeaseLost`."""
        parameters = {**_held(claimed), "numbers": list(reasons), "reasons": list(reasons.values())}
        if reasons and not change(self._engine, _RECORD, parameters):
            raise LeaseLost

    def refuse_rest(self, claimed: Claimed, reason: int) -> None:
        """Give all items that have no result this one. Raises `LeaseLost`."""
        self.renew(claimed)
        change(self._engine, _REFUSE_REST, {"id": claimed.id, "reason": reason})

    def checked(self, claimed: Claimed) -> int:
        """Every item has its result, which can go to the peer now; give how many failed. Raises `LeaseLost`."""
        rows = change(self._engine, _CHECKED, _held(claimed))
        if not rows:
            raise LeaseLost
        return int(rows[0].failed_count)

    def let_go(self, claimed: Claimed, seconds: float = 0.0, problem: str = "") -> None:
        """End the lease; the request is due again after this time. A problem makes it a failed attempt."""
        more = {"seconds": seconds, "problem": problem, "tried": int(bool(problem))}
        change(self._engine, _LET_GO, {**_held(claimed), **more})

    def delivered(self, claimed: Claimed) -> None:
        """The peer has confirmed the result."""
        change(self._engine, _DELIVERED, _held(claimed))

    def results(self, claimed: Claimed) -> list[Result]:
        """The result of every item, in the order of the request."""
        rows = fetch(self._engine, _RESULTS, {"id": claimed.id})
        return [Result(row.sop_class_uid, row.sop_instance_uid, row.reason) for row in rows]

    def has_undelivered(self, ae_title: str) -> bool:
        """Whether a result waits for this peer."""
        return bool(fetch(self._engine, _UNDELIVERED, {"ae_title": ae_title})[0][0])

    def rouse(self, ae_title: str) -> None:
        """What waits for this peer is due now, and this process is the one to deliver it."""
        change(self._engine, _ROUSE, {"ae_title": ae_title, "home": self.home})

    def expire(self, age: float) -> Sequence[Row[Any]]:
        """Give up results older than `age` seconds; give their id, ae_title, transaction_uid and problem."""
        return change(self._engine, _EXPIRE, {"age": age})

    def forget(self, age: float) -> int:
        """Delete requests that ended longer ago than `age` seconds, a hundred at most; give how many that were."""
        return len(change(self._engine, _FORGET, {"age": age}))

    def _claim(self) -> dict[str, object]:
        return {"lease": secrets.randbits(62), "home": self.home}


def _held(claimed: Claimed) -> dict[str, object]:
    return {"id": claimed.id, "lease": claimed.lease}


def _claimed(row: Row[Any]) -> Claimed:
    scope = Scope(None if row.scope is None else frozenset(row.scope), View(row.view))
    return Claimed(
        id=row.id,
        lease=row.lease,
        transaction_uid=row.transaction_uid,
        requester=Requester(row.ae_title, row.called_ae_title, row.address, row.facility, scope),
        duplicate=row.duplicate,
        attempts=row.attempts,
        received_at=row.received_at,
        failed_count=row.failed_count,
    )
