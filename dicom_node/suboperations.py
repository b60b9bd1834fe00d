"""C-STORE sub-operations of C-GET and C-MOVE, one after the other or side by side (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive.core import Archive
from archive.errors import ArchiveError
from archive.records import StoredInstance
from config.logs import fields
from dicom_node import commands
from dicom_node.exchange import Exchange
from dicom_node.requestor import Refused
from dicom_node.sender import MOST_IDS, Interrupted, Sender, send_instance
from dicom_node.status import is_warning
from dicom_node.wire import NOT_SPECIFIED, PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

TRIES: Final = 3
"""How often an object is begun whose association breaks."""
PAUSES: Final = (0.2, 1.0, 3.0)
"""Seconds to wait before an association is opened again after one broke; then no more."""
CANCEL_PATIENCE: Final = 5.0
"""Seconds that objects on their way get to arrive after a cancellation."""


@dataclass(slots=True)
class Counts:
    """What became of the sub-operations (PS3.7 9.3.3.2)."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    """SOP Instance UIDs of those that failed."""

    def count(self, outcome: Outcome) -> None:
        """Note what became of one."""
        self.remaining -= 1
        if outcome.status == 0:
            self.completed += 1
        elif outcome.status is not None and is_warning(outcome.status):
            self.warning += 1
        else:
            self.failed.append(outcome.instance)

    def elements(self, *, remaining: bool) -> dict[int, int]:
        """Elements of the response; Remaining is only in pending and cancelled ones (PS3.4 C.4.2.1.6)."""
        numbers = {0x1021: self.completed, 0x1022: len(self.failed), 0x1023: self.warning}
        if remaining:
            numbers[0x1020] = self.remaining
        return {element: min(number, MOST_IDS) for element, number in numbers.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one sub-operation."""

    instance: str
    status: int | None
    """Status of the response; None if it was not sent or not answered."""


class Suboperations(Protocol):
    """The sub-operations of one C-GET or C-MOVE."""

    def next(self) -> Outcome | None:
        """Wait for the end of one; None when the requestor cancels. Raises what `Exchange` raises."""

    def stop(self) -> Iterator[Outcome]:
        """Begin no more; the ends of those that are under way."""

    def close(self) -> None:
        """Break off what is under way."""


class OnSameAssociation:
    """To the requestor of a C-GET itself, in the role of an SCP (PS3.4 C.4.3.2)."""

    def __init__(
        self, archive: Archive, exchange: Exchange, instances: Sequence[StoredInstance], priority: int
    ) -> None:
        self._archive = archive
        self._exchange = exchange
        self._instances = iter(instances)
        self._priority = priority
        self._sent = 0

    def next(self) -> Outcome | None:
        if self._exchange.poll():
            return None
        inst = next(self._instances)
        self._sent = self._sent % MOST_IDS + 1
        elements = {commands.PRIORITY: self._priority}
        try:
            answer = send_instance(self._archive, self._exchange, inst, self._sent, elements)
        except ArchiveError as error:
            _not_sent(inst, error)
            return Outcome(inst.sop_instance_uid, None)
        except Interrupted as error:
            _not_sent(inst, error)
            # Half a message cannot be taken back.
            raise ProtocolError(NOT_SPECIFIED, "an object broke off half-way") from error
        return Outcome(inst.sop_instance_uid, answer.number(commands.STATUS))

    def stop(self) -> Iterator[Outcome]:
        return iter(())

    def close(self) -> None:
        """The association belongs to the requestor."""


class OnOtherAssociations:
    """To the destination of a C-MOVE, over as many associations as it takes at once (PS3.4 C.4.2.2).

    Each association has a thread; the thread of the requestor's association waits for what they report and for the
    requestor. An association that breaks is opened again a few times, and the object it broke with is sent again; one
    on which the destination falls silent is not, for each try could take as long as the timeouts allow.
    """

    def __init__(self, exchange: Exchange, instances: Sequence[StoredInstance], senders: Sequence[Sender]) -> None:
        self._exchange = exchange
        self._waiting = deque((inst, 1) for inst in instances)
        self._ended: deque[Outcome] = deque()
        self._changed = threading.Condition()
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = threading.Event()
        self._sending: set[Sender] = set()
        self._working = 0
        self._closed = False
        for sender in senders:
            sender.expect(instances)
        self._others = list(senders[1 : len(instances)])
        if instances:
            self._start(senders[0])

    def _start(self, sender: Sender) -> None:
        # With the correlation id of the requestor's association.
        work = contextvars.copy_context().run
        name = f"association to {sender.peer.ae_title}"
        thread = threading.Thread(target=work, args=(self._work, sender), name=name, daemon=True)
        with self._changed:
            self._working += 1
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: those that run do the work, or nobody does.
            with self._changed:
                self._working -= 1

    def next(self) -> Outcome | None:
        while True:
            if self._exchange.poll():
                return None
            outcome = self._take_ended()
            if outcome is not None:
                return outcome
            self._exchange.wait(self._news)

    def stop(self) -> Iterator[Outcome]:
        self._stopping.set()
        deadline = time.monotonic() + CANCEL_PATIENCE
        with self._changed:
            self._waiting.clear()
        while self._sending and (left := deadline - time.monotonic()) > 0:
            # The requestor has said what it wants; nothing that it could add matters.
            _wait_readable(self._news, left)
            self._clear_news()
        while self._ended:
            yield self._ended.popleft()

    def close(self) -> None:
        self._stopping.set()
        with self._changed:
            # The others end their associations in good order by themselves, which nobody needs to wait for.
            for sender in self._sending:
                sender.interrupt()
            self._closed = True
            self._changed.notify_all()
            os.close(self._news)

    def _take_ended(self) -> Outcome | None:
        """The next end of a sub-operation; of one that nobody is left to work on, that it failed."""
        with self._changed:
            if not self._ended and not self._working and self._waiting:
                return Outcome(self._waiting.popleft()[0].sop_instance_uid, None)
            if self._ended:
                return self._ended.popleft()
            self._clear_news()
        return None

    def _clear_news(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news)

    # -- in the threads of the associations --------------------------------------------------------------------------

    def _work(self, sender: Sender) -> None:
        broken = 0
        try:
            while (taken := self._take(sender)) is not None:
                error = self._send(sender, *taken)
                if error is None:
                    broken = 0
                elif self._is_lost(error, broken) or self._stopping.wait(PAUSES[broken]):
                    break
                else:
                    broken += 1
        finally:
            with self._changed:
                self._working -= 1
                self._tell()
            sender.close(abort=False)

    def _take(self, sender: Sender) -> tuple[StoredInstance, int] | None:
        """The next object; None when there will be none any more."""
        while True:
            with self._changed:
                if self._stopping.is_set() or not (self._waiting or self._sending):
                    return None
                if self._waiting:
                    self._sending.add(sender)
                    return self._waiting.popleft()
            # An object on another association may come back. Its destination may be waiting for this one to end.
            sender.close(abort=False)
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._sending or self._stopping.is_set())

    def _send(self, sender: Sender, inst: StoredInstance, tries: int) -> Exception | None:
        """Send one object, and see to it if it fails; give the error if that concerns the association."""
        try:
            sender.open(inst)
            self._begin_others()
            self._report(sender, inst, sender.send(inst).number(commands.STATUS))
        except ArchiveError as error:
            _not_sent(inst, error)
            self._report(sender, inst, None)
        except Interrupted as error:
            _not_sent(inst, error)
            sender.close(abort=True)
            self._report(sender, inst, None)
        except (Refused, PeerGone, PeerSilent, ProtocolError) as error:
            sender.close(abort=True)
            if not self._stopping.is_set():
                facts = fields(destination=sender.peer.ae_title, error=str(error))
                log.warning("move destination lost", extra=facts)
            begun = not isinstance(error, Refused)
            if begun and (isinstance(error, PeerSilent) or tries == TRIES):
                self._report(sender, inst, None)
            else:
                self._put_back(sender, inst, tries + begun)
            return error
        except Exception as error:
            log.exception("sending to a destination failed", extra=fields(destination=sender.peer.ae_title))
            sender.close(abort=True)
            self._report(sender, inst, None)
            return error
        return None

    def _begin_others(self) -> None:
        """Have the other associations begin. Not before: a destination that takes only one might refuse them all."""
        with self._changed:
            others, self._others = self._others, []
        for sender in others:
            self._start(sender)

    def _is_lost(self, error: Exception, broken: int) -> bool:
        """Whether to give the destination up; another association may still work."""
        never_there = isinstance(error, Refused) and not broken
        known = isinstance(error, (Refused, PeerGone, ProtocolError))
        return not known or never_there or broken == len(PAUSES)

    def _report(self, sender: Sender, inst: StoredInstance, status: int | None) -> None:
        with self._changed:
            self._sending.discard(sender)
            self._ended.append(Outcome(inst.sop_instance_uid, status))
            self._tell()

    def _put_back(self, sender: Sender, inst: StoredInstance, tries: int) -> None:
        with self._changed:
            self._sending.discard(sender)
            self._waiting.appendleft((inst, tries))
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        if not self._closed:
            os.eventfd_write(self._news, 1)


class Pace:
    """How often pending responses are sent: after each object at first, then no more often than anybody can read."""

    ALL: Final = 50
    INTERVAL: Final = 0.1

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent = 0
        self._last = 0.0

    def due(self) -> bool:
        """Whether to send one now."""
        now = self._clock()
        if self._sent >= self.ALL and now - self._last < self.INTERVAL:
            return False
        self._sent += 1
        self._last = now
        return True


def _wait_readable(descriptor: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(seconds * 1000)


def _not_sent(inst: StoredInstance, error: Exception) -> None:
    log.warning("an instance could not be sent", extra=fields(instance=inst.sop_instance_uid, error=str(error)))
