"""Break-glass: in an emergency, a doctor sees the studies of a patient at other facilities, and answers for it.

Only of a patient whom they can name exactly, by PatientID and birth date; for some hours; to look at, never to copy.
Each try is counted, found or not, so that nobody finds patients by trying. Whoever owns the studies is told.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, text

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reading import Reader
from archive.records import Scope
from archive.sharing import sql
from archive.sharing.sharings import LONGEST_TEXT
from config.sharing import SharingSettings

_SHORTEST_REASON: Final = 10
_PERSONAL: Final = re.compile(r"[0-9]{12}")
"""The personal identification number, the same wherever a patient goes."""


@dataclass(frozen=True, slots=True)
class Emergency:
    """Whom somebody has to see, and why."""

    patient_id: str
    birth_date: date
    reason: str
    issuer: str = ""
    """Of the PatientID, if it is known."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What broken glass lets see."""

    studies: list[str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """What a facility is told: that somebody sees a patient of it without its decision; or, of the kind ``stranger``,
    that objects of one facility came into a study of the other.
    """

    id: int
    kind: str
    facility: str
    to_facility: str | None
    patient_id: str
    issuer: str
    study: str
    """Of the kind ``stranger``: its UID."""
    opened_by: str
    reason: str
    expires_at: datetime | None
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str


class BreakGlass:
    """Breaks glass, and tells whose it was. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, reader: Reader, trail: Trail, settings: SharingSettings) -> None:
        self._engine = engine
        self._reader = reader
        self._trail = trail
        self._settings = settings

    def open(self, caller: Caller, emergency: Emergency) -> Broken:
        """Let the caller's account see all studies of the patient, also those that come.

        Raises `NotPermitted` without the right or after too many tries, `NotFound` if no patient is exactly so,
        `Conflict` if several are, `InvalidItem`.
        """
        caller.require(Right.BREAK_GLASS)
        if caller.account is None:
            raise NotPermitted("this needs an account of your own: somebody has to answer for it")
        reason = emergency.reason.strip()
        if not _SHORTEST_REASON <= len(reason) <= LONGEST_TEXT:
            raise InvalidItem.of({"reason": f"is needed, with {_SHORTEST_REASON} to {LONGEST_TEXT} characters"})
        self._count(caller)
        patients = self._patients(emergency)
        event = AuditEvent(
            Action.BREAK_GLASS,
            caller,
            Outcome.SUCCESS if patients else Outcome.FAILED,
            patient_id=emergency.patient_id,
            issuer_of_patient_id=emergency.issuer,
            purpose=reason,
        )
        if not patients:
            self._trail.record(event)
            raise NotFound("no patient has this number and this birth date")
        studies = self._studies([row.id for row in patients])
        self._trail.record(replace(event, studies=tuple(studies)))
        return self._grant(caller, patients, reason)

    def notices(self, caller: Caller, *, acknowledged: bool = False, limit: int = 100, offset: int = 0) -> list[Notice]:
        """What the caller's facilities are told, the latest first. Raises `NotPermitted`."""
        where = _where(caller)
        given = {"scope": where, "acknowledged": acknowledged, "limit": limit, "offset": offset}
        scope = Scope(None if where is None else frozenset(where))
        return [Notice(**row._mapping) for row in self._reader.fetch(scope, _NOTICES, given)]

    def acknowledge(self, caller: Caller, notice: int) -> None:
        """Say that it was taken note of. Raises `NotFound`, `NotPermitted`."""
        given = {"scope": _where(caller), "id": notice, "name": caller.name}
        event = AuditEvent(Action.BREAK_GLASS, caller, detail={"acknowledged": notice})
        self._trail.record(event)
        if not change(self._engine, _ACKNOWLEDGE, given):
            raise NotFound("no such notice waits to be taken note of")

    def _count(self, caller: Caller) -> None:
        """Count this try; raise `NotPermitted` if it is one too many."""

        def work(connection: Connection) -> int:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK + int(caller.account or 0)})
            connection.execute(_TRY, {"account": caller.account})
            found: int = connection.execute(_TRIES, {"account": caller.account}).scalar_one()
            return found

        if in_transaction(self._engine, work) > self._settings.break_glass_tries:
            self._trail.record(AuditEvent(Action.BREAK_GLASS, caller, Outcome.DENIED, detail={"why": "too many tries"}))
            raise NotPermitted("too many tries within a day: call the facility that has the images")

    def _patients(self, emergency: Emergency) -> Sequence[Row[Any]]:
        patient = emergency.patient_id.strip()
        given = {"patient": patient, "birth_date": emergency.birth_date, "issuer": emergency.issuer.strip()}
        found = fetch(self._engine, _EXACTLY, given)
        if len(found) > 1 and not _PERSONAL.fullmatch(patient):
            # Numbers of hospitals are counted up: two patients can have the same one.
            raise Conflict("patients of several hospitals have this number: say which hospital gave it")
        return found

    def _studies(self, patients: Sequence[int]) -> list[str]:
        return [row[0] for row in fetch(self._engine, _STUDIES, {"patients": list(patients)})]

    def _grant(self, caller: Caller, patients: Sequence[Row[Any]], reason: str) -> Broken:
        where = caller.rights[Right.BREAK_GLASS]
        home = next(iter(sorted(where)), None) if where else None
        tickets = [uuid.uuid4().hex for _ in patients]

        def work(connection: Connection) -> Broken:
            opened = []
            for patient, ticket in zip(patients, tickets, strict=True):
                given = {
                    "ticket": ticket,
                    "kind": "break_glass",
                    "facility": home,
                    "title": "",
                    "purpose": reason,
                    "may_copy": False,
                    "patient": patient.id,
                    "account": caller.account,
                    "name": caller.name,
                    "seconds": self._settings.break_glass_hours * 3600,
                }
                number = connection.execute(_OPEN, given).scalar_one()
                connection.execute(_MEMBER, {"sharing": number, "account": caller.account})
                connection.execute(_SPREAD, {"sharing": number})
                connection.execute(_NOTIFY, {"sharing": number, "patient": patient.id})
                opened.append(number)
            rows = connection.execute(_OPENED, {"sharings": opened}).all()
            return Broken([row.study for row in rows if row.study is not None], rows[0].expires_at)

        return in_transaction(self._engine, work)


def _where(caller: Caller) -> list[str] | None:
    caller.require(Right.GRANTS)
    where = caller.rights[Right.GRANTS]
    return None if where is None else sorted(where)


_LOCK: Final = (1 << 61) + 911
_TRY: Final = text(sql.TRY)
_TRIES: Final = text(sql.TRIES)
_EXACTLY: Final = text(sql.EXACTLY)
_OPEN: Final = text(sql.OPEN)
_MEMBER: Final = text(
    "INSERT INTO sharing_member (sharing_id, account_id) VALUES (:sharing, :account) ON CONFLICT DO NOTHING"
)
_SPREAD: Final = text(sql.OF_ONE)
_NOTIFY: Final = text(sql.NOTIFY_OF_ONE)
_STUDIES: Final = text("""
SELECT study_instance_uid FROM study WHERE patient_id = ANY(:patients) AND quarantine = '' ORDER BY id
""")
_OPENED: Final = text("""
SELECT sharing.expires_at, study.study_instance_uid AS study
  FROM sharing LEFT JOIN access_grant ON access_grant.sharing_id = sharing.id
  LEFT JOIN study ON study.id = access_grant.study_id
 WHERE sharing.id = ANY(:sharings) ORDER BY study.id
""")
_NOTICES: Final = text(sql.NOTICES)
_ACKNOWLEDGE: Final = text(sql.ACKNOWLEDGE)
