"""Requests that the node sends on an association that the peer opened: N-EVENT-REPORT (PS3.7 10.1.1).

A service posts an event from any thread. The thread of the association sends it between two messages of the peer, and
hands the answer to whoever posted it. An association that nobody posts to waits for its peer as if this did not exist.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """A request to send. `done` gets the status of the response, or None if the association ended before one came."""

    context_id: int
    command: dict[int, int | str]
    """Elements of the command set without MessageID, which the association chooses."""
    dataset: bytes | None
    done: Callable[[int | None], None]
    """Called once, in the thread of the association or, when that is over, of whoever posted. It must not block."""


class Outbox:
    """What is to be sent on one association. `post` is for all threads, the rest for the one of the association."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._unanswered: dict[int, Event] = {}
        self._closed = False
        self._last_message_id = 0
        self.wakeup = -1
        """A file descriptor that is readable when something was posted; -1 until `open`."""

    @property
    def is_open(self) -> bool:
        return self.wakeup >= 0

    def open(self) -> None:
        """Prepare for events. An operation that may lead to one calls this before it answers."""
        if not self.is_open:
            self.wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def post(self, event: Event) -> None:
        """Have the event sent as soon as the association is between two messages."""
        with self._lock:
            accepted = self.is_open and not self._closed
            if accepted:
                self._waiting.append(event)
                os.eventfd_write(self.wakeup, 1)
        if not accepted:
            event.done(None)

    def take(self) -> list[tuple[int, Event]]:
        """The events to send now, each with its message ID."""
        taken = []
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.wakeup)
            while self._waiting:
                self._last_message_id = self._last_message_id % 0xFFFF + 1
                event = self._waiting.popleft()
                self._unanswered[self._last_message_id] = event
                taken.append((self._last_message_id, event))
        return taken

    def answered(self, message_id: int, status: int) -> None:
        """The peer answered an event. An answer to nothing that was sent is passed over."""
        event = self._unanswered.pop(message_id, None)
        if event is not None:
            event.done(status)

    def close(self) -> None:
        """The association is over: what has no answer gets none."""
        with self._lock:
            self._closed = True
            lost = [*self._unanswered.values(), *self._waiting]
            self._unanswered.clear()
            self._waiting.clear()
            if self.is_open:
                os.close(self.wakeup)
                self.wakeup = -1
        for event in lost:
            event.done(None)
