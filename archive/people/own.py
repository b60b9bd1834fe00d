"""What people do to their own account: password, second factor, sessions."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, Row, func, update

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change
from archive.errors import NotPermitted
from archive.people import factor
from archive.people.attempts import Attempts
from archive.people.errors import BadPassword, Locked, SessionEnded, WrongCredentials
from archive.people.models import Account
from archive.people.passwords import KEPT, Passwords, faults
from archive.people.sealing import Seal
from archive.people.sessions import Session, Sessions
from archive.people.signing_in import SigningIn, caller_of


class OwnAccount:
    """Changes that people make of themselves, and those that a sign-in asks of them."""

    def __init__(
        self,
        engine: Engine,
        trail: Trail,
        *,
        signing_in: SigningIn,
        sessions: Sessions,
        attempts: Attempts,
        passwords: Passwords,
        seal: Seal,
    ) -> None:
        self._engine = engine
        self._trail = trail
        self._signing_in = signing_in
        self._sessions = sessions
        self._attempts = attempts
        self._passwords = passwords
        self._seal = seal

    def change_password(self, session: Session, current: str | None, new: str, address: str) -> None:
        """Set one's own password; all other sessions end.

        The current one is not asked for in a sign-in that has just been begun with it.
        Raises `Locked`, `WrongCredentials`, `BadPassword`, `SessionEnded`.
        """
        row = self._signing_in.account(session.account)
        if session.stage != "password":
            self.confirm(row, session, current or "", address)
        found = faults(new, row.name, with_factor=row.has_factor or self._signing_in.needs_factor(row))
        if not found and any(self._passwords.right(old, new) for old in (row.password_hash, *row.earlier_hashes)):
            found = ["used"]
        if found:
            raise BadPassword(found)
        values = {
            "password_hash": self._passwords.hash(new),
            "password_at": func.clock_timestamp(),
            "password_expires_at": None,
            "must_change": False,
            "earlier_hashes": [row.password_hash, *row.earlier_hashes][: KEPT - 1],
        }
        self._record(row, address, "password changed")
        # What was read must still stand: of two changes at the same moment, one is done.
        same = (Account.id == row.id, Account.password_hash == row.password_hash)
        if not change(self._engine, update(Account).where(*same).values(values).returning(Account.id)):
            raise SessionEnded
        self._sessions.end_all(row.id, but=session.id)

    def offer_factor(self, session: Session) -> tuple[bytes, str]:
        """A new secret to be shown as a QR code, and the sign-in name; the same until it is proved.

        Raises `NotPermitted` where a factor is in force.
        """
        row = self._signing_in.account(session.account)
        if row.factor_at is not None:
            raise NotPermitted("a second factor is in force")
        if row.factor is not None:
            return self._seal.unseal(bytes(row.factor), _owner(row)), row.name
        sealed = self._seal.seal(factor.new_secret(), _owner(row))
        none_yet = (Account.id == row.id, Account.factor.is_(None))
        change(self._engine, update(Account).where(*none_yet).values(factor=sealed))
        return self.offer_factor(session)

    def prove_factor(self, session: Session, code: str, address: str) -> list[str]:
        """Put the second factor in force by its first code. Gives the recovery codes, which are shown once.

        Raises `Locked`, `WrongCredentials`, `SessionEnded`.
        """
        row = self._signing_in.account(session.account)
        if row.factor is None or row.factor_at is not None:
            raise SessionEnded
        if not self._attempts.charge(row.name):
            raise Locked
        step = factor.matching_step(self._seal.unseal(bytes(row.factor), _owner(row)), code, time.time(), 0)
        if step is None:
            raise WrongCredentials
        self._attempts.forgive(row.name)
        codes = factor.new_recovery_codes()
        values = {"factor_at": func.clock_timestamp(), "factor_step": step, "recovery": _digests(codes)}
        self._record(row, address, "second factor set up")
        same = (Account.id == row.id, Account.factor == row.factor, Account.factor_at.is_(None))
        if not change(self._engine, update(Account).where(*same).values(values).returning(Account.id)):
            raise SessionEnded
        self._sessions.end_all(row.id, but=session.id)
        return codes

    def renew_recovery(self, session: Session, password: str, address: str) -> list[str]:
        """New recovery codes in place of all before. Raises as `confirm`."""
        row = self._signing_in.account(session.account)
        self.confirm(row, session, password, address)
        codes = factor.new_recovery_codes()
        self._record(row, address, "recovery codes renewed")
        change(self._engine, update(Account).where(Account.id == row.id).values(recovery=_digests(codes)))
        return codes

    def drop_factor(self, session: Session, password: str, address: str) -> None:
        """Do without a second factor from now on. Raises `NotPermitted` where the settings want one."""
        row = self._signing_in.account(session.account)
        if self._signing_in.needs_factor(row):
            raise NotPermitted("this account must have a second factor")
        self.confirm(row, session, password, address)
        self._record(row, address, "second factor removed")
        # Without it, a password must be longer.
        values = {**NO_FACTOR, "must_change": not row.has_passkey}
        change(self._engine, update(Account).where(Account.id == row.id).values(values))

    def end_others(self, session: Session, address: str) -> int:
        """Sign out everywhere but here. Gives of how many sessions."""
        row = self._signing_in.account(session.account)
        self._record(row, address, "other sessions ended")
        return self._sessions.end_all(session.account, but=session.id)

    def end_one(self, session: Session, which: int, address: str) -> bool:
        """Sign out one of one's own sessions."""
        row = self._signing_in.account(session.account)
        self._record(row, address, "session ended")
        return self._sessions.end(session.account, which)

    def confirm(self, row: Row[Any], session: Session, password: str, address: str) -> None:
        """Make sure that it is the same person: who sits at an open session may be somebody else.

        Who has no password must have signed in just now.
        Raises `Locked`, `WrongCredentials`, `SessionEnded` if that was too long ago.
        """
        if not row.password_hash:
            if not self._sessions.is_young(session.id):
                raise SessionEnded
            return
        if not self._attempts.charge(row.name):
            raise Locked
        if not self._passwords.right(row.password_hash, password):
            self._trail.record(_event(row, address, "wrong password", Outcome.DENIED))
            raise WrongCredentials
        self._attempts.forgive(row.name)

    def _record(self, row: Row[Any], address: str, what: str) -> None:
        self._trail.record(_event(row, address, what))


NO_FACTOR: dict[str, Any] = {"factor": None, "factor_at": None, "recovery": []}
"""An account without a second factor. The last time step stays: an old code is never good again."""


def _event(row: Row[Any], address: str, what: str, outcome: Outcome = Outcome.SUCCESS) -> AuditEvent:
    detail = {"change": what, "account": row.name}
    return AuditEvent(Action.ACCOUNT, caller_of(row, address), outcome, detail=detail)


def _owner(row: Row[Any]) -> str:
    return f"factor {row.id}"


def _digests(codes: list[str]) -> list[str]:
    return [factor.recovery_digest(code) for code in codes]
