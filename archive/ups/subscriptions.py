"""Who is told of the events of which workitems (PS3.4 CC.2.3; PS3.18 11.10 to 11.12).

A global subscription is a subscription to each workitem that is not final, and to each that is created later. To
suspend it ends the latter alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, func, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import Boolean, SmallInteger, Text

from archive.database import in_transaction
from archive.errors import InvalidQuery
from archive.records import Nested
from archive.standard.uids import check_uid
from archive.ups import events, rules
from archive.ups.errors import NoSuchSubscription, NoSuchWorkitem
from archive.ups.models import Event, GlobalSubscription, Subscription, Workitem
from archive.ups.search import conditions, from_json, to_json

GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"
"""UPS Global Subscription SOP Instance."""
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"
"""UPS Filtered Global Subscription SOP Instance."""
_LOCK: Final = (1 << 62) + 34_05
"""Advisory lock: who creates a workitem shares it; a global subscription excludes them, so that none is missed."""
_AE_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


class Subscriptions:
    """All subscriptions to workitems."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def subscribe(self, uid: str, ae_title: str, *, deletion_lock: bool = False, keys: Nested | None = None) -> None:
        """Tell an AE of the events of a workitem, or of all (that match `keys`) if `uid` is `GLOBAL` or `FILTERED`.

        Raises `InvalidQuery`, `InvalidUID`, `NoSuchWorkitem`, `IndexUnavailable`.
        """
        ae_title = checked_title(ae_title)
        if uid in (GLOBAL, FILTERED):
            _check_keys(uid, keys)
            in_transaction(self._engine, lambda connection: _subscribe_all(connection, ae_title, deletion_lock, keys))
            return
        if keys is not None:
            raise InvalidQuery("a subscription to one workitem has no filter")
        check_uid(uid, "SOPInstanceUID")

        def work(connection: Connection) -> None:
            mine = select(Workitem.id).where(Workitem.uid == uid).with_for_update()
            row = connection.execute(mine).scalar()
            if row is None:
                raise NoSuchWorkitem("no such workitem")
            values = {"workitem_id": row, "ae_title": ae_title, "deletion_lock": deletion_lock}
            statement = upsert(Subscription).values(**values)
            connection.execute(_or_lock(statement))
            _tell_state(connection, ae_title, [row])

        in_transaction(self._engine, work)

    def unsubscribe(self, uid: str, ae_title: str) -> None:
        """No longer tell an AE of a workitem; of none at all if `uid` is `GLOBAL` or `FILTERED`.

        Raises `InvalidQuery`, `InvalidUID`, `NoSuchWorkitem`, `NoSuchSubscription`, `IndexUnavailable`.
        """
        ae_title = checked_title(ae_title)

        def work(connection: Connection) -> None:
            if uid in (GLOBAL, FILTERED):
                ended = _end_global(connection, ae_title)
                mine = delete(Subscription).where(Subscription.ae_title == ae_title)
            else:
                row = connection.execute(select(Workitem.id).where(Workitem.uid == uid)).scalar()
                if row is None:
                    raise NoSuchWorkitem("no such workitem")
                ended = False
                mine = delete(Subscription).where(Subscription.ae_title == ae_title, Subscription.workitem_id == row)
            if not connection.execute(mine.returning(Subscription.workitem_id)).all() and not ended:
                raise NoSuchSubscription("the AE is not subscribed")

        check_uid(uid, "SOPInstanceUID")
        in_transaction(self._engine, work)

    def suspend(self, uid: str, ae_title: str) -> None:
        """No longer subscribe an AE to new workitems; it stays subscribed to those that it was.

        Raises `InvalidQuery`, `NoSuchSubscription`, `IndexUnavailable`.
        """
        ae_title = checked_title(ae_title)
        if uid not in (GLOBAL, FILTERED):
            raise InvalidQuery("only a global subscription can be suspended")

        def work(connection: Connection) -> None:
            if not _end_global(connection, ae_title):
                raise NoSuchSubscription("the AE is not subscribed")

        in_transaction(self._engine, work)


def checked_title(text: str) -> str:
    """An AE title (PS3.5 6.2). Raises `InvalidQuery`."""
    title = text.strip()
    if not (title and _AE_TITLE.fullmatch(title)):
        raise InvalidQuery("this is no AE title: 1 to 16 printable ASCII characters, no backslash")
    return title


def join_subscribers(connection: Connection, workitem_id: int) -> None:
    """Subscribe to a new workitem all who are subscribed to such. For the transaction that makes it."""
    connection.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))
    for row in connection.execute(select(*GlobalSubscription.__table__.c)).all():
        wanted = conditions(from_json(row.keys)) if row.keys is not None else []
        chosen = select(Workitem.id, literal(row.ae_title, Text), literal(row.deletion_lock, Boolean))
        _add(connection, chosen.where(Workitem.id == workitem_id, *wanted))


def _subscribe_all(connection: Connection, ae_title: str, deletion_lock: bool, keys: Nested | None) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    values = {"deletion_lock": deletion_lock, "keys": to_json(keys) if keys is not None else None}
    statement = upsert(GlobalSubscription).values(ae_title=ae_title, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["ae_title"], set_=values))
    chosen = select(Workitem.id, literal(ae_title, Text), literal(deletion_lock, Boolean))
    wanted = conditions(keys) if keys is not None else []
    _add(connection, chosen.where(Workitem.state.not_in(rules.FINAL), *wanted), tell=ae_title)


def _add(connection: Connection, chosen: Any, *, tell: str = "") -> None:
    columns = [Subscription.workitem_id, Subscription.ae_title, Subscription.deletion_lock]
    statement = _or_lock(upsert(Subscription).from_select(columns, chosen)).returning(Subscription.workitem_id)
    rows = connection.execute(statement).scalars().all()
    if tell:
        _tell_state(connection, tell, list(rows))


def _or_lock(statement: Any) -> Any:
    """Who is subscribed already gets or gives up the deletion lock."""
    return statement.on_conflict_do_update(
        index_elements=["workitem_id", "ae_title"], set_={"deletion_lock": statement.excluded.deletion_lock}
    )


def _tell_state(connection: Connection, ae_title: str, workitems: list[int]) -> None:
    """A new subscriber is told at once in which state the workitems are (CC.2.3.3)."""
    wanted = func.jsonb_build_object(
        rules.STATE, Workitem.attributes[rules.STATE], rules.READINESS, Workitem.attributes[rules.READINESS]
    )
    kind = literal(events.STATE_REPORT, SmallInteger)
    told = select(literal(ae_title, Text), Workitem.uid, kind, wanted).where(Workitem.id == func.any(workitems))
    connection.execute(
        insert(Event).from_select([Event.ae_title, Event.uid, Event.event_type, Event.information], told)
    )


def _end_global(connection: Connection, ae_title: str) -> bool:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    ended = delete(GlobalSubscription).where(GlobalSubscription.ae_title == ae_title)
    return bool(connection.execute(ended.returning(GlobalSubscription.ae_title)).all())


def _check_keys(uid: str, keys: Nested | None) -> None:
    if uid == GLOBAL and keys is not None:
        raise InvalidQuery(f"a global subscription has no filter; the filtered one is {FILTERED}")
    if uid == FILTERED and keys is None:
        raise InvalidQuery("a filtered global subscription names at least one matching key")
    if keys is not None:
        conditions(keys)
