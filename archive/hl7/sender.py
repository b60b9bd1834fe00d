"""Sends messages to receivers, in their order, until each has answered."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from functools import partial
from types import TracebackType
from typing import Final, Self

from archive.background import Background
from archive.hl7.faults import Refused
from archive.hl7.message import Message, parse
from archive.hl7.mllp import BadFrame, Framer, framed
from archive.hl7.outbox import Claims, Outbox, Waiting
from archive.index_session import IndexSession
from archive.people.sealing import Seal
from config.hl7 import HL7Receiver, HL7Settings
from config.logs import fields
from config.settings import DatabaseSettings
from config.tls import credentials

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks at an empty queue."""
_LONGEST_ANSWER: Final = 1 << 20
_MOST_DOUBLINGS: Final = 16


class NoAnswer(Exception):
    """The receiver cannot be reached, or does not say whether it has taken a message."""


class Line:
    """The connection to a receiver, opened when it is needed."""

    def __init__(self, settings: HL7Settings, receiver: HL7Receiver) -> None:
        self._settings = settings
        self._receiver = receiver
        self._socket: socket.socket | None = None
        self._framer = Framer(_LONGEST_ANSWER)

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def send(self, message: Waiting) -> tuple[Message, bytes]:
        """Send it; give the acknowledgement and its bytes. Raises `NoAnswer`."""
        try:
            if self._socket is None:
                self._open()
            assert self._socket is not None
            self._socket.settimeout(self._receiver.timeout)
            self._socket.sendall(framed(message.data))
            return self._answer(message.control_id)
        except (OSError, BadFrame, ValueError) as error:
            self.close()
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoAnswer(text) from None

    def _open(self) -> None:
        receiver = self._receiver
        self._framer = Framer(_LONGEST_ANSWER)
        plain = socket.create_connection((receiver.host, receiver.port), timeout=receiver.timeout)
        if not receiver.tls:
            self._socket = plain
            return
        try:
            context = credentials(self._settings.tls).client()
            self._socket = context.wrap_socket(plain, server_hostname=receiver.tls_name or receiver.host)
        except BaseException:
            plain.close()
            raise

    def _answer(self, control: str) -> tuple[Message, bytes]:
        """The acknowledgement of this message; of others, which come late, nothing is made."""
        assert self._socket is not None
        deadline = time.monotonic() + self._receiver.timeout
        while True:
            while (data := self._framer.take()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise OSError("no acknowledgement in time")
                self._socket.settimeout(left)
                received = self._socket.recv(65536)
                if not received:
                    raise OSError("closed without an acknowledgement")
                self._framer.feed(received)
            try:
                found = parse(data, actual="ISO_IR 100")
            except Refused as error:
                raise OSError(f"the acknowledgement cannot be read: {error}") from None
            said = found.first("MSA")
            if said is not None and said.raw(2).strip() == control:
                return found, data


class Sender:
    """Sends to one receiver."""

    def __init__(self, settings: HL7Settings, receiver: HL7Receiver, claims: Claims, interval: float) -> None:
        self._settings = settings
        self._receiver = receiver
        self._claims = claims
        self._interval = interval
        self._line = Line(settings, receiver)

    def step(self) -> float:
        """Send the oldest message that waits; give the seconds until the next look. Raises `Unavailable`."""
        name = self._receiver.name
        message = self._claims.next(name)
        if message is None:
            if self._line.is_open:
                self._line.close()
                self._claims.release(name)
            return self._interval
        try:
            answer, data = self._line.send(message)
        except NoAnswer as error:
            self._put_off(message, str(error))
            return self._interval
        self._settle(message, answer, data)
        return 0

    def close(self) -> None:
        self._line.close()

    def _settle(self, message: Waiting, answer: Message, data: bytes) -> None:
        name, receiver = self._receiver.name, self._receiver
        code = answer.first("MSA")
        said = code.raw(1).strip().upper() if code is not None else ""
        facts = fields(receiver=name, message=message.id, code=said)
        if said in ("AA", "CA"):
            self._claims.ended(name, message, "sent", data)
            if message.failures:
                log.info("an HL7 receiver takes messages again", extra=fields(receiver=name))
        elif said in ("AR", "CR") and message.tries + 1 < receiver.refusals:
            error = _why(said, answer)
            self._claims.refused(name, message, data, error, self._wait(message.tries))
            if not message.tries:
                log.warning("an HL7 receiver refuses a message for now", extra=facts)
        else:
            self._claims.ended(name, message, "set_aside", data, _why(said, answer))
            log.warning("an HL7 receiver refused a message, which is set aside", extra=facts)

    def _put_off(self, message: Waiting, error: str) -> None:
        name = self._receiver.name
        self._claims.failed(name, error, self._wait(message.failures))
        if not message.failures:
            log.warning("an HL7 receiver does not take messages", extra=fields(receiver=name, error=error))

    def _wait(self, before: int) -> float:
        longest = min(self._settings.longest_wait, self._settings.first_wait * 2 ** min(before, _MOST_DOUBLINGS))
        # Not all at once when something that many wait for comes back.
        return float(longest * random.uniform(0.5, 1))  # noqa: S311


def _why(code: str, answer: Message) -> str:
    """What the receiver says is wrong: codes and places, no text, which could name somebody."""
    marks = answer.delimiters
    found = [code or "no code"]
    for error in answer.all("ERR"):
        number = error.raw(3).split(marks.component)[0]
        place = "-".join(part for part in error.raw(2).split(marks.component)[:3:2] if part)
        found.append(f"{number} {place}".strip())
    return "; ".join(part for part in found if part.isprintable())[:300]


class Senders:
    """All receivers of the settings; sends as long as the ``with`` block lives. Raises `Unavailable`."""

    def __init__(
        self, settings: HL7Settings, database: DatabaseSettings, seal: Seal, outbox: Outbox, interval: float = INTERVAL
    ) -> None:
        self._session = IndexSession(database, "pacs hl7 senders")
        self._outbox = outbox
        self._interval = interval
        claims = Claims(self._session, seal)
        receivers = [receiver for receiver in settings.receivers if receiver.enabled]
        self._senders = [Sender(settings, receiver, claims, interval) for receiver in receivers]
        self._threads = [
            Background(f"HL7 receiver {receiver.name}", sender.step)
            for receiver, sender in zip(receivers, self._senders, strict=True)
        ]
        self._teller = Background("HL7 news", self._tell)
        outbox.begin()

    def __enter__(self) -> Self:
        for thread in (self._teller, *self._threads):
            thread.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        # At the same time: each may wait for an answer.
        ending = [
            threading.Thread(target=partial(thread.__exit__, None, None, None))
            for thread in (self._teller, *self._threads)
        ]
        for each in ending:
            each.start()
        for each in ending:
            each.join()
        for sender in self._senders:
            sender.close()
        self._session.close()

    def _tell(self) -> float:
        """Put what is new into the queues."""
        if self._outbox.tell_orders() + self._outbox.tell_reports():
            for thread in self._threads:
                thread.wake()
            return 0
        return self._interval
