"""Says who has sent a message, has it kept and done, and what is answered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from archive.errors import Unavailable
from archive.hl7.answer import Level, Outcome, Wishes, acknowledge
from archive.hl7.apply import check
from archive.hl7.faults import DATA_TYPE, INTERNAL, UNKNOWN_KEY, Fault, Location, Refused
from archive.hl7.inbox import Inbox, Kept
from archive.hl7.message import Message, parse
from config.certificate import PeerCertificate
from config.hl7 import HL7Sender, HL7Settings
from config.logs import fields

log = logging.getLogger(__name__)

_LATER = Fault(INTERNAL, "the archive cannot take it now: send it again later")
_PAUSED = Fault(INTERNAL, "messages of this sender are not taken now: send it again later")


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of who calls."""

    address: str
    certificate: PeerCertificate | None = None
    secured: bool = False


class Desk:
    """Takes the messages of all connections."""

    def __init__(self, settings: HL7Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox

    def take(self, line: Line, data: bytes) -> Iterator[bytes]:
        """Take a message; give the answers to it, each when it is time to send it."""
        try:
            # Only the header counts here, which every character set shows alike.
            message = parse(data, actual="ISO_IR 100")
        except Refused as error:
            facts = fields(address=line.address, error=str(error))
            log.warning("what came by HL7 is no message", extra=facts)
            yield self._say(None, "reject", "application", *error.faults)
            return
        sender = self._sender(line, message)
        if sender is None:
            yield from self._stranger(line, message)
            return
        wishes = Wishes.of(message)
        refused = _checked(message, sender)
        try:
            kept = self._inbox.keep(sender, message, data, line.address, refused)
        except Unavailable as error:
            log.warning("an HL7 message could not be kept", extra=fields(sender=sender.name, error=str(error)))
            yield from self._give(message, wishes, wishes.first, "reject", _LATER)
            return
        yield from self._answers(sender, message, wishes, kept)

    def too_long(self, head: bytes) -> bytes:
        """The answer to a message that is not read to its end."""
        try:
            message = parse(head, actual="ISO_IR 100")
        except Refused:
            message = None
        level: Level = Wishes.of(message).first if message is not None else "application"
        most = self._settings.maximum_message_bytes
        return self._say(message, "reject", level, Fault(DATA_TYPE, f"the message has more than {most} bytes"))

    def _answers(self, sender: HL7Sender, message: Message, wishes: Wishes, kept: Kept) -> Iterator[bytes]:
        if kept.refusal is not None:
            level: Level = wishes.first
            outcome: Outcome = "reject" if kept.refusal.rejects else "error"
            facts = fields(message=kept.id, sender=sender.name, error=str(kept.refusal))
            log.warning("a message was refused", extra=facts)
            yield from self._give(message, wishes, level, outcome, *kept.refusal.faults)
            return
        if wishes.enhanced:
            yield from self._give(message, wishes, "accept", "accept")
        try:
            result = self._inbox.settle(sender.name, kept.id)
        except Unavailable as error:
            log.warning("an HL7 message has to wait", extra=fields(message=kept.id, error=str(error)))
            if not wishes.enhanced:
                yield self._say(message, "reject", "application", _LATER)
            return
        if result.state == "received":
            if not wishes.enhanced:
                yield self._say(message, "reject", "application", _PAUSED)
            return
        done: Outcome = "accept" if result.state == "done" else "error"
        if wishes.wants("application", done):
            yield result.answer

    def _sender(self, line: Line, message: Message) -> HL7Sender | None:
        """The sender of the settings whose names, address and certificate these are; the most exact of several."""
        header = message.header
        application, facility = (_name(header.raw(number), message) for number in (3, 4))
        found = [
            sender
            for sender in self._settings.senders
            if sender.application in ("", application)
            and sender.sending_facility in ("", facility)
            and sender.calls_from(line.address)
            and (not sender.certificates or _shows(line, sender))
        ]
        found.sort(key=lambda sender: bool(sender.application) + bool(sender.sending_facility), reverse=True)
        return found[0] if found else None

    def _stranger(self, line: Line, message: Message) -> Iterator[bytes]:
        header = message.header
        facts = fields(
            address=line.address,
            application=_name(header.raw(3), message)[:64],
            facility=_name(header.raw(4), message)[:64],
            certificate=line.certificate.subject if line.certificate else "",
        )
        log.warning("an HL7 message came from a sender that is not listed", extra=facts)
        wishes = Wishes.of(message)
        fault = Fault(UNKNOWN_KEY, "is no sender that is listed here, or not at this address", Location("MSH", 1, 3))
        yield from self._give(message, wishes, wishes.first, "reject", fault)

    def _give(
        self, message: Message, wishes: Wishes, level: Level, outcome: Outcome, *faults: Fault
    ) -> Iterator[bytes]:
        if wishes.wants(level, outcome):
            yield self._say(message, outcome, level, *faults)

    def _say(self, message: Message | None, outcome: Outcome, level: Level, *faults: Fault) -> bytes:
        return acknowledge(self._settings, message, outcome, level, faults)


def _checked(message: Message, sender: HL7Sender) -> Refused | None:
    """Why the sender may not send it, or nobody could read it."""
    try:
        check(message, sender)
    except Refused as error:
        return error
    return None


def _name(raw: str, message: Message) -> str:
    return raw.split(message.delimiters.component)[0].strip()


def _shows(line: Line, sender: HL7Sender) -> bool:
    return line.certificate is not None and line.certificate.is_one_of(sender.certificates)
