"""The message log for operators: what came and went, what became of it, and doing it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Engine, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import fetch, in_transaction
from archive.errors import NotFound
from archive.hl7.apply import Applier
from archive.hl7.inbox import Inbox, unsealing
from archive.hl7.models import HL7Message, HL7Peer
from archive.hl7.outbox import Outbox
from archive.hl7.sender import INTERVAL, Senders
from archive.identity.identities import Identities
from archive.people.caller import Caller
from archive.people.sealing import Seal
from archive.reports.objects import ReportObjects
from archive.reports.reports import Reports
from archive.worklist.items import Items
from config.settings import Settings

Direction = Literal["in", "out"]
STATES: Final = ("received", "done", "refused", "waiting", "sent", "set_aside")
OPEN: Final = ("received", "waiting")
TROUBLED: Final = ("refused", "set_aside")
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """A message in the log, without what it says."""

    id: int
    direction: Direction
    peer: str
    control_id: str
    message_type: str
    size: int
    state: str
    error: str
    note: str
    tries: int
    replays: int
    address: str
    links: dict[str, Any]
    received_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, and what was answered."""

    line: Line
    message: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class PeerState:
    """How a sender or receiver stands."""

    direction: Direction
    name: str
    state: Literal["idle", "busy", "failing", "paused", "unlisted"]
    open: int
    """Messages that wait to be done or sent."""
    troubled: int
    """Messages that were refused or set aside."""
    failures: int
    retry_at: datetime | None
    error: str
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages a list shows."""

    direction: Direction | None = None
    peer: str = ""
    states: tuple[str, ...] = ()
    message_type: str = ""
    control_id: str = ""
    first: datetime | None = None
    last: datetime | None = None
    before: int | None = None
    """Only messages with a lower number."""
    limit: int = 100


class Messages:
    """The log and the queues. All methods raise `Unavailable`."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        seal: Seal,
        items: Items,
        identities: Identities,
        reports: Reports,
        objects: ReportObjects,
        trail: Trail,
    ) -> None:
        self._engine = engine
        self._settings = settings.hl7
        self._database = settings.database
        self._seal = seal
        self._trail = trail
        issuers = {code: facility.issuer for code, facility in settings.peer_book().facilities.items()}
        self.inbox = Inbox(engine, settings.hl7, seal, Applier(items, identities, reports, trail, issuers))
        self.outbox = Outbox(engine, settings.hl7, seal, reports, objects, settings.web.public_url)

    def senders(self, interval: float = INTERVAL) -> Senders:
        """What tells receivers, for a ``with`` block."""
        return Senders(self._settings, self._database, self._seal, self.outbox, interval)

    @property
    def is_used(self) -> bool:
        """Whether the settings have anybody to talk to."""
        return bool(self._settings.enabled or self._settings.senders or self._settings.receivers)

    def search(self, wanted: Wanted) -> list[Line]:
        """Messages, the newest first."""
        return [_line(row) for row in fetch(self._engine, _lines(wanted).limit(wanted.limit))]

    def get(self, identifier: int) -> Line:
        """One message, without what it says. Raises `NotFound`."""
        return _line(self._row(identifier))

    def content(self, identifier: int, caller: Caller) -> Content:
        """What a message says; put on record first, with the patients it is about. Raises `NotFound`."""
        row = self._row(identifier)
        detail = {"what": "HL7 message", "message": str(row.id), "type": row.message_type}
        self._trail.record(AuditEvent(Action.VIEW, caller, detail=detail))
        whose = (row.direction, row.peer, row.control_id)
        answer = b"" if row.answer is None else unsealing(self._seal, row.answer, *whose)
        return Content(_line(row), unsealing(self._seal, row.sealed, *whose), answer)

    def replay(self, identifier: int) -> Line:
        """Do a message again as the settings are now, or send it once more. Raises `NotFound`."""
        row = self._row(identifier)
        if row.direction == "in":
            self.inbox.replay(identifier)
        else:
            again = update(HL7Message).where(HL7Message.id == identifier, HL7Message.state.in_(("sent", "set_aside")))
            values = {"state": "waiting", "tries": 0, "error": "", "done_at": None, "replays": HL7Message.replays + 1}
            in_transaction(self._engine, lambda connection: connection.execute(again.values(**values)))
        return self.get(identifier)

    def find(self, wanted: Wanted) -> Sequence[int]:
        """The numbers of these messages, the oldest first: the order in which they are done again."""
        return sorted(row.id for row in fetch(self._engine, _lines(wanted).limit(wanted.limit)))

    def pause(self, direction: Direction, name: str, *, paused: bool) -> None:
        """Do or send nothing more, or go on. Raises `NotFound`."""
        if name not in self._names(direction):
            raise NotFound(f"the settings have no {'sender' if direction == 'in' else 'receiver'} {name}")
        given = insert(HL7Peer).values(direction=direction, name=name, paused=paused)
        changed = given.on_conflict_do_update(
            index_elements=[HL7Peer.direction, HL7Peer.name], set_={"paused": paused, "retry_at": None}
        )
        in_transaction(self._engine, lambda connection: connection.execute(changed))

    def retry(self, name: str) -> None:
        """Try a receiver again now."""
        now = update(HL7Peer).where(HL7Peer.direction == "out", HL7Peer.name == name).values(retry_at=None)
        in_transaction(self._engine, lambda connection: connection.execute(now))

    def peers(self) -> list[PeerState]:
        """All senders and receivers of the settings, and those that the log has besides."""
        counted = select(
            HL7Message.direction,
            HL7Message.peer,
            func.count().filter(HL7Message.state.in_(OPEN)).label("open"),
            func.count().filter(HL7Message.state.in_(TROUBLED)).label("troubled"),
        ).group_by(HL7Message.direction, HL7Message.peer)
        counts = {(row.direction, row.peer): row for row in fetch(self._engine, counted)}
        kept = {(row.direction, row.name): row for row in fetch(self._engine, select(*HL7Peer.__table__.c))}
        listed = {(way, name) for way in ("in", "out") for name in self._names(way)}
        return [_peer(key, counts.get(key), kept.get(key), key in listed) for key in sorted({*counts, *kept, *listed})]

    def delete_old(self) -> int:
        """Delete messages that were done with long ago; give their number."""
        horizon = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, self._settings.keep_days * 86_400)
        old = select(HL7Message.id).where(HL7Message.received_at < horizon, HL7Message.state.not_in(OPEN))
        some = old.limit(_AT_ONCE).with_for_update(skip_locked=True).scalar_subquery()
        gone = delete(HL7Message).where(HL7Message.id.in_(some))
        total = 0
        while deleted := in_transaction(self._engine, lambda connection: connection.execute(gone).rowcount):
            total += deleted
        return total

    def _names(self, direction: str) -> set[str]:
        listed = self._settings.senders if direction == "in" else self._settings.receivers
        return {each.name for each in listed}

    def _row(self, identifier: int) -> Any:
        wanted = select(*HL7Message.__table__.c).where(HL7Message.id == identifier)
        rows = fetch(self._engine, wanted) if 0 < identifier < 1 << 63 else []
        if not rows:
            raise NotFound("no such message")
        return rows[0]


def _lines(wanted: Wanted) -> Select[Any]:
    columns = [column for column in HL7Message.__table__.c if column.name not in ("sealed", "answer", "digest")]
    limits: list[ColumnElement[bool]] = []
    if wanted.direction is not None:
        limits.append(HL7Message.direction == wanted.direction)
    if wanted.peer:
        limits.append(HL7Message.peer == wanted.peer)
    if wanted.states:
        limits.append(HL7Message.state.in_(wanted.states))
    if wanted.message_type:
        limits.append(HL7Message.message_type.startswith(wanted.message_type, autoescape=True))
    if wanted.control_id:
        limits.append(HL7Message.control_id == wanted.control_id)
    if wanted.first is not None:
        limits.append(HL7Message.received_at >= wanted.first)
    if wanted.last is not None:
        limits.append(HL7Message.received_at <= wanted.last)
    if wanted.before is not None:
        limits.append(HL7Message.id < wanted.before)
    return select(*columns).where(*limits).order_by(HL7Message.id.desc())


def _line(row: Any) -> Line:
    return Line(
        row.id, row.direction, row.peer, row.control_id, row.message_type, row.size, row.state, row.error, row.note,
        row.tries, row.replays, row.address, row.links, row.received_at, row.done_at,
    )  # fmt: skip


def _peer(key: tuple[str, str], counts: Any, kept: Any, listed: bool) -> PeerState:
    waiting = counts.open if counts is not None else 0
    failures = kept.failures if kept is not None else 0
    state: Literal["idle", "busy", "failing", "paused", "unlisted"] = "busy" if waiting else "idle"
    state = "failing" if failures else state
    state = "paused" if kept is not None and kept.paused else state
    return PeerState(
        "in" if key[0] == "in" else "out",
        key[1],
        state if listed else "unlisted",
        waiting,
        counts.troubled if counts is not None else 0,
        failures,
        kept.retry_at if kept is not None else None,
        kept.error if kept is not None else "",
        kept.last_at if kept is not None else None,
    )
