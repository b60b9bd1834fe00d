"""Links that open a patient's studies without an account: made by staff, opened with a second factor, withdrawn.

The secret of a link and that of a browser in which it was opened are random and never kept, only their SHA-256: whoever
reads the database can open nothing. A wrong answer is counted before it is checked, so that many at the same moment
are no more tries than one after the other.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, Engine, Row, and_, bindparam, func, insert, select, update

from archive.access import visible
from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.delivery.models import Delivery, LinkSession, ShareLink
from archive.delivery.second_factor import is_right, new_code
from archive.errors import InvalidQuery, NotFound, NotPermitted
from archive.models import Facility, Patient, Study
from archive.people.caller import NOBODY, Caller, Kind, Where
from archive.people.roles import Right
from archive.reading import Reader
from archive.sharing.models import AccessGrant
from config.links import LinkSettings

Factor = Literal["birth_date", "code"]
FACTORS: Final[tuple[str, ...]] = get_args(Factor)

_TOKEN_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_LONGEST: Final = 128
"""Characters of anything that a visitor sends us here."""
MOST_STUDIES: Final = 100


@dataclass(frozen=True, slots=True)
class NewLink:
    """What staff ask for. `days` is None for what the settings say."""

    studies: tuple[str, ...]
    factor: Factor = "birth_date"
    days: int | None = None
    may_copy: bool = False
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link with its secrets, which nobody can be told again. `code` is empty where a birth date is asked for."""

    id: int
    token: str
    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A link as staff see it."""

    id: int
    studies: tuple[str, ...]
    patient_name: str
    patient_id: str
    facility: str
    factor: Factor
    may_copy: bool
    made_by: str
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None
    first_opened_at: datetime | None
    times_opened: int
    locked: bool

    @property
    def state(self) -> str:
        """``open``, ``locked``, ``expired`` or ``withdrawn``."""
        if self.withdrawn_at is not None:
            return "withdrawn"
        if self.expires_at <= datetime.now(UTC):
            return "expired"
        return "locked" if self.locked else "open"


@dataclass(frozen=True, slots=True)
class Opened:
    """A browser in which a link was opened."""

    secret: str
    expires_at: datetime


class LinkLocked(NotPermitted):
    """Too many wrong answers: staff must make another link."""


class WrongAnswer(NotPermitted):
    """The second factor is wrong. `left` says how many more tries there are."""

    def __init__(self, left: int) -> None:
        super().__init__("the answer is wrong")
        self.left = left


class Links:
    """All links of the archive."""

    def __init__(self, engine: Engine, reader: Reader, settings: LinkSettings, audit: Trail) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self._audit = audit

    # -- for staff ---------------------------------------------------------------------------------------------------

    def create(self, caller: Caller, wanted: NewLink) -> MadeLink:
        """Make a link to studies of one patient, all owned by facilities where the caller may share.

        Raises `InvalidQuery` for what cannot be done, `NotFound` for studies that the caller does not see,
        `NotPermitted`, `IndexUnavailable`.
        """
        days = self._checked(wanted)
        rows = self._studies(caller, wanted.studies)
        first = rows[0]
        if wanted.factor == "birth_date" and first.birth_date is None:
            raise InvalidQuery("the patient's birth date is not known: let the link ask for a code")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        code, code_hash = new_code() if wanted.factor == "code" else ("", "")
        expires = datetime.now(UTC) + timedelta(days=days)
        values = {
            "token_digest": _digest(token),
            "patient_id": first.patient,
            "facility_id": first.facility_id,
            "factor": wanted.factor,
            "code_hash": code_hash,
            "may_copy": wanted.may_copy,
            "made_by": caller.name,
            "expires_at": expires,
        }
        # The acts are told of before they are done: a row too many harms less than a link that nobody knows of.
        self._told(Action.SHARE, caller, rows, wanted.purpose, {"factor": wanted.factor, "days": days})
        identifier = in_transaction(self._engine, lambda connection: _insert(connection, caller, values, rows, wanted))
        return MadeLink(identifier, token, code, expires)

    def listed(self, caller: Caller, study: str | None = None, limit: int = 100, offset: int = 0) -> list[LinkEntry]:
        """Links of the caller's facilities, the latest first. Raises `NotPermitted`, `IndexUnavailable`."""
        statement = _entries(_where(caller)).order_by(ShareLink.id.desc()).limit(limit).offset(offset)
        if study is not None:
            of_study = select(AccessGrant.link_id).join(Study, Study.id == AccessGrant.study_id)
            statement = statement.where(ShareLink.id.in_(of_study.where(Study.study_instance_uid == study)))
        return [self._entry(row) for row in fetch(self._engine, statement)]

    def withdraw(self, caller: Caller, link: int, why: str = "") -> LinkEntry:
        """End a link and all browsers in which it is open. Raises `NotFound`, `NotPermitted`, `IndexUnavailable`."""
        rows = fetch(self._engine, _entries(_where(caller)).where(ShareLink.id == link))
        if not rows:
            raise NotFound("no such link")
        entry = self._entry(rows[0])
        event = AuditEvent(
            Action.WITHDRAW,
            caller,
            studies=entry.studies,
            patient_id=entry.patient_id,
            purpose=why,
            detail={"link": link},
        )
        self._audit.record(event)
        in_transaction(self._engine, lambda connection: _withdraw(connection, link))
        return self._entry(fetch(self._engine, _entries(_where(caller)).where(ShareLink.id == link))[0])

    # -- for whoever holds one ---------------------------------------------------------------------------------------

    def factor(self, token: str) -> Factor:
        """What the link asks for. Raises `NotFound` if there is no such link, or not any more; `LinkLocked`."""
        found = self._holding(token)
        if found.failures >= self._settings.tries:
            raise LinkLocked("too many wrong answers; ask the hospital for a new link")
        factor: Factor = found.factor
        return factor

    def open(self, token: str, answer: str, address: str) -> Opened:
        """Open a link in a browser. Raises `NotFound`, `LinkLocked`, `WrongAnswer`, `IndexUnavailable`."""
        found = self._holding(token)
        tried = change(
            self._engine,
            update(ShareLink)
            .where(ShareLink.id == found.id, ShareLink.failures < self._settings.tries)
            .values(failures=ShareLink.failures + 1)
            .returning(ShareLink.failures),
        )
        visitor = Caller(Kind.LINK, f"link {found.id}", link=found.id, address=address)
        if not tried:
            self._audit.record(AuditEvent(Action.DELIVER, visitor, Outcome.DENIED, detail={"why": "locked"}))
            raise LinkLocked("too many wrong answers; ask the hospital for a new link")
        if not is_right(found, answer[:_LONGEST]):
            self._audit.record(AuditEvent(Action.DELIVER, visitor, Outcome.DENIED, detail={"why": "wrong answer"}))
            raise WrongAnswer(self._settings.tries - tried[0].failures)
        self._audit.record(AuditEvent(Action.DELIVER, visitor, patient_id=found.patient_id))
        opened = Opened(
            secrets.token_urlsafe(_SECRET_BYTES),
            min(found.expires_at, datetime.now(UTC) + timedelta(minutes=self._settings.session_minutes)),
        )
        in_transaction(self._engine, lambda connection: _open(connection, found.id, opened, address))
        return opened

    def caller(self, secret: str, address: str) -> Caller:
        """Who a browser is; `NOBODY` when its time is over or the link was withdrawn. Raises `IndexUnavailable`."""
        if len(secret) > _LONGEST:
            return NOBODY
        rows = fetch(self._engine, _OF_SESSION, {"digest": _digest(secret)})
        if not rows:
            return NOBODY
        rights: dict[Right, Where] = {Right.VIEW: frozenset()}
        if rows[0].may_copy and self._settings.copies:
            rights[Right.COPY] = frozenset()
        return Caller(
            Kind.LINK, f"link {rows[0].link}", rights, link=rows[0].link, session=rows[0].session, address=address
        )

    def close(self, secret: str) -> None:
        """Forget a browser. Raises `IndexUnavailable`."""
        ended = update(LinkSession).where(LinkSession.secret_digest == _digest(secret)).values(expires_at=func.now())
        change(self._engine, ended, repeatable=True)

    # -- within ------------------------------------------------------------------------------------------------------

    def _checked(self, wanted: NewLink) -> int:
        days = self._settings.days if wanted.days is None else wanted.days
        if not 1 <= days <= self._settings.most_days:
            raise InvalidQuery(f"a link holds from 1 to {self._settings.most_days} days")
        if not 1 <= len(set(wanted.studies)) <= MOST_STUDIES:
            raise InvalidQuery(f"a link is for 1 to {MOST_STUDIES} studies")
        if wanted.may_copy and not self._settings.copies:
            raise NotPermitted("links do not allow to download here: links.copies")
        return days

    def _studies(self, caller: Caller, studies: Sequence[str]) -> Sequence[Row[Any]]:
        """The studies, as far as the caller sees them and may share them."""
        columns: Any = (Study.id, Study.facility_id, Study.study_instance_uid, Patient.id.label("patient"))
        scope = caller.scope()
        rows = self._reader.fetch(
            scope,
            select(*columns, Patient.birth_date, Patient.patient_id, Patient.issuer, Facility.code)
            .join(Patient, Patient.id == Study.patient_id)
            .join(Facility, Facility.id == Study.facility_id)
            .where(Study.study_instance_uid.in_(sorted(set(studies))), Study.quarantine == "", visible(scope))
            .order_by(Study.id),
        )
        if len({row.study_instance_uid for row in rows}) < len(set(studies)):
            raise NotFound("no such study")
        for code in {row.code for row in rows}:
            caller.require(Right.DELIVER, code)
        if len({row.patient for row in rows}) > 1:
            raise InvalidQuery("the studies of one link are of one patient")
        return rows

    def _holding(self, token: str) -> Row[Any]:
        rows = fetch(self._engine, _BY_TOKEN, {"digest": _digest(token[:_LONGEST])})
        if not rows:
            raise NotFound("this link is not valid, or not any more")
        return rows[0]

    def _told(
        self, action: Action, caller: Caller, rows: Sequence[Row[Any]], purpose: str, detail: dict[str, Any]
    ) -> None:
        self._audit.record(
            AuditEvent(
                action,
                caller,
                studies=tuple(row.study_instance_uid for row in rows),
                patient_id=rows[0].patient_id,
                issuer_of_patient_id=rows[0].issuer,
                purpose=purpose,
                detail=detail,
            )
        )

    def _entry(self, row: Row[Any]) -> LinkEntry:
        values = {name: value for name, value in row._mapping.items() if name != "failures"}
        values["studies"] = tuple(values["studies"])
        return LinkEntry(**values, locked=row.failures >= self._settings.tries)


_HOLDS: Final = and_(ShareLink.withdrawn_at.is_(None), ShareLink.expires_at > func.now())
_BY_TOKEN: Final = (
    select(
        *(ShareLink.id, ShareLink.factor, ShareLink.code_hash, ShareLink.failures, ShareLink.expires_at),
        *(Patient.birth_date, Patient.patient_id),
    )
    .join(Patient, Patient.id == ShareLink.patient_id)
    .where(ShareLink.token_digest == bindparam("digest"), _HOLDS)
)
_OF_SESSION: Final = (
    select(LinkSession.id.label("session"), ShareLink.id.label("link"), ShareLink.may_copy)
    .join(ShareLink, ShareLink.id == LinkSession.link_id)
    .where(LinkSession.secret_digest == bindparam("digest"), LinkSession.expires_at > func.now(), _HOLDS)
)


def _digest(secret: str) -> bytes:
    # Random secrets of 128 bits and more need no slow hash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _insert(
    connection: Connection, caller: Caller, values: dict[str, Any], rows: Sequence[Row[Any]], wanted: NewLink
) -> int:
    link: int = connection.execute(insert(ShareLink).values(**values).returning(ShareLink.id)).scalar_one()
    grant = {
        "link_id": link,
        "kind": "link",
        "purpose": wanted.purpose,
        "may_copy": wanted.may_copy,
        "granted_by": caller.account,
        "expires_at": values["expires_at"],
    }
    connection.execute(insert(AccessGrant), [{"study_id": row.id, **grant} for row in rows])
    given = {"mode": "qr", "delivered_by": caller.name, "link_id": link}
    connection.execute(insert(Delivery), [{"study_id": row.id, **given} for row in rows])
    return link


def _withdraw(connection: Connection, link: int) -> None:
    now = func.now()
    for table, condition in ((ShareLink, ShareLink.id == link), (AccessGrant, AccessGrant.link_id == link)):
        connection.execute(update(table).where(condition, table.withdrawn_at.is_(None)).values(withdrawn_at=now))
    connection.execute(
        update(LinkSession).where(LinkSession.link_id == link, LinkSession.expires_at > now).values(expires_at=now)
    )


def _open(connection: Connection, link: int, opened: Opened, address: str) -> None:
    connection.execute(
        insert(LinkSession).values(
            link_id=link, secret_digest=_digest(opened.secret), expires_at=opened.expires_at, address=address
        )
    )
    connection.execute(
        update(ShareLink)
        .where(ShareLink.id == link)
        .values(
            failures=0,
            first_opened_at=func.coalesce(ShareLink.first_opened_at, func.now()),
            last_opened_at=func.now(),
            times_opened=ShareLink.times_opened + 1,
        )
    )


def _where(caller: Caller) -> Where:
    """Whose links somebody may see and end: who may share, or looks after what is shared."""
    found: frozenset[str] = frozenset()
    rights = [right for right in (Right.DELIVER, Right.GRANTS) if caller.may(right)]
    if not rights:
        caller.require(Right.DELIVER)
    for right in rights:
        where = caller.rights[right]
        if where is None:
            return None
        found |= where
    return found


def _entries(where: Where) -> Any:
    studies = (
        select(func.array_agg(Study.study_instance_uid))
        .join(AccessGrant, AccessGrant.study_id == Study.id)
        .where(AccessGrant.link_id == ShareLink.id)
        .correlate(ShareLink)
        .scalar_subquery()
    )
    same = ("id", "factor", "may_copy", "made_by", "created_at", "expires_at", "withdrawn_at", "first_opened_at")
    columns: list[Any] = [getattr(ShareLink, name) for name in (*same, "times_opened", "failures")]
    statement = (
        select(
            *columns,
            studies.label("studies"),
            Patient.name.label("patient_name"),
            Patient.patient_id,
            Facility.code.label("facility"),
        )
        .join(Patient, Patient.id == ShareLink.patient_id)
        .join(Facility, Facility.id == ShareLink.facility_id)
    )
    return statement if where is None else statement.where(Facility.code.in_(sorted(where)))
