"""Decides on each item of a request whether the archive is responsible for it (PS3.4 J.3.3, PS3.3 C.14.1.1).

Yes is said only after the bytes in the store were read and their SHA-256 compared with what arrived. Reading is held
back to a rate, so that it does not hold up the objects that arrive meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Row, Select, and_, bindparam, func, or_, select, text

from archive.access import visible, visible_instance
from archive.commitment.models import AlsoSent
from archive.commitment.records import (
    CLASS_INSTANCE_CONFLICT,
    COMMITTED,
    DUPLICATE_TRANSACTION_UID,
    NO_SUCH_OBJECT_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SOP_CLASS_NOT_SUPPORTED,
    Claimed,
    Reference,
    Requester,
)
from archive.commitment.requests import LEASE, Requests
from archive.database import change
from archive.models import Facility, Instance, Series, StoredObject, Study
from archive.reading import Reader
from archive.records import Scope
from archive.rejection.causes import View
from archive.standard.uids import is_storage_sop_class
from archive.wholeness import SET_STATE, Kept, State, log_change, state_in_store
from config.peers import UNKNOWN_FACILITY
from storage.base import ObjectStore

PAGE: Final = 200
TURN: Final = 10.0
"""Seconds after which a long request lets others go first."""
PATIENCE: Final = timedelta(hours=6)
"""For how long a store that does not answer is asked again, before the peer is told so."""
_REASONS: Final[dict[State, int]] = {
    "available": COMMITTED,
    "missing": NO_SUCH_OBJECT_INSTANCE,
    "corrupt": PROCESSING_FAILURE,
}
_SET_STATE = text(SET_STATE.replace("%(", ":").replace(")s", ""))


class Stopped(Exception):
    """The process stops; what is not done yet is done by the next."""


def back_off(attempts: int, first: float = 15.0, longest: float = 1800.0) -> float:
    """Seconds until the next attempt after this many failed: doubled each time, up to half an hour."""
    return min(first * 2.0 ** min(attempts, 20), longest)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stored version that an item may mean."""

    sop_class_uid: str
    kept: Kept


class Checker:
    """Looks at the objects of claimed requests. One thread of a process uses it."""

    def __init__(
        self, engine: Engine, store: ObjectStore, requests: Requests, read_rate: float, stopping: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._reader = Reader(engine)
        self._store = store
        self._requests = requests
        self._read_rate = read_rate
        self._stopping = stopping
        self._wait: Callable[[float], object] = threading.Event().wait
        self._free_at = 0.0
        self._renew_at = 0.0

    def check(self, claimed: Claimed) -> int | None:
        """Work on a request until it is done, or others are to have a turn; give how many failed if it is done.

        Raises `LeaseLost`, `Stopped`, `IndexUnavailable`; results found by then are kept.
        """
        if claimed.duplicate:
            self._requests.refuse_rest(claimed, DUPLICATE_TRANSACTION_UID)
        turn_ends = time.monotonic() + TURN
        undecided = after = 0
        while page := self._requests.unchecked(claimed, after, PAGE):
            reasons = self._page(claimed, page)
            undecided += len(page) - len(reasons)
            after = page[-1][0]
            if time.monotonic() > turn_ends:
                self._requests.let_go(claimed)
                return None
        if undecided and datetime.now(UTC) - claimed.received_at < PATIENCE:
            problem = f"the object store did not answer for {undecided} objects"
            self._requests.let_go(claimed, back_off(claimed.attempts), problem)
            return None
        if undecided:
            self._requests.refuse_rest(claimed, RESOURCE_LIMITATION)
        return self._requests.checked(claimed)

    def _page(self, claimed: Claimed, page: Sequence[tuple[int, Reference]]) -> dict[int, int]:
        """Reasons by number of those items that can be decided, recorded."""
        candidates = self._candidates(claimed.requester, {reference.sop_instance_uid for _, reference in page})
        reasons: dict[int, int] = {}
        recorded = time.monotonic()
        for number, reference in page:
            reason = self._reason(claimed, reference, candidates.get(reference.sop_instance_uid, ()))
            if reason is not None:
                reasons[number] = reason
            if time.monotonic() - recorded > TURN:
                # Large objects: what was read need not be read again after a crash.
                self._requests.record(claimed, reasons)
                recorded = time.monotonic()
        self._requests.record(claimed, reasons)
        return reasons

    def _reason(self, claimed: Claimed, reference: Reference, candidates: Sequence[_Candidate]) -> int | None:
        if not is_storage_sop_class(reference.sop_class_uid):
            return SOP_CLASS_NOT_SUPPORTED
        if not candidates:
            return NO_SUCH_OBJECT_INSTANCE
        of_class = [each.kept for each in candidates if each.sop_class_uid == reference.sop_class_uid]
        if not of_class:
            return CLASS_INSTANCE_CONFLICT
        # Copies under several series: the peer may mean any of them, so each must be whole.
        for kept in of_class:
            state = state_in_store(self._store, kept, content=True, pace=lambda count: self._pace(claimed, count))
            if state is None:
                return None
            self._note(kept, state)
            if state != "available":
                return _REASONS[state]
        return COMMITTED

    def _note(self, kept: Kept, state: State) -> None:
        if state != kept.state:
            log_change(kept, state)
            change(self._engine, _SET_STATE, {"state": state, "id": kept.id, "key": kept.key})

    def _pace(self, claimed: Claimed, count: int) -> None:
        """Wait as long as it takes to stay under the rate; keep the lease while a large object is read."""
        if self._stopping():
            raise Stopped
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self._read_rate
        if self._free_at > now:
            self._wait(self._free_at - now)
        if now > self._renew_at:
            self._requests.renew(claimed)
            self._renew_at = now + LEASE / 4

    def _candidates(self, requester: Requester, instances: Iterable[str]) -> dict[str, list[_Candidate]]:
        """By SOP Instance UID, what the peer may ask about: what its facility sent, else what it may see.

        Of several versions, the last that its facility sent, or the one that is shown.
        """
        rows = self._reader.fetch(requester.scope, _candidates_of(requester), {"instances": list(instances)})
        found: dict[str, dict[int, Row[Any]]] = {}
        for row in rows:
            of_instance = found.setdefault(row.sop_instance_uid, {})
            best = of_instance.get(row.instance_id)
            if best is None or (row.mine, row.version) > (best.mine, best.version):
                of_instance[row.instance_id] = row
        return {instance: _chosen(list(rows.values())) for instance, rows in found.items()}


def _chosen(rows: Sequence[Row[Any]]) -> list[_Candidate]:
    """Own ones if there are any, else those that may be seen."""
    own = [row for row in rows if row.mine] or rows
    return [
        _Candidate(row.sop_class_uid, Kept(row.id, row.key, row.size, row.digest, row.dataset_offset, row.state))
        for row in own
    ]


def _candidates_of(requester: Requester) -> Select[Any]:
    facility = select(Facility.id).where(Facility.code == requester.facility).scalar_subquery()
    # Peers that are not listed have a facility in common and nothing else.
    is_alone = requester.facility == UNKNOWN_FACILITY.code
    sender = [StoredObject.calling_ae_title == requester.ae_title] if is_alone else []
    resender = [AlsoSent.calling_ae_title == requester.ae_title] if is_alone else []
    sent_again = (
        select(AlsoSent.object_id)
        .where(AlsoSent.object_id == StoredObject.id, AlsoSent.facility_id == facility, *resender)
        .exists()
    )
    # Also what it may not see: what was rejected, and what waits in quarantine, is kept all the same.
    kept = visible_instance(Scope(view=View.EVERYTHING))
    mine = and_(kept, or_(and_(StoredObject.facility_id == facility, *sender), sent_again))
    seen = and_(StoredObject.current, visible(requester.scope), visible_instance(requester.scope))
    columns: tuple[Any, ...] = (
        Instance.sop_instance_uid,
        Instance.sop_class_uid,
        Instance.id.label("instance_id"),
        StoredObject.id,
        StoredObject.key,
        StoredObject.size,
        StoredObject.digest,
        StoredObject.dataset_offset,
        StoredObject.state,
        StoredObject.version,
        func.coalesce(mine, False).label("mine"),
    )
    return (
        select(*columns)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .join(StoredObject, StoredObject.instance_id == Instance.id)
        .where(Instance.sop_instance_uid == func.any(bindparam("instances")), or_(mine, seen))
    )
