"""The associations of this process on which a peer takes results, as long as they are open."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dicom_node.events import Event, Outbox
from dicom_node.negotiation import Context

ANSWER_TIMEOUT = 60.0
"""Seconds for a peer to answer an event; it may be in the middle of sending a large object."""


@dataclass(slots=True)
class OpenAssociation:
    """One of them, and the presentation context for events on it."""

    outbox: Outbox
    context: Context
    asked: set[int] = field(default_factory=set)
    """Requests that were made on it."""

    def send(self, command: dict[int, int | str], dataset: bytes) -> int | None:
        """Send an event and wait for the answer; give its status, or None if none came."""
        statuses: list[int | None] = []
        answered = threading.Event()

        def done(status: int | None) -> None:
            statuses.append(status)
            answered.set()

        self.outbox.post(Event(self.context.id, command, dataset, done))
        answered.wait(ANSWER_TIMEOUT)
        return statuses[0] if statuses else None


class OpenAssociations:
    """By AE title. Used by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_title: dict[str, list[OpenAssociation]] = {}

    def add(self, ae_title: str, outbox: Outbox, context: Context) -> OpenAssociation:
        """Prepare an association for events; from the thread of the association. It may have been added before."""
        outbox.open()
        with self._lock:
            self._drop_closed()
            mine = self._by_title.setdefault(ae_title, [])
            for each in mine:
                if each.outbox is outbox:
                    return each
            added = OpenAssociation(outbox, context)
            mine.append(added)
            return added

    def of(self, ae_title: str, request: int) -> list[OpenAssociation]:
        """Those of a peer, the one on which it made this request first."""
        with self._lock:
            self._drop_closed()
            found = list(self._by_title.get(ae_title, ()))
        return sorted(found, key=lambda each: request not in each.asked)

    def remove(self, association: OpenAssociation) -> None:
        """Send no more on an association whose peer does not answer."""
        with self._lock:
            for found in self._by_title.values():
                if association in found:
                    found.remove(association)

    def _drop_closed(self) -> None:
        for ae_title in list(self._by_title):
            left = [each for each in self._by_title[ae_title] if each.outbox.is_open]
            if left:
                self._by_title[ae_title] = left
            else:
                del self._by_title[ae_title]
