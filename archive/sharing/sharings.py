"""Referrals and consultations: people let others see studies of their facility, for a purpose and a time.

Each decision is a row of ``sharing`` with its members and studies; what it lets see follows from it as rows of
``access_grant``, in the same transaction. Everything is recorded before it takes effect.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.errors import InvalidItem, NotFound
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reading import Reader
from archive.records import Scope
from archive.sharing import sql
from config.settings import Settings

DAY: Final = 86_400.0
LONGEST_TEXT: Final = 1024
_MOST_STUDIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """For what, for how long, and whether whole objects may be copied."""

    purpose: str
    days: float | None = None
    """As the settings say unless given."""
    may_copy: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """Whom somebody lets in: codes of facilities, sign-in names of accounts."""

    facilities: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shared:
    """A decision as it stands."""

    id: int
    kind: str
    title: str
    purpose: str
    may_copy: bool
    facility: str | None
    whole_patient: bool
    """All studies of the patient, also those that come."""
    opened_by: str
    opened_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    closed_by: str
    facilities: list[str]
    accounts: list[str]
    studies: list[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """That one study is open to somebody; `facility` owns it."""

    id: int
    kind: str
    purpose: str
    may_copy: bool
    sharing: int | None
    facility: str
    study: str
    to_facility: str | None
    to_account: str | None
    to_link: int | None
    granted_by: str | None
    granted_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Study:
    id: int
    uid: str
    patient: int
    facility: str
    identity: str
    issuer: str


class Sharings:
    """What facilities share. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, reader: Reader, trail: Trail, settings: Settings) -> None:
        self._engine = engine
        self._reader = reader
        self._trail = trail
        self._settings = settings.sharing
        self._known = frozenset(settings.peer_book().facilities)

    def refer(self, caller: Caller, study: str, to: str, terms: Terms, *, whole_patient: bool = False) -> Shared:
        """Let another facility see a study, or all of its patient that the owner has, also those that come.

        Raises `NotFound` for a study for which the caller may not do that, `InvalidItem`, `NotPermitted`.
        """
        (found,) = self._own(caller, [study])
        self._check_members(Members((to,)), {found.facility})
        seconds = self._seconds(terms, self._settings.referral_days)
        event = self._event(caller, Action.SHARE, [found], terms.purpose, way="referral", to=to)

        def work(connection: Connection) -> None:
            opened = self._open(connection, caller, "referral", found.facility, terms, seconds, event.ticket)
            if whole_patient:
                connection.execute(_OF_PATIENT, {"sharing": opened, "patient": found.patient})
            self._add(connection, caller, opened, Members((to,)), [found.id])

        return self._decide(caller, event, work)

    def consult(self, caller: Caller, title: str, members: Members, studies: Sequence[str], terms: Terms) -> Shared:
        """Open a consultation (hội chẩn): its members see its studies until it ends. Raises the same."""
        found = self._own(caller, studies)
        if not title.strip() or len(title) > LONGEST_TEXT:
            raise InvalidItem.of({"title": f"is needed, with at most {LONGEST_TEXT} characters"})
        convener = found[0].facility
        self._check_members(members, set())
        seconds = self._seconds(terms, self._settings.consultation_days)
        event = self._event(caller, Action.CONSULT, found, terms.purpose, way="consultation", to=_named(members))

        def work(connection: Connection) -> None:
            given = (convener, terms, seconds, event.ticket)
            opened = self._open(connection, caller, "consultation", *given, title=title.strip())
            # The convener's own people see what other members add.
            everybody = Members((convener, *members.facilities), members.accounts)
            self._add(connection, caller, opened, everybody, [each.id for each in found])

        return self._decide(caller, event, work)

    def extend(self, caller: Caller, number: int, members: Members = Members(), studies: Sequence[str] = ()) -> Shared:
        """Add to an open consultation: members by who opened it, studies by any member that may share them."""
        shared = self.get(caller, number)
        if shared.kind != "consultation" or shared.closed_at is not None:
            raise NotFound("no such consultation is open")
        if members != Members():
            caller.require(Right.SHARE, shared.facility)
            self._check_members(members, set())
        found = self._own(caller, studies) if studies else []
        event = self._event(caller, Action.CONSULT, found, shared.purpose, way="consultation", to=_named(members))
        self._trail.record(event.event)
        in_transaction(
            self._engine,
            lambda connection: self._add(connection, caller, number, members, [each.id for each in found]),
        )
        return self.get(caller, number)

    def close(self, caller: Caller, number: int) -> Shared:
        """End a referral or consultation now, with all its grants. Raises `NotFound`, `NotPermitted`."""
        shared = self.get(caller, number)
        if not caller.may(Right.GRANTS, shared.facility):
            caller.require(Right.SHARE, shared.facility)
        self._trail.record(
            AuditEvent(Action.WITHDRAW, caller, studies=tuple(shared.studies), detail={"sharing": number})
        )
        change(self._engine, _CLOSE, {"sharing": number, "name": caller.name}, repeatable=True)
        return self.get(caller, number)

    def withdraw(self, caller: Caller, grant: int) -> Grant:
        """Take back that one study is open to somebody. Raises `NotFound` for a study of another facility."""
        mine = self.grants(caller, number=grant)
        if not mine:
            raise NotFound("no such grant")
        found = mine[0]
        detail: dict[str, str | int | list[str]] = {"grant": grant, "way": found.kind}
        self._trail.record(AuditEvent(Action.WITHDRAW, caller, studies=(found.study,), detail=detail))
        change(self._engine, _WITHDRAW, {"id": grant}, repeatable=True)
        return self.grants(caller, number=grant)[0]

    def get(self, caller: Caller, number: int) -> Shared:
        """One decision that the caller takes part in. Raises `NotFound`."""
        found = self.decisions(caller, number=number, closed=True)
        if not found:
            raise NotFound("no such referral or consultation")
        return found[0]

    def decisions(
        self,
        caller: Caller,
        kind: str | None = None,
        *,
        number: int | None = None,
        closed: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Shared]:
        """What the caller's facilities opened or are members of, the latest first; `closed` with what has ended."""
        where = _where(caller, Right.VIEW, Right.SHARE, Right.GRANTS)
        given = {"scope": where, "account": caller.account, "kind": kind, "id": number, "closed": closed}
        rows = self._reader.fetch(_scope(where, caller), _LIST, {**given, "limit": limit, "offset": offset})
        return [Shared(**row._mapping) for row in rows]

    def grants(
        self,
        caller: Caller,
        study: str | None = None,
        *,
        number: int | None = None,
        ended: bool = True,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Grant]:
        """To whom studies of the caller's facilities are open, the latest first. Raises `NotPermitted`."""
        where = _where(caller, Right.GRANTS, Right.SHARE)
        given = {"scope": where, "study": study, "id": number, "ended": ended or number is not None}
        rows = self._reader.fetch(_scope(where, caller), _GRANTS, {**given, "limit": limit, "offset": offset})
        return [Grant(**row._mapping) for row in rows]

    # -- parts -------------------------------------------------------------------------------------------------------

    def _own(self, caller: Caller, studies: Sequence[str]) -> list[_Study]:
        """Studies that the caller may share. What others own is not found, whether it exists or not."""
        caller.require(Right.SHARE)
        if not 0 < len(set(studies)) <= _MOST_STUDIES:
            raise InvalidItem.of({"studies": f"are 1 to {_MOST_STUDIES} Study Instance UIDs"})
        where = caller.rights[Right.SHARE]
        codes = None if where is None else sorted(where)
        given = {"studies": sorted(set(studies)), "scope": codes}
        found = [_Study(*tuple(row)) for row in self._reader.fetch(_scope(codes, caller), _OWN, given)]
        if {each.uid for each in found} != set(studies):
            raise NotFound("no such study, or not all of these")
        return found

    def _check_members(self, members: Members, owners: set[str]) -> None:
        unknown = [code for code in members.facilities if code not in self._known or code in owners]
        if unknown:
            raise InvalidItem.of({"facilities": "name a facility that is not of this archive, or that owns the study"})
        if members.accounts:
            known = {row.name for row in fetch(self._engine, _ACCOUNTS, {"accounts": list(members.accounts)})}
            if known != set(members.accounts):
                raise InvalidItem.of({"accounts": "name somebody who cannot sign in here"})
        if not members.facilities and not members.accounts:
            raise InvalidItem.of({"facilities": "are needed, or accounts: somebody has to be let in"})

    def _seconds(self, terms: Terms, usual: float) -> float:
        if not terms.purpose.strip() or len(terms.purpose) > LONGEST_TEXT:
            raise InvalidItem.of({"purpose": f"is needed, with at most {LONGEST_TEXT} characters"})
        days = usual if terms.days is None else terms.days
        if not 0 < days <= self._settings.longest_days:
            raise InvalidItem.of({"days": f"are more than 0 and at most {self._settings.longest_days:g}"})
        return days * DAY

    def _open(
        self,
        connection: Connection,
        caller: Caller,
        kind: str,
        facility: str,
        terms: Terms,
        seconds: float,
        ticket: str,
        *,
        title: str = "",
    ) -> int:
        given = {"kind": kind, "facility": facility, "title": title, "purpose": terms.purpose.strip(), "patient": None}
        who = {"account": caller.account, "name": caller.name, "seconds": seconds, "ticket": ticket}
        opened: int = connection.execute(_OPEN, {**given, **who, "may_copy": terms.may_copy}).scalar_one()
        return opened

    def _add(
        self, connection: Connection, caller: Caller, number: int, members: Members, studies: Sequence[int]
    ) -> None:
        connection.execute(_FACILITIES, {"sharing": number, "facilities": list(members.facilities)})
        connection.execute(_MEMBER_ACCOUNTS, {"sharing": number, "accounts": list(members.accounts)})
        connection.execute(_STUDIES, {"sharing": number, "studies": list(studies), "name": caller.name})
        connection.execute(_SPREAD, {"sharing": number})

    def _event(
        self, caller: Caller, action: Action, studies: Sequence[_Study], purpose: str, *, way: str, to: str
    ) -> _Recorded:
        first = studies[0] if studies else None
        event = AuditEvent(
            action,
            caller,
            studies=tuple(each.uid for each in studies),
            patient_id=first.identity if first else "",
            issuer_of_patient_id=first.issuer if first else "",
            purpose=purpose.strip()[:LONGEST_TEXT],
            detail={"way": way, "to": to},
        )
        return _Recorded(event, uuid.uuid4().hex)

    def _decide(self, caller: Caller, recorded: _Recorded, work: Any) -> Shared:
        self._trail.record(recorded.event)
        in_transaction(self._engine, work)
        number = fetch(self._engine, _TICKET, {"ticket": recorded.ticket})[0][0]
        return self.get(caller, number)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What is recorded of a decision, and the ticket that makes it one however often it is written."""

    event: AuditEvent
    ticket: str


def to_json(found: Shared | Grant) -> dict[str, Any]:
    """For programs."""
    return asdict(found)


def _named(members: Members) -> str:
    return ", ".join((*members.facilities, *members.accounts))


def _where(caller: Caller, *rights: Right) -> list[str] | None:
    """The facilities for which the caller has one of these rights; None for all. Raises `NotPermitted`."""
    if not any(caller.may(right) for right in rights):
        caller.require(rights[0])
    if any(caller.may_everywhere(right) for right in rights):
        return None
    return sorted({code for right in rights for code in caller.rights.get(right) or ()})


def _scope(where: list[str] | None, caller: Caller) -> Scope:
    return Scope(None if where is None else frozenset(where), account=caller.account)


_OWN: Final = text(sql.OWN_STUDIES)
_ACCOUNTS: Final = text(sql.ACCOUNTS)
_OPEN: Final = text(sql.OPEN)
_TICKET: Final = text("SELECT id FROM sharing WHERE ticket = :ticket")
_OF_PATIENT: Final = text("UPDATE sharing SET patient_id = :patient WHERE id = :sharing")
_FACILITIES: Final = text(sql.ADD_FACILITIES)
_MEMBER_ACCOUNTS: Final = text(sql.ADD_ACCOUNTS)
_STUDIES: Final = text(sql.ADD_STUDIES)
_SPREAD: Final = text(sql.OF_ONE)
_LIST: Final = text(sql.LIST)
_CLOSE: Final = text(sql.CLOSE)
_GRANTS: Final = text(sql.GRANTS)
_WITHDRAW: Final = text(sql.WITHDRAW)
