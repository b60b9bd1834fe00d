"""How a person gets in: password, second factor, and what must be put right before the archive opens.

A right password makes a session that is good for nothing but the next step. Whoever signs in learns whether name,
password and code are right together, and nothing about each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Row, Select, bindparam, func, select, update

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch
from archive.people import factor
from archive.people.attempts import Attempts
from archive.people.caller import Caller, Kind
from archive.people.errors import Locked, SessionEnded, WrongCredentials
from archive.people.models import Account
from archive.people.passwords import Passwords
from archive.people.sealing import Seal
from archive.people.sessions import (
    HERE,
    Origin,
    Session,
    Sessions,
    Stage,
    has_factor,
    has_passkey,
    is_administrator,
    memberships_of,
    roles_json,
)
from config.access import AccessSettings

_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Step:
    """Where a sign-in stands, and the secret of its session."""

    secret: str
    stage: Stage


class Proof(Enum):
    """What somebody has shown who comes in."""

    PASSWORD = auto()
    FIRST = auto()
    """As good as a password: a provider vouches for who it is, or a link has just set a password."""
    WHOLE = auto()
    """Nothing more is needed: a passkey, or a provider whose second factor counts."""


class SigningIn:
    """The way in for people."""

    def __init__(
        self,
        engine: Engine,
        settings: AccessSettings,
        trail: Trail,
        *,
        sessions: Sessions,
        attempts: Attempts,
        passwords: Passwords,
        seal: Seal,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._trail = trail
        self._sessions = sessions
        self._attempts = attempts
        self._passwords = passwords
        self._seal = seal

    def by_password(self, typed: str, password: str, address: str, agent: str = "") -> Step:
        """Begin a sign-in. Raises `Locked`, `WrongCredentials`, `Busy`, `IndexUnavailable`."""
        name = folded(typed)
        free = self._attempts.charge(name)
        rows = fetch(self._engine, _BY_NAME, {"name": name})
        row = rows[0] if rows else None
        if not free:
            self.refused(row, address, "locked")
            raise Locked
        right = self._passwords.right(row.password_hash if row else "", password)
        reason = self._refusal(row, right=right)
        if row is None or reason:
            self.refused(row, address, reason)
            raise WrongCredentials
        return self._admitted(row, address, agent, Proof.PASSWORD)

    def by_proof(self, row: Row[Any], address: str, agent: str, proof: Proof, origin: Origin = HERE) -> Step:
        """Let in who has proved it otherwise than by a password of ours. `row` is of `account_where`.

        Raises `WrongCredentials` for an account that is not to be let in.
        """
        if reason := self._shut(row):
            self.refused(row, address, reason)
            raise WrongCredentials
        return self._admitted(row, address, agent, proof, origin)

    def by_code(self, session: Session, code: str, address: str) -> Step:
        """Go on with the code of the second factor, or a recovery code.

        Raises `SessionEnded`, `Locked`, `WrongCredentials`.
        """
        if session.stage != "code":
            raise SessionEnded
        row = self.account(session.account)
        if not self._attempts.charge(session.name):
            self._sessions.end(session.account, session.id)
            self.refused(row, address, "locked")
            raise Locked
        if not self.prove(row, code):
            self.refused(row, address, "wrong code")
            raise WrongCredentials
        self._attempts.forgive(session.name)
        return self.go_on(session, address)

    def prove(self, row: Row[Any], code: str) -> bool:
        """Whether the code is one of the account's second factor; it is good once."""
        if row.factor is None or row.factor_at is None:
            return False
        secret = self._seal.unseal(bytes(row.factor), f"factor {row.id}")
        step = factor.matching_step(secret, code, time.time(), row.factor_step)
        if step is not None:
            first = (Account.id == row.id, Account.factor_step < step)
            statement = update(Account).where(*first).values(factor_step=step)
        else:
            found = factor.recovery_digest(code)
            left = (Account.id == row.id, func.array_position(Account.recovery, found).is_not(None))
            statement = update(Account).where(*left).values(recovery=func.array_remove(Account.recovery, found))
        # Of two at the same moment, one gets in.
        return bool(change(self._engine, statement.returning(Account.id)))

    def go_on(self, session: Session, address: str) -> Step:
        """Take the next step of a sign-in for which all is right so far. Raises `SessionEnded`."""
        row = self.account(session.account)
        stage = self._next(row)
        secret = self._sessions.advance(session, stage)
        if secret is None:
            raise SessionEnded
        if stage == "open":
            self._is_in(row, address)
        return Step(secret, stage)

    def sign_out(self, caller: Caller) -> None:
        """End the session of the caller."""
        if caller.account is not None and caller.session is not None:
            self._trail.record(AuditEvent(Action.SIGN_OUT, caller))
            self._sessions.end(caller.account, caller.session)

    def account(self, number: int) -> Row[Any]:
        """The account with its roles and secrets. Raises `SessionEnded` if it was disabled meanwhile."""
        row = self.account_where(Account.id == number, Account.enabled.is_(True))
        if row is None:
            raise SessionEnded
        return row

    def account_where(self, *conditions: ColumnElement[bool]) -> Row[Any] | None:
        """The one account for which this holds, with its roles and secrets."""
        rows = fetch(self._engine, _accounts().where(*conditions))
        return rows[0] if len(rows) == 1 else None

    def needs_factor(self, row: Row[Any]) -> bool:
        """Whether the settings want a second factor of this account."""
        if self._settings.mfa == "everybody":
            return True
        return self._settings.mfa == "administrators" and is_administrator(memberships_of(row.roles))

    def _admitted(self, row: Row[Any], address: str, agent: str, proof: Proof, origin: Origin = HERE) -> Step:
        stage = self._first(row, proof)
        if stage == "code" and proof is Proof.PASSWORD:
            # Half of the way: who knows the password only must not get tries at the code by typing it again.
            self._attempts.return_one(row.name)
        elif stage != "code":
            self._attempts.forgive(row.name)
        administrator = is_administrator(memberships_of(row.roles))
        secret = self._sessions.open(row.id, stage, address, agent, administrator=administrator, origin=origin)
        if stage == "open":
            self._is_in(row, address)
        return Step(secret, stage)

    def _first(self, row: Row[Any], proof: Proof) -> Stage:
        if proof is Proof.WHOLE:
            return "open"
        return "code" if row.has_factor else self._next(row)

    def _next(self, row: Row[Any]) -> Stage:
        # Who signs in elsewhere has no password here that could be old.
        if row.password_hash and (row.must_change or self._is_old(row)):
            return "password"
        return "enrol" if not row.has_factor and self.needs_factor(row) else "open"

    def _is_old(self, row: Row[Any]) -> bool:
        settings = self._settings
        administrator = is_administrator(memberships_of(row.roles))
        days = settings.password_days_administrators if administrator else settings.password_days
        return bool(days) and row.now - row.password_at > timedelta(days=days)

    def _refusal(self, row: Row[Any] | None, *, right: bool) -> str:
        """Why the account does not get in, for the audit trail; empty if it does."""
        if row is None:
            return "no such account"
        if not right:
            return "wrong password"
        expires: datetime | None = row.password_expires_at
        if row.enabled and expires is not None and expires <= row.now:
            return "the one-time password is too old"
        return self._shut(row)

    def _shut(self, row: Row[Any]) -> str:
        if not row.enabled:
            return "disabled"
        days = self._settings.disable_after_days
        if not days or row.now - max(row.enabled_at, row.used_at or row.enabled_at) <= timedelta(days=days):
            return ""
        change(self._engine, update(Account).where(Account.id == row.id).values(enabled=False))
        return "disabled, because it was not used"

    def _is_in(self, row: Row[Any], address: str) -> None:
        change(self._engine, update(Account).where(Account.id == row.id).values(used_at=func.clock_timestamp()))
        self._trail.record(AuditEvent(Action.SIGN_IN, caller_of(row, address)))

    def refused(self, row: Row[Any] | None, address: str, reason: str) -> None:
        """Write down that somebody was not let in."""
        # A name of nobody is not written down: it may be a password that was typed in the wrong place.
        caller = caller_of(row, address) if row is not None else Caller(Kind.NOBODY, address=address)
        self._trail.record(AuditEvent(Action.SIGN_IN, caller, Outcome.DENIED, detail={"reason": reason}))


def caller_of(row: Row[Any], address: str) -> Caller:
    """The account as the one who acts, for the audit trail."""
    kind = Kind.SERVICE if row.kind == "service" else Kind.ACCOUNT
    home = frozenset(each.facility for each in memberships_of(row.roles) if each.facility is not None)
    return Caller(kind, row.name, account=row.id, address=address, home=home)


def folded(name: str) -> str:
    """A sign-in name as it is kept."""
    return name.strip().lower()[:_LONGEST_NAME]


def _accounts() -> Select[Any]:
    # Not the mapped classes: rows with what stands there now.
    columns = [getattr(Account, column.key) for column in Account.__table__.columns]
    more = (has_factor(), has_passkey().label("has_passkey"))
    return select(*columns, *more, roles_json().label("roles"), func.clock_timestamp().label("now"))


def _by_name() -> Select[Any]:
    return _accounts().where(Account.name == bindparam("name"), Account.kind == "account")


_BY_NAME: Final = _by_name()
