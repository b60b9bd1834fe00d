"""Delivery of event reports to whoever has opened a channel (PS3.18 11.13, 8.10).

Events wait in a table, from the commit of what they report until they were given to the channel. A process that dies
between giving and forgetting gives them once more, to the next channel: none is lost, one may come twice.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from sqlalchemy import Engine, Text, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from archive.database import change, fetch, in_transaction
from archive.ups.events import Message
from archive.ups.models import Channel, Event
from archive.ups.subscriptions import checked_title
from config.logs import fields

log = logging.getLogger(__name__)

BATCH: Final = 100


class Replaced(Exception):
    """The AE has opened another channel, which gets its events from now on."""


class EventChannel:
    """The channel of one AE. Events come in order, those of one workitem in the order in which they happened."""

    def __init__(self, engine: Engine, ae_title: str) -> None:
        self._engine = engine
        self.ae_title = checked_title(ae_title)
        self._owner = uuid.uuid4().hex

    def open(self) -> None:
        """From now on this channel gets the events of the AE, and no other. Raises `IndexUnavailable`."""
        statement = upsert(Channel).values(ae_title=self.ae_title, owner=self._owner)
        again = {"owner": self._owner, "opened_at": func.clock_timestamp()}
        change(self._engine, statement.on_conflict_do_update(index_elements=["ae_title"], set_=again), repeatable=True)

    def waiting(self) -> list[Message]:
        """The next events, at most `BATCH`. Raises `Replaced`, `IndexUnavailable`."""
        mine = select(Channel.owner).where(Channel.ae_title == self.ae_title)
        owners = fetch(self._engine, mine)
        if not owners or owners[0].owner != self._owner:
            raise Replaced
        wanted = select(Event.id, Event.uid, Event.event_type, Event.information).where(Event.ae_title == self.ae_title)
        rows = fetch(self._engine, wanted.order_by(Event.id).limit(BATCH))
        return [Message(row.id, row.uid, row.event_type, row.information) for row in rows]

    def delivered(self, messages: list[Message]) -> None:
        """Forget events that were given. Raises `IndexUnavailable`."""
        gone = delete(Event).where(Event.id.in_([message.id for message in messages]))
        change(self._engine, gone, repeatable=True)

    def close(self) -> None:
        """No longer the channel of the AE, unless another is already. Raises `IndexUnavailable`."""
        mine = delete(Channel).where(Channel.ae_title == self.ae_title, Channel.owner == self._owner)
        change(self._engine, mine, repeatable=True)


def drop_excess(engine: Engine, most: int) -> int:
    """Drop the oldest events of whoever has more than `most` waiting, and say so. Raises `IndexUnavailable`."""
    counted = select(Event.ae_title).group_by(Event.ae_title).having(func.count() > most)
    dropped = 0
    for row in fetch(engine, counted):
        newest = select(Event.id).where(Event.ae_title == row.ae_title).order_by(Event.id.desc())
        edge = newest.offset(most).limit(1).scalar_subquery()
        gone = delete(Event).where(Event.ae_title == literal(row.ae_title, Text), Event.id <= edge).returning(Event.id)
        lost = len(in_transaction(engine, lambda connection, gone=gone: connection.execute(gone).all()))  # type: ignore[misc]
        log.warning("events of workitems are dropped", extra=fields(subscriber=row.ae_title, events=lost))
        dropped += lost
    return dropped
