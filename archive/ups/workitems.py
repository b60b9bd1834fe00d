"""Workitems in the database (PS3.18 11.4 to 11.9).

Each change is one transaction with the row of the workitem locked: the new attributes, the state and the events for all
subscribers become durable together, before the caller is answered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from archive.database import in_transaction
from archive.errors import Outdated
from archive.reading import Reader
from archive.records import EVERYTHING, DicomJSON, Scope, SearchResult
from archive.standard.uids import check_uid
from archive.ups import events, rules
from archive.ups.dataset import first, normalized
from archive.ups.errors import BadWorkitem, DuplicateWorkitem, NobodyToTell, NoSuchWorkitem, StateConflict
from archive.ups.models import Subscription, Workitem
from archive.ups.search import WorkitemQuery, conditions, order_of, shown
from archive.ups.subscriptions import join_subscribers

T = TypeVar("T")
_LARGEST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Created:
    """A workitem that was made; `added` are keywords of what it was completed by."""

    uid: str
    added: list[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A workitem as it is kept. `attributes` do not tell its Transaction UID."""

    uid: str
    version: int
    attributes: DicomJSON


class Workitems:
    """All workitems of the province."""

    def __init__(self, engine: Engine, reader: Reader, *, most: int) -> None:
        self._engine = engine
        self._reader = reader
        self._most = most

    def create(self, given: object, uid: str = "", facility: str = "") -> Created:
        """Make a workitem; its UID is `uid`, or SOP Instance UID of the dataset, or a new one (11.4).

        Raises `InvalidUID`, `BadWorkitem`, `DuplicateWorkitem`, `IndexUnavailable`.
        """
        dataset = normalized(given)
        said = first(dataset, rules.INSTANCE_UID)
        if uid and said and uid != said:
            raise BadWorkitem.of({"SOPInstanceUID": "is not the one of the request"})
        uid = check_uid(uid or said or f"2.25.{uuid.uuid4().int}", "SOPInstanceUID")
        made, added = rules.created(uid, dataset)
        tries = 0

        def work(connection: Connection) -> None:
            nonlocal tries
            tries += 1
            columns = {"uid": uid, "facility": facility, "attributes": made, **asdict(rules.facts(made))}
            statement = upsert(Workitem).values(**columns).on_conflict_do_nothing().returning(Workitem.id)
            row = connection.execute(statement).scalar()
            if row is None:
                # The second time, because the first may have been committed when the connection was lost.
                if tries > 1 and _attributes(connection, uid) == made:
                    return
                raise DuplicateWorkitem("a workitem with this SOP Instance UID exists")
            join_subscribers(connection, row)
            events.emit(connection, row, uid, events.of_creation(made))

        in_transaction(self._engine, work)
        return Created(uid, added)

    def get(self, uid: str, scope: Scope = EVERYTHING) -> Entry:
        """One workitem (11.5). Raises `InvalidUID`, `NoSuchWorkitem`, `IndexUnavailable`."""
        check_uid(uid, "SOPInstanceUID")
        wanted = select(Workitem.uid, Workitem.version, Workitem.attributes).where(Workitem.uid == uid, owned(scope))
        rows = self._reader.fetch(scope, wanted)
        if not rows:
            raise NoSuchWorkitem("no such workitem")
        return Entry(rows[0].uid, rows[0].version, rows[0].attributes)

    def update(self, uid: str, given: object, transaction_uid: str = "", versions: tuple[int, ...] = ()) -> None:
        """Change attributes (11.6); with `versions`, only if it has one of these.

        Raises `InvalidUID`, `NoSuchWorkitem`, `BadWorkitem` and its kinds, `Outdated`, `IndexUnavailable`.
        """
        dataset = normalized(given)
        secret = transaction_uid or first(dataset, rules.TRANSACTION)

        def work(connection: Connection, before: Row[Any]) -> None:
            if versions and before.version not in versions:
                raise Outdated("the workitem was changed meanwhile")
            rules.check_performer(before.state, before.transaction_uid, secret)
            after = rules.updated(before.attributes, dataset)
            _write(connection, before, after, events.of_change(before.attributes, after))

        self._change(uid, work)

    def change_state(self, uid: str, given: object) -> bool:
        """Change the state to the one that the dataset names (11.7). False if it is in this final state already.

        Raises `InvalidUID`, `NoSuchWorkitem`, `BadWorkitem` and its kinds, `StateConflict`, `IndexUnavailable`.
        """
        dataset = normalized(given)
        wanted, secret = first(dataset, rules.STATE), first(dataset, rules.TRANSACTION)
        tries = 0

        def work(connection: Connection, before: Row[Any]) -> bool:
            nonlocal tries
            tries += 1
            if tries > 1 and (before.state, before.transaction_uid) == (wanted, secret):
                return True  # the first try was committed when the connection was lost
            if not rules.next_state(before.state, before.transaction_uid, wanted, secret):
                return False
            after = rules.in_state(before.attributes, wanted)
            _write(connection, before, after, [events.state_report(after)], secret)
            return True

        return self._change(uid, work)

    def request_cancel(self, uid: str, given: object) -> bool:
        """Ask that a workitem be canceled (11.8). False if it is CANCELED already.

        One that is SCHEDULED is canceled here and now; of one IN PROGRESS, the subscribers are told, and its performer
        decides. Raises `InvalidUID`, `NoSuchWorkitem`, `BadWorkitem`, `StateConflict`, `IndexUnavailable`.
        """
        reason = normalized(given)

        def work(connection: Connection, before: Row[Any]) -> bool:
            if before.state == rules.CANCELED:
                return False
            if before.state == rules.COMPLETED:
                raise StateConflict("the workitem is COMPLETED, and cannot be canceled")
            if before.state == rules.SCHEDULED:
                # CC.2.2.3: first IN PROGRESS, by nobody else, then CANCELED.
                ours = rules.in_state(before.attributes, rules.IN_PROGRESS)
                after = rules.in_state(ours, rules.CANCELED, reason=reason)
                told = [events.state_report(ours), events.state_report(after)]
                _write(connection, before, after, told, f"2.25.{uuid.uuid4().int}")
                return True
            mine = select(Subscription.ae_title).where(Subscription.workitem_id == before.id)
            if connection.execute(mine.limit(1)).first() is None:
                raise NobodyToTell("nobody is subscribed to the workitem, so its performer cannot learn of the request")
            events.emit(connection, before.id, uid, [events.cancel_requested(reason)])
            return True

        return self._change(uid, work)

    def search(self, query: WorkitemQuery, scope: Scope = EVERYTHING) -> SearchResult:
        """A page of workitems, in order of their start by default (11.9). Raises `InvalidQuery`, `IndexUnavailable`."""
        wanted = [*conditions(query.keys, fuzzy=query.fuzzy), owned(scope)]
        size = self._most if query.limit is None else min(query.limit, self._most)
        page = select(Workitem.attributes).where(*wanted).order_by(*order_of(query))
        offset = min(query.offset, _LARGEST)
        rows = self._reader.fetch(scope, page.limit(size).offset(offset)) if size else []
        total = query.offset + len(rows)
        if not 0 < len(rows) < size:
            total = self._reader.fetch(scope, select(func.count()).select_from(Workitem).where(*wanted))[0][0]
        asked = total if query.limit is None else min(query.limit, total)
        return SearchResult(
            matches=[shown(row.attributes, query) for row in rows],
            total=total,
            truncated=query.offset + len(rows) < total and asked > size,
        )

    def delete_old(self, days: float) -> int:
        """Delete what ended so many days ago and nobody holds a deletion lock on (CC.2.1.3); 0 keeps all."""
        if not days:
            return 0
        locked = select(1).where(Subscription.workitem_id == Workitem.id, Subscription.deletion_lock)
        old = Workitem.ended_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
        statement = delete(Workitem).where(old, ~locked.exists()).returning(Workitem.id)
        return len(in_transaction(self._engine, lambda connection: connection.execute(statement).all()))

    def _change(self, uid: str, work: Callable[[Connection, Row[Any]], T]) -> T:
        """Do something with the row of a workitem, which nobody else changes meanwhile."""
        check_uid(uid, "SOPInstanceUID")

        def locked(connection: Connection) -> T:
            mine = select(*Workitem.__table__.c).where(Workitem.uid == uid).with_for_update()
            row = connection.execute(mine).one_or_none()
            if row is None:
                raise NoSuchWorkitem("no such workitem")
            return work(connection, row)

        return in_transaction(self._engine, locked)


def owned(scope: Scope) -> ColumnElement[bool]:
    """Workitems of the facilities of a scope."""
    return true() if scope.facilities is None else Workitem.facility.in_(sorted(scope.facilities))


def _write(
    connection: Connection, before: Row[Any], after: DicomJSON, reports: list[events.Report], secret: str = ""
) -> None:
    columns: dict[str, Any] = {**asdict(rules.facts(after)), "attributes": after, "version": before.version + 1}
    if secret:
        columns["transaction_uid"] = secret
    if columns["state"] in rules.FINAL:
        columns["ended_at"] = func.clock_timestamp()
    changed = update(Workitem).where(Workitem.id == before.id)
    connection.execute(changed.values(**columns, updated_at=func.clock_timestamp()))
    events.emit(connection, before.id, before.uid, reports)


def _attributes(connection: Connection, uid: str) -> DicomJSON | None:
    return connection.execute(select(Workitem.attributes).where(Workitem.uid == uid)).scalar()
