"""Messages that go out: put into the log in the transaction that notes what they tell, sent by one process at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from archive.database import in_transaction
from archive.hl7.build import Subject, Told, order_message, report_message, service_of
from archive.hl7.inbox import sealing, unsealing
from archive.hl7.models import HL7Cursor, HL7Message, HL7Order
from archive.index_session import Connection as Driver
from archive.index_session import IndexSession
from archive.models import Facility
from archive.people.sealing import Seal
from archive.reports.objects import ReportObjects
from archive.reports.reports import Reports
from archive.worklist.models import WorklistItem as Item
from archive.worklist.order import CLOSED
from config.clock import VIETNAM
from config.hl7 import HL7Receiver, HL7Settings

_REPORTS: Final = "reports"
_AT_ONCE: Final = 100
_KINDS: Final = frozenset(("final", "amended", "addendum", "cancelled"))

# One process at a time, and nobody waits for the dead: they hold no lock.
_CLAIM: Final = """
INSERT INTO hl7_peer (direction, name, holder) VALUES ('out', %(name)s, %(me)s)
ON CONFLICT (direction, name) DO UPDATE SET holder = EXCLUDED.holder
 WHERE NOT hl7_peer.paused AND (hl7_peer.retry_at IS NULL OR hl7_peer.retry_at <= now())
   AND (hl7_peer.holder IS NULL OR hl7_peer.holder = %(me)s
        OR hl7_peer.holder NOT IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                                    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
RETURNING failures
"""
_NEXT: Final = """
SELECT id, peer, control_id, sealed, tries FROM hl7_message
 WHERE direction = 'out' AND peer = %(name)s AND state = 'waiting' ORDER BY id LIMIT 1
"""
# Whoever was taken for dead and was not changes nothing any more.
_MINE: Final = "EXISTS (SELECT FROM hl7_peer WHERE direction = 'out' AND name = %(name)s AND holder = %(me)s)"
_ENDED: Final = f"""
UPDATE hl7_message SET state = %(state)s, answer = %(answer)s, error = %(error)s, tries = tries + 1,
                       done_at = clock_timestamp()
 WHERE id = %(id)s AND state = 'waiting' AND {_MINE}
"""
_REFUSED: Final = f"""
UPDATE hl7_message SET answer = %(answer)s, error = %(error)s, tries = tries + 1
 WHERE id = %(id)s AND state = 'waiting' AND {_MINE}
"""
_WELL: Final = """
UPDATE hl7_peer SET failures = 0, retry_at = NULL, error = '', last_at = clock_timestamp()
 WHERE direction = 'out' AND name = %(name)s AND holder = %(me)s
"""
_FAILED: Final = """
UPDATE hl7_peer SET failures = failures + 1, error = %(error)s, failed_at = clock_timestamp(), holder = NULL,
                    retry_at = now() + make_interval(secs => %(wait)s)
 WHERE direction = 'out' AND name = %(name)s AND holder = %(me)s
"""
_RELEASE: Final = "UPDATE hl7_peer SET holder = NULL WHERE direction = 'out' AND name = %(name)s AND holder = %(me)s"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next message for a receiver."""

    id: int
    control_id: str
    data: bytes
    tries: int
    failures: int
    """Of the receiver, in a row."""


class Outbox:
    """What receivers are told. All methods raise `Unavailable`."""

    def __init__(
        self,
        engine: Engine,
        settings: HL7Settings,
        seal: Seal,
        reports: Reports,
        objects: ReportObjects,
        public_url: str,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._seal = seal
        self._reports = reports
        self._objects = objects
        self._public_url = public_url.rstrip("/")

    # -- what is to be told ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Tell of reports from now on, unless that goes on already."""
        if not self._receivers("reports"):
            return
        last = 0
        while events := self._reports.events(last):
            last = events[-1].id
        first = upsert(HL7Cursor).values(name=_REPORTS, position=last).on_conflict_do_nothing()
        in_transaction(self._engine, lambda connection: connection.execute(first))

    def tell_orders(self) -> int:
        """Put messages about orders whose status has changed into the queue; give how many orders there were."""

        def work(connection: Connection) -> int:
            rows = connection.execute(_untold()).all()
            for row in rows:
                subject = _subject_of_item(row)
                for receiver in self._receivers("orders", row.code):
                    control, data = order_message(self._settings, receiver, subject, row.status)
                    self._put(connection, receiver, receiver.order_message, control, data, {"items": [row.id]})
                told = update(HL7Order).where(HL7Order.item_id == row.id)
                connection.execute(told.values(told=row.status, over=row.status in CLOSED))
            return len(rows)

        return in_transaction(self._engine, work)

    def tell_reports(self) -> int:
        """Put messages about reports that were signed into the queue; give how many versions there were."""
        if not self._receivers("reports"):
            return 0

        def work(connection: Connection) -> int:
            cursor = select(HL7Cursor.position).where(HL7Cursor.name == _REPORTS).with_for_update(skip_locked=True)
            position = connection.execute(cursor).scalar()
            if position is None:
                return 0  # another process is at it
            events = self._reports.events(position, _AT_ONCE)
            for event in events:
                if event.kind in _KINDS:
                    self._tell_report(connection, event)
            if events:
                moved = update(HL7Cursor).where(HL7Cursor.name == _REPORTS).values(position=events[-1].id)
                connection.execute(moved)
            return len(events)

        return in_transaction(self._engine, work)

    def _tell_report(self, connection: Connection, event: Any) -> None:
        version = self._reports.version(event.report, event.version)
        about = version.subject or {}
        receivers = self._receivers("reports", str(about.get("owner", "")))
        receivers = receivers or self._receivers("reports", str(about.get("facility", "")))
        if not receivers or self._reports.by_id(event.report).source == "hl7":
            return  # what came from a hospital's system is not sent back
        subject = _subject_of_report(connection, about)
        for receiver in receivers:
            told = self._told(event, version, receiver, subject)
            control, data = report_message(self._settings, receiver, subject, told)
            self._put(connection, receiver, "ORU^R01", control, data, {"reports": [event.number]})

    def _told(self, event: Any, version: Any, receiver: HL7Receiver, subject: Subject) -> Told:
        issued = version.issued_at or event.at
        link = f"{self._public_url}/viewer/viewer?StudyInstanceUIDs={subject.study}"
        return Told(
            number=event.number,
            version=event.version,
            kind=event.kind,
            findings=version.description,
            conclusion=version.whole_conclusion,
            recommendation=version.recommendation,
            author=version.author_name,
            licence=version.author_licence,
            issued=issued.astimezone(VIETNAM).replace(tzinfo=None),
            link=link if receiver.link and self._public_url else "",
            pdf=self._objects.printed(event.number, version, self._settings.application) if receiver.pdf else b"",
        )

    def _receivers(self, what: str, facility: str = "") -> list[HL7Receiver]:
        return [
            receiver
            for receiver in self._settings.receivers
            if receiver.enabled
            and what in receiver.messages
            and (not facility or not receiver.facilities or facility in receiver.facilities)
        ]

    def _put(
        self, connection: Connection, receiver: HL7Receiver, kind: str, control: str, data: bytes, links: dict[str, Any]
    ) -> None:
        values = {
            "direction": "out",
            "peer": receiver.name,
            "control_id": control,
            "message_type": kind,
            "digest": hashlib.sha256(data).digest(),
            "size": len(data),
            "sealed": sealing(self._seal, data, "out", receiver.name, control),
            "state": "waiting",
            "about": [],
            "links": links,
        }
        connection.execute(insert(HL7Message).values(**values))


class Claims:
    """The queue of each receiver, for the process of this session. All methods raise `Unavailable`."""

    def __init__(self, session: IndexSession, seal: Seal) -> None:
        self._session = session
        self._seal = seal

    def next(self, name: str) -> Waiting | None:
        """The oldest message that waits, if this process may send now."""

        def work(connection: Driver) -> Any:
            waiting = connection.execute(_NEXT, {"name": name}).fetchone()
            if waiting is None:
                return None
            claimed = connection.execute(_CLAIM, self._me(name)).fetchone()
            # Looked at again: who held the queue before may have sent it meanwhile.
            waiting = connection.execute(_NEXT, {"name": name}).fetchone()
            return None if claimed is None or waiting is None else (*waiting, *claimed)

        found = self._session.run(work)
        if found is None:
            return None
        identifier, peer, control, sealed, tries, failures = found
        data = unsealing(self._seal, bytes(sealed), "out", peer, control)
        return Waiting(identifier, control, data, tries, failures)

    def ended(self, name: str, message: Waiting, state: str, answer: bytes, error: str = "") -> None:
        """It was taken (``sent``), or is not tried any more (``set_aside``)."""
        sealed = sealing(self._seal, answer, "out", name, message.control_id) if answer else None
        given = {**self._me(name), "id": message.id, "state": state, "answer": sealed, "error": error[:1000]}

        def work(connection: Driver) -> None:
            with connection.transaction():
                connection.execute(_ENDED, given)
                connection.execute(_WELL, given)

        self._session.run(work)

    def refused(self, name: str, message: Waiting, answer: bytes, error: str, wait: float) -> None:
        """It was refused for now, and is tried again."""
        sealed = sealing(self._seal, answer, "out", name, message.control_id)
        given = {**self._me(name), "id": message.id, "answer": sealed, "error": error[:1000], "wait": wait}

        def work(connection: Driver) -> None:
            with connection.transaction():
                connection.execute(_REFUSED, given)
                connection.execute(_FAILED, given)

        self._session.run(work)

    def failed(self, name: str, error: str, wait: float) -> None:
        """The receiver cannot be reached, or does not answer."""
        given = {**self._me(name), "error": error[:300], "wait": wait}
        self._session.run(lambda connection: connection.execute(_FAILED, given).rowcount)

    def release(self, name: str) -> None:
        """Let another process send."""
        self._session.run(lambda connection: connection.execute(_RELEASE, self._me(name)).rowcount)

    def _me(self, name: str) -> dict[str, Any]:
        return {"name": name, "me": self._session.writer}


def _untold() -> Any:
    return (
        select(
            Item.id, Item.status, Item.patient_id, Item.issuer, Item.name, Item.birth_date, Item.sex, Item.modality,
            Item.study_instance_uid, Item.accession_number, Item.attributes, Facility.code, HL7Order.placer,
            HL7Order.filler,
        )
        .join(HL7Order, HL7Order.item_id == Item.id)
        .join(Facility, Facility.id == Item.facility_id)
        .where(~HL7Order.over, Item.status != HL7Order.told)
        .order_by(Item.id)
        .limit(_AT_ONCE)
        .with_for_update(of=HL7Order, skip_locked=True)
    )  # fmt: skip


def _subject_of_item(row: Any) -> Subject:
    return Subject(
        patient_id=row.patient_id,
        issuer=row.issuer,
        name=row.name,
        birth_date=f"{row.birth_date:%Y%m%d}" if row.birth_date else "",
        sex=row.sex,
        study=row.study_instance_uid,
        accession=row.accession_number,
        placer=row.placer,
        filler=row.filler,
        service=service_of(row.attributes),
        modality=row.modality,
    )


def _subject_of_report(connection: Connection, about: dict[str, Any]) -> Subject:
    accession, study = str(about.get("accession_number", "")), str(about.get("study", ""))
    owner = select(Facility.id).where(Facility.code == about.get("owner", "")).scalar_subquery()
    by_number = (Item.accession_number == accession) & (Item.accession_number != "")
    asked = (
        select(HL7Order.placer, HL7Order.filler)
        .join(Item, Item.id == HL7Order.item_id)
        .where(Item.facility_id == owner, (Item.study_instance_uid == study) | by_number)
        .order_by((Item.study_instance_uid == study).desc(), Item.id.desc())
        .limit(1)
    )
    order = connection.execute(asked).one_or_none()
    modalities: Sequence[str] = about.get("modalities") or [""]
    day, time = (str(about.get(name, "")).replace("-", "").replace(":", "") for name in ("study_date", "study_time"))
    return Subject(
        patient_id=str(about.get("patient_id", "")),
        issuer=str(about.get("issuer", "")),
        name=str(about.get("patient_name", "")),
        birth_date=str(about.get("birth_date", "")).replace("-", ""),
        sex=str(about.get("sex", "")),
        study=study,
        accession=accession,
        placer=order.placer if order else "",
        filler=order.filler if order else "",
        service=(str(about.get("procedure_code", "")), str(about.get("procedure", "")), "L"),
        modality=modalities[0],
        observed=day + time if day else "",
        visit=str(about.get("admission", "")),
    )
