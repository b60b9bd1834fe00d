"""Work that threads share: who comes while it is under way waits, and the first of those does it for all of them.

So a lone thread does its own work without a hand-over, many threads share a flush or a transaction, and there is no
thread in between. Each sleeps until its work is done or it is to lead: nobody is woken to find that it has to wait on.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item, Result]):
    """One item, and what became of it."""

    item: Item
    result: Result | None = None
    error: BaseException | None = None
    leads: bool = False
    """Its thread is the one that may work. Changed under the lock of the queue."""
    wake: threading.Lock = field(default_factory=threading.Lock)
    """Taken while its thread has nothing to do: until it is done, or leads."""

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None


class Group(Generic[Item, Result]):
    """`work` gives each ticket of a group its result, which is not None, or its error; it should not raise itself."""

    def __init__(self, work: Callable[[Sequence[Ticket[Item, Result]]], None], most: int) -> None:
        """At most `most` items at a time."""
        self._work = work
        self._most = most
        self._queue: list[Ticket[Item, Result]] = []
        self._lock = threading.Lock()
        self._led = False
        """Somebody works, and sees to the queue when that is done."""

    def add(self, item: Item) -> Result:
        """Have the item worked on; give its result, or raise its error."""
        ticket: Ticket[Item, Result] = Ticket(item)
        self.add_all((ticket,))
        if ticket.error is not None:
            raise ticket.error
        assert ticket.result is not None
        return ticket.result

    def add_all(self, tickets: Sequence[Ticket[Item, Result]]) -> None:
        """Have some worked on, one behind the other; returns when all have their results or errors."""
        if not tickets:
            return
        try:
            self._queue_up(tickets)
            for ticket in tickets:
                if not ticket.leads:
                    self._sleep(ticket, tickets)
                if ticket.leads:
                    self._lead()
                    self._hand_over(ticket)
        finally:
            for ticket in tickets:
                if ticket.leads or not ticket.done:
                    self._hand_over(ticket)

    def _queue_up(self, tickets: Sequence[Ticket[Item, Result]]) -> None:
        """The first of them leads if nobody does."""
        for ticket in tickets:
            ticket.wake.acquire()
        with self._lock:
            self._queue += tickets
            if not self._led:
                self._led = tickets[0].leads = True

    def _sleep(self, ticket: Ticket[Item, Result], brought: Sequence[Ticket[Item, Result]]) -> None:
        """Until the ticket is done or leads. Who is interrupted meanwhile still waits for those of its items that
        somebody works on: it is to give them up, which must not happen under the hands of another thread."""
        try:
            ticket.wake.acquire()
        except BaseException:
            with self._lock:
                taken = [each for each in brought if not each.leads and each not in self._queue]
            for each in taken:
                while not each.done:
                    with contextlib.suppress(KeyboardInterrupt):
                        each.wake.acquire()
            raise

    def _lead(self) -> None:
        with self._lock:
            tickets = self._queue[: self._most]
            del self._queue[: len(tickets)]
        try:
            self._work(tickets)
        except Exception as error:
            fail(tickets, error)
        except BaseException as error:
            fail(tickets, error)
            raise
        finally:
            for ticket in tickets:
                if not ticket.leads:
                    ticket.wake.release()

    def _hand_over(self, ticket: Ticket[Item, Result]) -> None:
        """Let the first of the queue lead, if it was this one that did; it may also have been interrupted."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
            if not ticket.leads:
                return
            ticket.leads = False
            self._led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake.release()


def fail(tickets: Sequence[Ticket[Item, Result]], error: BaseException) -> None:
    """Give the error to all that have no result yet."""
    for ticket in tickets:
        if not ticket.done:
            ticket.error = error
