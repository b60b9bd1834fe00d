"""A receive journal: small objects become durable by one flush that many share, instead of two flushes of each.

The bytes of an object are appended to a segment, a file whose blocks are written already, so that a flush writes
nothing but these bytes. The object's own file is written as well, but not waited for: the whole file system is flushed
when a segment is full or some seconds old, and then the segment is free again. A power cut between the two costs
files, never objects: `storage.filesystem.FilesystemStore.recover` writes them anew from the segments.
"""

from __future__ import annotations

import logging
import secrets
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.logs import fields
from storage.base import Buffer
from storage.flushing import flush_file_system, flush_folder
from storage.group import Group, Ticket
from storage.segments import FOLDER, WITHDRAWN, WRITTEN, Record, Segment

log = logging.getLogger(__name__)

LARGEST: Final = 256 * 1024
"""Bytes of an object that goes into the journal. Writing twice costs a larger one more than its own flushes: of 0.5 MB,
four threads stored 858 a second without and 571 with it, of 33 kB 1761 and 2309 (medians, on a busy machine)."""
SEGMENT_SIZE: Final = 16 << 20
SEGMENTS: Final = 4
AFTER: Final = 64
"""So many objects are made durable without, so that a process that stores few makes no segments."""
THREAD: Final = "receive journal"
"""Name of the thread that settles segments."""
SETTLED_AFTER: Final = 5.0
"""Seconds after which a segment is settled though it is not full."""
_MOST_TOGETHER: Final = 256
"""Records of one group: the system takes 1024 buffers in one call, and a record has three."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that is durable."""

    segment: Segment
    number: int


JournalTicket = Ticket[Record, Entry | str]
_NO_ROOM: Final = "no segment is free"
_Tickets = Sequence[JournalTicket]


class Journal:
    """The journal of one process for the store in the folder `root`. Used by many threads at once."""

    def __init__(
        self, root: str, *, segments: int = SEGMENTS, segment_size: int = SEGMENT_SIZE, after: int = AFTER
    ) -> None:
        self._root = root
        self._count, self._size = segments, segment_size
        self._after = after
        self._group: Group[Record, Entry | str] = Group(self._append, _MOST_TOGETHER)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._free: list[Segment] = []
        self._full: list[Segment] = []
        self._current: Segment | None = None
        self._thread: threading.Thread | None = None
        self._closing = self._failed = False
        self._largest = min(LARGEST, segment_size // 2)
        self._number = secrets.randbits(62)
        self._device = -1

    @property
    def active(self) -> bool:
        """Whether objects may go into it now."""
        return self._current is not None

    def ticket(self, path: str, data: Buffer, device: int) -> JournalTicket | None:
        """For `enter`: the bytes of a file; `path` is below the root, and all of it was written, though not flushed.

        None if they do not go into the journal: the file has to be flushed.
        """
        if self._current is None:
            self._want()
            return None
        if len(data) > self._largest or device != self._device:  # another disk may be mounted below the root
            return None
        return Ticket(Record(path, WRITTEN, data))

    def enter(self, tickets: Sequence[JournalTicket]) -> None:
        """Make the bytes of some files durable together.

        The result of each ticket is an `Entry`: the caller gives the file its name and says `leave`. Or it is a reason
        why it was not done: the file has to be flushed. With an error, it is not known.
        """
        self._group.add_all(tickets)

    def leave(self, entry: Entry) -> None:
        """The object's file has its name, or is given up."""
        with self._lock:
            entry.segment.busy -= 1
            if entry.segment.busy == 0 and entry.segment in self._full:
                self._changed.notify_all()

    def withdraw(self, entry: Entry) -> None:
        """The file was given up because its name is another's: that one shall not be overwritten. Raises `OSError`.

        Before `leave`: the record that says so is in the same segment or in one that is settled later.
        """
        withdrawn = self._group.add(Record("", WITHDRAWN, struct.pack("<Q", entry.number)))
        if isinstance(withdrawn, Entry):
            self.leave(withdrawn)

    def close(self) -> None:
        """Settle what is there and delete the segments. The store must not be used afterwards."""
        with self._changed:
            self._closing = True
            self._retire()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    # -- appending -------------------------------------------------------------------------------------------------

    def _append(self, tickets: _Tickets) -> None:
        """Write the records one behind the other and flush them together."""
        left = list(tickets)
        while left:
            segment, some = self._room_for(left)
            if segment is None:
                for ticket in left:
                    ticket.result = _NO_ROOM
                return
            first = self._number
            self._number += len(some)
            try:
                segment.append([ticket.item for ticket in some], first)
            except BaseException as error:
                self._give_up(error)
                raise
            for number, ticket in enumerate(some, first):
                ticket.result = Entry(segment, number)
            del left[: len(some)]

    def _room_for(self, tickets: _Tickets) -> tuple[Segment | None, _Tickets]:
        """A segment, and as many of the tickets as it takes. They count as busy from now on."""
        with self._lock:
            while (segment := self._current) is not None and not self._failed:
                some = _fitting(tickets, segment.size - segment.end)
                if some:
                    if segment.began is None:
                        segment.began = time.monotonic()
                        self._changed.notify_all()
                    segment.busy += len(some)
                    return segment, some
                self._retire()
        return None, ()

    def _retire(self) -> None:
        """Let the current segment be settled. Under the lock."""
        segment = self._current
        if segment is not None and segment.end:
            self._full.append(segment)
            self._current = self._free.pop() if self._free else None
            self._changed.notify_all()

    def _give_up(self, error: BaseException) -> None:
        """What is in the segments stays there for `left_behind`; objects are flushed one by one from now on."""
        with self._changed:
            if not self._failed:
                log.error("the receive journal cannot be used", extra=fields(error=str(error)))
            self._failed = True
            if self._current is not None:
                self._full.append(self._current)
                self._current = None
            self._changed.notify_all()

    # -- settling, in a thread of its own ----------------------------------------------------------------------------

    def _want(self) -> None:
        """Make segments once it is worth it."""
        if self._thread is not None or self._after < 0:
            return
        with self._lock:
            self._after -= 1
            if self._after < 0 and not self._closing:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            self._make()
            while self._step():
                pass
        except OSError as error:
            self._give_up(error)
        with self._lock:
            segments = [*self._free, *([self._current] if self._current else ()), *self._full]
            self._current = None
        for segment in segments:
            # What could not be settled is left for `left_behind`.
            if segment.end:
                segment.close()
            else:
                segment.remove()

    def _make(self) -> None:
        folder = Path(self._root, FOLDER)
        folder.mkdir(mode=0o750, exist_ok=True)
        flush_folder(self._root)
        self._device = folder.stat().st_dev
        for _ in range(self._count):
            segment = Segment(folder, self._size)
            flush_folder(folder)
            with self._lock:
                if self._current is None:
                    self._current = segment
                else:
                    self._free.append(segment)

    def _step(self) -> bool:
        """Settle the next segment that is full or old; False when the journal is closed and nothing is left."""
        with self._changed:
            while self._failed or not self._full or self._full[0].busy:
                if self._failed or (self._closing and not self._full):
                    return False
                self._changed.wait(self._patience())
                if self._patience() == 0:
                    self._retire()
            segment = self._full[0]
        # If this fails, it is never tried again: the kernel may have dropped the pages, and would then report success.
        flush_file_system(self._root)
        segment.clear()
        with self._changed:
            self._full.remove(segment)
            if self._current is None and not self._closing:
                self._current = segment
            else:
                self._free.append(segment)
            self._changed.notify_all()
        return True

    def _patience(self) -> float | None:
        """Seconds until the current segment is old; None if it is empty."""
        if self._current is None or self._current.began is None:
            return None
        return max(self._current.began + SETTLED_AFTER - time.monotonic(), 0)


def _fitting(tickets: _Tickets, room: int) -> _Tickets:
    """As many of the first as there is room for."""
    for count, ticket in enumerate(tickets):
        room -= ticket.item.size
        if room < 0:
            return tickets[:count]
    return tickets
