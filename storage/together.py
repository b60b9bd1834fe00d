"""Objects that are committed together, by one thread: those in the receive journal share one flush.

A thread for each would do the same by `storage.group`, but be woken and put to sleep for each step of each object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.base import ObjectWriter
    from storage.journal import Journal, JournalTicket


class Together:
    """What is to be flushed before the objects are committed."""

    def __init__(self) -> None:
        self._tickets: dict[Journal, list[JournalTicket]] = {}

    def add(self, journal: Journal, ticket: JournalTicket) -> None:
        """Have the journal make these bytes durable with others."""
        self._tickets.setdefault(journal, []).append(ticket)

    def flush(self) -> None:
        """Make all durable; the tickets tell what became of each."""
        for journal, tickets in self._tickets.items():
            journal.enter(tickets)


def commit_all(writers: Sequence[ObjectWriter]) -> list[Exception | None]:
    """Commit objects one after the other, after one flush for all; what ``commit`` raised for each, if anything did."""
    together = Together()
    outcomes = [_failure(partial(writer.enter, together)) for writer in writers]
    together.flush()
    return [outcome or _failure(writer.commit) for writer, outcome in zip(writers, outcomes, strict=True)]


def _failure(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:
        return error
    return None
