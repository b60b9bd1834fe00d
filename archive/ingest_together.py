"""Objects that one thread takes in together: they share a flush and a transaction, and the order in which they came.

A thread for each would share these too, but most of the time of all went into waking them up for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from archive.errors import StoreUnavailable
from archive.index_ahead import RowsAhead
from archive.index_writer import Added
from archive.receiving import Receiving
from archive.records import Receipt
from storage import together
from storage.group import Group, Ticket

MOST_TOGETHER: Final = 32
"""Objects that one thread finishes for others: each may have 256 KiB in memory, and waits until all are done."""


def commit_all(receivings: Sequence[Receiving], rows: RowsAhead) -> list[Exception | None]:
    """`Receiving.commit` some objects that were checked, which share a flush if they can; what it would have raised.

    If all are durable then, so are `rows`.
    """
    waiting = [each for each in receivings if each.is_open]
    writers = [each.to_commit() for each in waiting]
    errors: list[Exception | None] = []
    try:
        # What is given up is given up behind the block: its key may need the session.
        with rows:
            errors = together.commit_all(writers)
            if not any(errors):
                rows.commit()
    except BaseException as error:
        for n, each in enumerate(waiting):
            if not errors:
                each.abort()
            elif each.committed(errors[n]) is None:
                each.give_up(error)
        raise
    failed = {each: each.committed(error) for each, error in zip(waiting, errors, strict=True)}
    return [failed.get(each) for each in receivings]


def finish_all(receivings: Sequence[Receiving]) -> list[Receipt | Exception]:
    """`Receiving.finish` some objects that were checked, as if one after the other; what it would have raised is given
    back. A rejection note has to come alone."""
    if not receivings:
        return []
    added = receivings[0].ingest.finish_all(receivings)
    return [each.given(outcome) for each, outcome in zip(receivings, added, strict=True)]


class Finishing:
    """Objects that threads finish at the same moment, one each: one of the threads does it for all (`storage.group`).

    So each sleeps once for its object, instead of once until the bytes are durable and once until the row is. And
    PostgreSQL adds the rows meanwhile (`archive.index_ahead`).
    """

    def __init__(self, finish_all: Callable[[Sequence[Receiving]], list[Added | Exception]]) -> None:
        """`finish_all` is that of `archive.ingest.Ingest`."""
        self._finish_all = finish_all
        self._group: Group[Receiving, Added] = Group(self._work, MOST_TOGETHER)

    def finish(self, receiving: Receiving) -> Added:
        """Make durable and visible what was checked. Raises as `Receiving.finish` does, for this object only."""
        return self._group.add(receiving)

    def _work(self, tickets: Sequence[Ticket[Receiving, Added]]) -> None:
        try:
            outcomes = self._finish_all([ticket.item for ticket in tickets])
        except BaseException as error:
            if not isinstance(error, Exception):
                _spare_others(tickets)
            raise
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Exception):
                ticket.error = outcome
            else:
                ticket.result = outcome


def _spare_others(tickets: Sequence[Ticket[Receiving, Added]]) -> None:
    """The thread that does it for all was interrupted, the others were not: they may have their objects sent again."""
    for ticket in tickets:
        if not (ticket.leads or ticket.done):
            ticket.error = StoreUnavailable("the archive was interrupted while it stored the object; send it again")
