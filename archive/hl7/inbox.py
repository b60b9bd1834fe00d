"""Messages that come in: kept first, then done, in the order of each sender.

Two transactions for each message. The first keeps the bytes; from here on nothing is lost. The second does what the
message asks for and notes it as done: a process that dies in between leaves a message that is done by whoever comes
next, before any later one of its sender. Advisory locks by sender, held by transactions only, keep the order between
threads and processes, and nobody waits for the dead.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import InterfaceError, OperationalError

from archive.database import fetch, in_transaction
from archive.errors import IndexUnavailable, NotFound, StoreUnavailable, Unavailable
from archive.hl7.answer import Outcome, acknowledge
from archive.hl7.apply import Applier
from archive.hl7.faults import DUPLICATE_KEY, INTERNAL, Fault, Refused, refuse
from archive.hl7.message import Message, parse
from archive.hl7.models import HL7Message, HL7Peer
from archive.hl7.worklist import Done
from archive.people.sealing import Seal
from config.hl7 import HL7Sender, HL7Settings
from config.logs import fields

log = logging.getLogger(__name__)

_KEEPING: Final = 0x484B
_DOING: Final = 0x4844
"""Classes of the advisory locks on senders."""
MOST_TRIES: Final = 20
"""After which a message that the index cannot take is refused, so that those behind it go on."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that is in the log."""

    id: int
    state: str
    again: bool
    """It was there before."""
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message."""

    state: str
    """``received`` while it has to wait."""
    answer: bytes = b""


class Inbox:
    """The messages of all senders. All methods raise `Unavailable`."""

    def __init__(self, engine: Engine, settings: HL7Settings, seal: Seal, applier: Applier) -> None:
        self._engine = engine
        self._settings = settings
        self._seal = seal
        self._applier = applier
        self._senders = {sender.name: sender for sender in settings.senders}

    def keep(
        self, sender: HL7Sender, message: Message, data: bytes, address: str, refused: Refused | None = None
    ) -> Kept:
        """Put a message into the log, durably. One that is there already is the same, unless its bytes are others.

        With `refused`, it is kept as one that cannot be taken.
        """
        digest = hashlib.sha256(data).digest()
        control = _plain(message.control_id)
        sealed = sealing(self._seal, data, "in", sender.name, control)

        def work(connection: Connection) -> Kept:
            _lock(connection, _KEEPING, sender.name)
            mine = (HL7Message.direction == "in", HL7Message.peer == sender.name, HL7Message.control_id == control)
            seen = connection.execute(select(HL7Message.id, HL7Message.state, HL7Message.digest).where(*mine)).all()
            same = next((row for row in seen if row.digest == digest), None)
            others = any(row.digest != digest for row in seen if row is not same)
            refusal = refused or (_reused(message) if others and sender.reused_control_ids == "refuse" else None)
            if same is not None:
                first = min(seen, key=lambda row: row.id) is same
                refusal = refused if first else refusal
                return self._again(connection, same, refusal)
            made = connection.execute(
                insert(HL7Message)
                .values(
                    direction="in",
                    peer=sender.name,
                    control_id=control,
                    message_type=_plain("^".join(part for part in message.kind if part))[:32],
                    digest=digest,
                    size=len(data),
                    sealed=sealed,
                    state="refused" if refusal else "received",
                    error=str(refusal or "")[:1000],
                    done_at=func.clock_timestamp() if refusal else None,
                    address=address,
                    about=[],
                    links={},
                )
                .returning(HL7Message.id)
            ).scalar_one()
            _seen(connection, sender.name)
            return Kept(made, "refused" if refusal else "received", False, refusal)

        return in_transaction(self._engine, work)

    def _again(self, connection: Connection, row: Any, refusal: Refused | None) -> Kept:
        """One that was refused is looked at anew: the settings may be others now, and nothing of it was done."""
        if row.state != "refused" or refusal is not None:
            return Kept(row.id, row.state, True, refusal if row.state == "refused" else None)
        again = update(HL7Message).where(HL7Message.id == row.id)
        connection.execute(again.values(state="received", error="", tries=0, done_at=None))
        return Kept(row.id, "received", True)

    def settle(self, sender: str, wanted: int | None = None) -> Result:
        """Do all messages of a sender that wait, in their order; give what became of the one that is wanted.

        Raises `Unavailable` when one of them has to wait for the index.
        """
        while True:
            done = self._try(sender, lambda connection: self._next(connection, sender))
            if not done:
                return self.result(wanted) if wanted is not None else Result("done")

    def waiting(self) -> list[str]:
        """Senders with messages that wait to be done and are not paused."""
        paused = select(HL7Peer.name).where(HL7Peer.direction == "in", HL7Peer.paused)
        open_ = select(HL7Message.peer).where(
            HL7Message.direction == "in", HL7Message.state == "received", HL7Message.peer.not_in(paused)
        )
        return [row.peer for row in fetch(self._engine, open_.distinct()) if row.peer in self._senders]

    def result(self, identifier: int) -> Result:
        """What became of a message, and the answer that it got."""
        wanted = select(HL7Message.state, HL7Message.answer, HL7Message.peer, HL7Message.control_id)
        rows = fetch(self._engine, wanted.where(HL7Message.id == identifier))
        if not rows:
            raise NotFound("no such message")
        [row] = rows
        return Result(
            row.state, b"" if row.answer is None else unsealing(self._seal, row.answer, "in", row.peer, row.control_id)
        )

    def replay(self, identifier: int) -> Result:
        """Do a message again, as the settings are now. What later messages changed stays as it is.

        Raises `NotFound`.
        """
        wanted = select(HL7Message.peer).where(HL7Message.id == identifier, HL7Message.direction == "in")
        rows = fetch(self._engine, wanted)
        if not rows or rows[0].peer not in self._senders:
            raise NotFound("no such message of a sender that the settings list")
        sender = rows[0].peer
        self.settle(sender)

        def work(connection: Connection) -> bool:
            _lock(connection, _DOING, sender)
            mine = select(*HL7Message.__table__.c).where(HL7Message.id == identifier).with_for_update()
            self._do(connection, connection.execute(mine).one())
            again = update(HL7Message).where(HL7Message.id == identifier)
            connection.execute(again.values(replays=HL7Message.replays + 1))
            return True

        self._try(sender, work)
        return self.result(identifier)

    def _try(self, sender: str, work: Any) -> bool:
        try:
            return bool(in_transaction(self._engine, work))
        except IndexUnavailable:
            self._put_off(sender)
            raise

    def _put_off(self, sender: str) -> None:
        """Count the try; one message must not hold up all others for ever."""

        def work(connection: Connection) -> None:
            _lock(connection, _DOING, sender)
            first = _oldest(sender).with_only_columns(HL7Message.id, HL7Message.tries)
            row = connection.execute(first).one_or_none()
            if row is None:
                return
            values: dict[str, Any] = {"tries": row.tries + 1}
            if row.tries + 1 >= MOST_TRIES:
                error = f"could not be done in {MOST_TRIES} tries"
                values |= {"state": "refused", "error": error, "done_at": func.clock_timestamp()}
                log.error("a message could not be done and is set aside", extra=fields(message=row.id, sender=sender))
            connection.execute(update(HL7Message).where(HL7Message.id == row.id).values(**values))

        try:
            in_transaction(self._engine, work)
        except IndexUnavailable:
            return  # the index is away, which is no fault of the message

    def _next(self, connection: Connection, sender: str) -> bool:
        """Do the oldest message of a sender that waits; false if there is none, or the sender is paused."""
        _lock(connection, _DOING, sender)
        paused = select(HL7Peer.paused).where(HL7Peer.direction == "in", HL7Peer.name == sender)
        if connection.execute(paused).scalar():
            return False
        row = connection.execute(_oldest(sender).with_for_update()).one_or_none()
        if row is None:
            return False
        self._do(connection, row)
        return True

    def _do(self, connection: Connection, row: Row[Any]) -> None:
        sender = self._senders[row.peer]
        data = unsealing(self._seal, row.sealed, "in", row.peer, row.control_id)
        message: Message | None = None
        faults: Sequence[Fault] = ()
        done = Done()
        outcome: Outcome = "accept"
        try:
            message = parse(data, default=sender.default_character_set, actual=sender.actual_character_set)
            with connection.begin_nested():
                done = self._applier.apply(
                    connection, message, sender, row.address, lambda name: _superseded(connection, row.id, name)
                )
        except Refused as error:
            faults, outcome = error.faults, "reject" if error.rejects else "error"
        except Unavailable:
            raise
        except Exception as error:
            if _is_passing(error):
                raise
            log.exception("a message could not be done", extra=fields(message=row.id, sender=row.peer))
            faults, outcome = (Fault(INTERNAL, "internal error; it is in the log of the archive"),), "error"
        message = message or _header_of(data)
        answer = acknowledge(self._settings, message, outcome, "application", faults, done.notes)
        links = {name: found for name in ("items", "reports") if (found := getattr(done, name))}
        self._note(connection, row, outcome, faults, done, links, answer)
        if outcome != "accept":
            places = ", ".join(str(fault.where) for fault in faults if fault.where.segment)
            facts = fields(message=row.id, sender=row.peer, type=row.message_type, places=places)
            log.warning("a message was refused", extra=facts)

    def _note(
        self,
        connection: Connection,
        row: Row[Any],
        outcome: Outcome,
        faults: Sequence[Fault],
        done: Done,
        links: dict[str, Any],
        answer: bytes,
    ) -> None:
        values: dict[str, Any] = {
            "state": "done" if outcome == "accept" else "refused",
            "error": "; ".join(map(str, faults))[:1000],
            "note": "; ".join(map(str, done.notes))[:1000],
            "answer": sealing(self._seal, answer, "in", row.peer, row.control_id),
            "done_at": func.clock_timestamp(),
        }
        if outcome != "accept" and row.state == "done":
            # What it did the first time stands, and so does the answer.
            values = {"error": f"done again: {values['error']}"[:1000]}
        if outcome == "accept":
            values |= {"about": sorted({*row.about, *done.about}), "links": links}
        connection.execute(update(HL7Message).where(HL7Message.id == row.id).values(**values))


def _oldest(sender: str) -> Any:
    mine = (HL7Message.direction == "in", HL7Message.peer == sender, HL7Message.state == "received")
    return select(*HL7Message.__table__.c).where(*mine).order_by(HL7Message.id).limit(1)


def _superseded(connection: Connection, identifier: int, name: str) -> bool:
    later = select(1).where(
        HL7Message.id > identifier,
        HL7Message.direction == "in",
        HL7Message.state == "done",
        HL7Message.about.contains([name]),
    )
    return connection.execute(later.limit(1)).first() is not None


def _is_passing(error: Exception) -> bool:
    """Whether the connection is of no use any more, or another try may do."""
    return isinstance(error, OperationalError | InterfaceError)


def _lock(connection: Connection, kind: int, name: str) -> None:
    connection.execute(select(func.pg_advisory_xact_lock(kind, func.hashtext(name))))


def _seen(connection: Connection, name: str) -> None:
    given = upsert(HL7Peer).values(direction="in", name=name, last_at=func.clock_timestamp())
    connection.execute(
        given.on_conflict_do_update(
            index_elements=[HL7Peer.direction, HL7Peer.name], set_={"last_at": func.clock_timestamp()}
        )
    )


def _reused(message: Message) -> Refused:
    return refuse(DUPLICATE_KEY, "was used for another message before", message.header.where(10))


def _header_of(data: bytes) -> Message | None:
    """A message of which only the header could be read."""
    try:
        return parse(data, actual="ISO_IR 100")
    except Refused:
        return None


def _plain(text: str) -> str:
    """As received, one character for each byte, without what a text column does not hold."""
    return text.replace("\0", "")[:250]


def sealing(seal: Seal, data: bytes, direction: str, peer: str, control: str) -> bytes:
    """Bytes sealed for one message. Raises `Unavailable`."""
    try:
        return seal.seal(data, f"hl7:{direction}:{peer}:{control}")
    except OSError as error:
        raise StoreUnavailable(f"the key of access.key_file cannot be read: {error.strerror or error}") from None


def unsealing(seal: Seal, sealed: bytes, direction: str, peer: str, control: str) -> bytes:
    """The other way. Raises `Unavailable`."""
    try:
        return seal.unseal(sealed, f"hl7:{direction}:{peer}:{control}")
    except OSError as error:
        raise StoreUnavailable(f"the key of access.key_file cannot be read: {error.strerror or error}") from None
