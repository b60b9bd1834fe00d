"""Empties the queue of one destination over one association, as long as there is something in it.

Whose fault a failure is decides what follows. A destination that cannot be reached, breaks the association or has no
room (A7xx) is left alone for a while, and its objects keep their tries. An object that it refuses, or that we cannot
give, is tried again later and then set aside; the others go on.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import ArchiveError, IndexUnavailable, NotAcceptable, Unavailable
from archive.people.caller import SYSTEM
from archive.records import StoredInstance
from archive.routing.queue import NOT_SHOWN, Queue, Task, new_batch
from config.logs import correlated, fields
from config.peers import Peer
from dicom_node import commands
from dicom_node.availability import notify
from dicom_node.commands import Command
from dicom_node.requestor import Refused
from dicom_node.sender import Interrupted, Sender
from dicom_node.status import is_warning
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

BATCH: Final = 20
"""Objects that one association takes out of the queue at once."""
NOTED_EVERY: Final = 0.1
"""Seconds after which it is noted what arrived; what was not, a crash has sent again."""
LINGER: Final = 4
"""How often an empty queue is looked at again, a quarter of a second apart, before the association is released."""
DUPLICATE: Final = 0x0111
_STORE_PAUSE: Final = 30.0


class Judged(Enum):
    """What the status of a C-STORE or N-CREATE response means for the queue."""

    ARRIVED = "arrived"
    NO_ROOM = "the destination is left alone for a while, the object keeps its tries"
    REFUSED = "the object is tried again later, and set aside after `forward.tries`"


def judge(status: int) -> Judged:
    """PS3.4 B.2.3, PS3.7 C. An object that is there already (0111) has arrived."""
    if status == 0 or status == DUPLICATE or is_warning(status):
        return Judged.ARRIVED
    return Judged.NO_ROOM if status >> 8 == 0xA7 else Judged.REFUSED


class Delivery:
    """One thread with one association. `run` never raises."""

    def __init__(
        self, archive: Archive, queue: Queue, peer: Peer, closed: Callable[[], Sequence[str]], stopping: threading.Event
    ) -> None:
        self.peer = peer
        self.batch = 0
        """What it works on, see `Queue.free_lost`."""
        self._archive = archive
        self._queue = queue
        self._closed = closed
        self._stopping = stopping
        self._sender = Sender(archive, peer)
        self._as_stored = False
        self._unaccepted = False
        """An object did not fit any presentation context that the destination accepted."""
        self._arrived: list[tuple[Task, int, str]] = []
        self._noted = time.monotonic()
        self._context = contextvars.copy_context()

    def interrupt(self) -> None:
        """From another thread: break off what is under way."""
        self._sender.interrupt()

    def run(self) -> None:
        """Send until the queue is empty, the destination fails, or the process stops."""
        with correlated():
            try:
                while self._next():
                    pass
            except IndexUnavailable as error:
                log.warning("sending on is put off", extra=fields(destination=self.peer.ae_title, error=str(error)))
            except Exception:
                log.exception("sending on failed", extra=fields(destination=self.peer.ae_title))
            finally:
                self._sender.close(abort=False)

    def _next(self) -> bool:
        """Work on the next tasks; whether to go on."""
        tasks = self._claim()
        for _ in range(LINGER if self._sender.is_open else 0):
            if tasks or self._stopping.wait(0.25):
                break
            tasks = self._claim()
        if not tasks:
            return False
        if tasks[0].study_id is not None:
            return self._tell(tasks)
        try:
            return self._send(tasks)
        finally:
            self._note()

    def _claim(self) -> list[Task]:
        self.batch = new_batch()
        return self._queue.claim(self.peer.ae_title, self._closed(), BATCH, self.batch)

    def _tell(self, tasks: Sequence[Task]) -> bool:
        """Send notifications, each on an association of its own; whether to go on."""
        self._sender.close(abort=False)
        left = list(tasks)
        while left and not self._stopping.is_set():
            if not self._tell_one(left.pop(0)):
                break
        self._note()
        self._persist(lambda: self._queue.give_back(left))
        return not left

    def _tell_one(self, task: Task) -> bool:
        assert task.study_id is not None
        instances = self._archive.routing.study(task.study_id)
        if not instances:
            self._persist(lambda: self._queue.skipped([task], "the study is no longer shown"))
            return True
        try:
            answer = notify(self.peer, self._archive.settings.node, instances)
        except (Refused, PeerGone, PeerSilent, ProtocolError) as error:
            why = str(error)
            self._persist(lambda: self._queue.put_off([task], _STORE_PAUSE, why))
            self._unreached(why)
            return False
        return self._answered(task, instances[0], answer)

    def _send(self, tasks: Sequence[Task]) -> bool:
        found = self._archive.routing.instances([task.object_id for task in tasks if task.object_id is not None])
        gone = [task for task in tasks if task.object_id not in found]
        self._persist(lambda: self._queue.skipped(gone, NOT_SHOWN))
        # Those that must go as they are stored need an association of their own.
        left = sorted((task for task in tasks if task.object_id in found), key=lambda task: task.as_stored)
        self._sender.expect(found.values())
        while left:
            task = left.pop(0)
            assert task.object_id is not None
            going_on = not self._stopping.is_set() and self._send_one(task, found[task.object_id])
            if not going_on:
                # The one in hand has been seen to, unless nothing was begun.
                rest = [task, *left] if self._stopping.is_set() else left
                self._persist(lambda rest=rest: self._queue.give_back(rest))  # type: ignore[misc]
                return False
        if self._unaccepted:
            # The destination may be set up anew any time; what it accepts is asked once for each association.
            self._unaccepted = False
            self._sender.close(abort=False)
        return True

    def _send_one(self, task: Task, inst: StoredInstance) -> bool:
        """Send one object and note what became of it; whether the destination takes more."""
        if task.as_stored != self._as_stored:
            self._sender.close(abort=False)
            self._as_stored = task.as_stored
            self._sender = Sender(self._archive, self.peer, as_stored=task.as_stored)
        try:
            self._archive.looks.note(self._event(inst), (inst.sop_instance_uid,), self.peer.ae_title)
            answer = self._sender.send(inst)
        except Unavailable as error:
            # Our store or index: neither the object's fault nor the destination's.
            why = str(error)
            self._persist(lambda: self._queue.put_off([task], _STORE_PAUSE, why))
            return False
        except ArchiveError as error:
            self._unaccepted |= isinstance(error, NotAcceptable)
            self._refused(task, inst, None, str(error))
            return True
        except Interrupted as error:
            self._sender.close(abort=True)
            self._refused(task, inst, None, str(error))
            return True
        except Refused as error:
            self._persist(lambda: self._queue.give_back([task]))
            self._unreached(str(error))
            return False
        except (PeerGone, PeerSilent, ProtocolError) as error:
            self._sender.close(abort=True)
            self._broke(task, inst, None, str(error))
            self._unreached(str(error))
            return False
        return self._answered(task, inst, answer)

    def _event(self, inst: StoredInstance) -> AuditEvent:
        """On record before the first object of a study leaves for this destination."""
        told = {"what": "forwarding", "destination": self.peer.ae_title, "destination_facility": self.peer.facility}
        return AuditEvent(Action.EXPORT, SYSTEM, studies=(inst.study_instance_uid,), detail=told)

    def _answered(self, task: Task, inst: StoredInstance, answer: Command) -> bool:
        status = answer.number(commands.STATUS)
        judged = judge(status)
        if judged is Judged.ARRIVED:
            note = "the destination had it already" if status == DUPLICATE else ""
            self._arrived.append((task, status, note))
            if time.monotonic() - self._noted >= NOTED_EVERY:
                self._note()
            return True
        told = _told(answer)
        if judged is Judged.NO_ROOM:
            self._broke(task, inst, status, told)
            self._unreached(told)
            return False
        self._refused(task, inst, status, told)
        return True

    # -- noting ------------------------------------------------------------------------------------------------------

    def _note(self) -> None:
        """Make durable what arrived."""
        arrived, self._arrived = self._arrived, []
        self._noted = time.monotonic()
        self._persist(lambda: self._queue.sent(self.peer.ae_title, arrived))

    def _refused(self, task: Task, inst: StoredInstance, status: int | None, error: str) -> None:
        self._persist(lambda: self._judge(inst, status, self._queue.refused(task, status, error), error))

    def _broke(self, task: Task, inst: StoredInstance, status: int | None, error: str) -> None:
        # First what arrived: that tells whether the destination or the object is to blame.
        self._note()
        self._persist(lambda: self._judge(inst, status, self._queue.broke(task, status, error), error))

    def _judge(self, inst: StoredInstance, status: int | None, set_aside: bool, error: str) -> None:
        if set_aside:
            log.error(
                "an object could not be sent on and is set aside",
                extra=fields(
                    instance=inst.sop_instance_uid,
                    destination=self.peer.ae_title,
                    status=None if status is None else f"{status:04X}",
                    error=error if status is None else None,
                ),
            )

    def _unreached(self, error: str) -> None:
        def note() -> None:
            wait = self._queue.unreached(self.peer.ae_title, error)
            facts = fields(destination=self.peer.ae_title, error=error, again_in=round(wait, 1))
            log.warning("a destination takes nothing now", extra=facts)

        self._note()
        self._persist(note)
        self._sender.close(abort=False)

    def _persist(self, work: Callable[[], object]) -> None:
        """Do it as soon as the index is there; what is lost with the process is sent again."""
        while True:
            try:
                work()
                return
            except IndexUnavailable as error:
                log.warning("sending on is put off", extra=fields(destination=self.peer.ae_title, error=str(error)))
                if self._stopping.wait(2):
                    return


def _told(answer: Command) -> str:
    """What a refusal says of itself. The comment is the destination's own; no more than what it may be about."""
    comment = answer.text(commands.ERROR_COMMENT)
    return f"status {answer.number(commands.STATUS):04X}" + (f": {comment}" if comment else "")
