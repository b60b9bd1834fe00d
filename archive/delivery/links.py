"""Links that open a patient's studies without an account: made by staff, opened with a second factor, withdrawn.

The secret of a link and that of a browser in which it was opened are random and never kept, only their SHA-256: whoever
reads the database can open nothing. A wrong answer is counted before it is checked, so that many at the same moment
are no more tries than one after the other.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Row, func, select, update

from archive.access import visible
from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.delivery.link_records import (
    MOST_STUDIES,
    CodeToSend,
    LinkEntry,
    LinkLocked,
    MadeLink,
    NewLink,
    Opened,
    Question,
    TooSoon,
    WrongAnswer,
)
from archive.delivery.link_sql import (
    BY_TOKEN,
    OF_SESSION,
    digest_of,
    entries,
    insert_link,
    links_of,
    new_sent_code,
    note_opened,
    use_code,
    withdraw_link,
)
from archive.delivery.models import LinkSession, ShareLink
from archive.delivery.second_factor import is_right, new_code, read_phone
from archive.errors import InvalidQuery, NotFound, NotPermitted
from archive.models import Facility, Patient, Study
from archive.people.caller import NOBODY, Caller, Kind, Where
from archive.people.roles import Right
from archive.people.sealing import Seal
from archive.reading import Reader
from archive.records import Scope
from archive.sharing.models import AccessGrant
from config.links import LinkSettings

_TOKEN_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_TAIL: Final = 3
"""Last digits of a telephone number that are shown, so that its owner knows which one is meant."""
_LONGEST: Final = 128
"""Characters of anything that a visitor sends us here."""


class Links:
    """All links of the archive."""

    def __init__(self, engine: Engine, reader: Reader, settings: LinkSettings, audit: Trail, seal: Seal) -> None:
        """`seal` keeps telephone numbers."""
        self._engine = engine
        self._reader = reader
        self._settings = settings
        self._audit = audit
        self._seal = seal

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
        phone = self._phone(wanted)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        code, code_hash = new_code() if wanted.factor == "code" else ("", "")
        expires = datetime.now(UTC) + timedelta(days=days)
        values = {
            "token_digest": digest_of(token),
            "patient_id": first.patient,
            "facility_id": first.facility_id,
            "factor": wanted.factor,
            "code_hash": code_hash,
            "phone": self._seal.seal(phone.encode(), _owner(digest_of(token))) if phone else None,
            "may_copy": wanted.may_copy,
            "made_by": caller.name,
            "expires_at": expires,
        }
        # The acts are told of before they are done: a row too many harms less than a link that nobody knows of.
        self._told(Action.SHARE, caller, rows, wanted.purpose, {"factor": wanted.factor, "days": days})
        made = in_transaction(self._engine, lambda connection: insert_link(connection, caller, values, rows, wanted))
        return MadeLink(made, token, code, expires)

    def listed(self, caller: Caller, study: str | None = None, limit: int = 100, offset: int = 0) -> list[LinkEntry]:
        """Links of the caller's facilities, the latest first. Raises `NotPermitted`, `IndexUnavailable`."""
        statement = entries(links_of(caller)).order_by(ShareLink.id.desc()).limit(limit).offset(offset)
        if study is not None:
            of_study = select(AccessGrant.link_id).join(Study, Study.id == AccessGrant.study_id)
            statement = statement.where(ShareLink.id.in_(of_study.where(Study.study_instance_uid == study)))
        return [self._entry(row) for row in self._reader.fetch(Scope(links_of(caller)), statement)]

    def withdraw(self, caller: Caller, link: int, why: str = "") -> LinkEntry:
        """End a link and all browsers in which it is open. Raises `NotFound`, `NotPermitted`, `IndexUnavailable`."""
        where = links_of(caller)
        rows = self._reader.fetch(Scope(where), entries(where).where(ShareLink.id == link))
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
        in_transaction(self._engine, lambda connection: withdraw_link(connection, link))
        return self._entry(self._reader.fetch(Scope(where), entries(where).where(ShareLink.id == link))[0])

    # -- for whoever holds one ---------------------------------------------------------------------------------------

    def question(self, token: str) -> Question:
        """What the link asks for. Raises `NotFound` if there is no such link, or not any more; `LinkLocked`."""
        found = self._unlocked(token)
        return Question(found.factor, self._number(found)[-_TAIL:])

    def new_code(self, token: str, address: str) -> CodeToSend:
        """A one-time code, which the caller is to send.

        Raises `NotFound`, `LinkLocked`, `IndexUnavailable`; `TooSoon` if one was sent a moment ago, or too many today.
        """
        found = self._unlocked(token)
        if found.factor != "phone":
            raise NotFound("this link sends no codes")
        code, code_hash = new_code()
        wait, most = timedelta(seconds=self._settings.code_wait), self._settings.codes_a_day
        may = bool(change(self._engine, new_sent_code(found.id, code_hash, wait, most)))
        visitor = Caller(Kind.LINK, f"link {found.id}", link=found.id, address=address)
        outcome = Outcome.SUCCESS if may else Outcome.DENIED
        self._audit.record(AuditEvent(Action.DELIVER, visitor, outcome, detail={"code": "sent" if may else "too soon"}))
        if not may:
            raise TooSoon("a code was sent a moment ago, or too many today")
        return CodeToSend(self._number(found), code)

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
        if not self._is_right(found, answer[:_LONGEST]):
            self._audit.record(AuditEvent(Action.DELIVER, visitor, Outcome.DENIED, detail={"why": "wrong answer"}))
            raise WrongAnswer(self._settings.tries - tried[0].failures)
        self._audit.record(AuditEvent(Action.DELIVER, visitor, patient_id=found.patient_id))
        opened = Opened(
            secrets.token_urlsafe(_SECRET_BYTES),
            min(found.expires_at, datetime.now(UTC) + timedelta(minutes=self._settings.session_minutes)),
        )
        in_transaction(self._engine, lambda connection: note_opened(connection, found.id, opened, address))
        return opened

    def caller(self, secret: str, address: str) -> Caller:
        """Who a browser is; `NOBODY` when its time is over or the link was withdrawn. Raises `IndexUnavailable`."""
        if len(secret) > _LONGEST:
            return NOBODY
        rows = fetch(self._engine, OF_SESSION, {"digest": digest_of(secret)})
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
        ended = update(LinkSession).where(LinkSession.secret_digest == digest_of(secret)).values(expires_at=func.now())
        change(self._engine, ended, repeatable=True)

    # -- within ------------------------------------------------------------------------------------------------------

    def _is_right(self, found: Row[Any], answer: str) -> bool:
        right = is_right(found, answer, timedelta(minutes=self._settings.code_minutes))
        if not right or found.factor != "phone":
            return right
        return in_transaction(self._engine, lambda connection: use_code(connection, found.id, found.sent_code_hash))

    def _phone(self, wanted: NewLink) -> str:
        """Where to send codes; empty for other factors."""
        if wanted.factor != "phone":
            if wanted.phone:
                raise InvalidQuery("phone: the factor is not by phone")
            return ""
        if not self._settings.messages.url:
            raise InvalidQuery("codes cannot be sent by phone here: links.messages")
        number = read_phone(wanted.phone)
        if not number:
            raise InvalidQuery("phone: a mobile number such as 0912 345 678 or +84912345678 is expected")
        return number

    def _number(self, found: Row[Any]) -> str:
        return "" if found.phone is None else self._seal.unseal(found.phone, _owner(found.token_digest)).decode()

    def _unlocked(self, token: str) -> Row[Any]:
        found = self._holding(token)
        if found.failures >= self._settings.tries:
            raise LinkLocked("too many wrong answers; ask the hospital for a new link")
        return found

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
        rows = fetch(self._engine, BY_TOKEN, {"digest": digest_of(token[:_LONGEST])})
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


def _owner(token_digest: bytes) -> str:
    """What a telephone number is sealed for: moved to another link, it is worth nothing."""
    return f"link {token_digest.hex()}"
