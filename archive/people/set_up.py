"""Links by which people set the password of their account themselves, instead of being handed one.

The secret of a link is 256 random bits, of which the database has the digest. It is good once and for days; whoever
only looks at the page, as messengers do that show what is behind a link, does not use it up. It stands for a password,
and never for a second factor that the account has.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Engine, Row, func, update

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change
from archive.errors import InvalidItem
from archive.people.accounts import NO_LINK, Accounts
from archive.people.caller import Caller
from archive.people.errors import BadPassword, SessionEnded
from archive.people.models import Account
from archive.people.passwords import KEPT, Passwords, faults
from archive.people.sessions import Sessions, digest
from archive.people.signing_in import Proof, SigningIn, Step, caller_of
from config.access import AccessSettings


class SetUpLinks:
    """Links of accounts; each account has one at most."""

    def __init__(
        self,
        engine: Engine,
        settings: AccessSettings,
        trail: Trail,
        *,
        accounts: Accounts,
        signing_in: SigningIn,
        sessions: Sessions,
        passwords: Passwords,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._trail = trail
        self._accounts = accounts
        self._signing_in = signing_in
        self._sessions = sessions
        self._passwords = passwords

    def make(self, by: Caller, number: int) -> str:
        """The secret of a new link in place of any before; the password of the account is void from now on.

        Raises as `Accounts.disable`; `InvalidItem` for who has no password here.
        """
        account = self._accounts.managed(by, number)
        if account.service or account.provider:
            raise InvalidItem("this account has no password that could be set")
        secret = secrets.token_urlsafe(32)
        detail = {"change": "link to set a password made", "account": account.name}
        self._trail.record(AuditEvent(Action.ACCOUNT, by, detail=detail))
        hours = func.make_interval(0, 0, 0, 0, 0, 0, self._settings.one_time_hours * 3600)
        values = {
            "set_up_digest": digest(secret),
            "set_up_expires_at": func.clock_timestamp() + hours,
            "password_hash": "",
            "password_expires_at": None,
            "earlier_hashes": self._earlier(number),
        }
        change(self._engine, update(Account).where(Account.id == number).values(values))
        self._sessions.end_all(number)
        return secret

    def _earlier(self, number: int) -> list[str]:
        """The passwords that must not come back, with the one that is void now."""
        row = self._signing_in.account_where(Account.id == number)
        known = [row.password_hash, *row.earlier_hashes] if row is not None else []
        return [each for each in known if each][: KEPT - 1]

    def account(self, secret: str) -> Row[Any]:
        """Whose link it is, if it is still good. Raises `SessionEnded`."""
        row = self._signing_in.account_where(
            Account.set_up_digest == digest(secret),
            Account.set_up_expires_at > func.clock_timestamp(),
            Account.enabled.is_(True),
        )
        if row is None:
            raise SessionEnded
        return row

    def use(self, secret: str, new: str, address: str, agent: str) -> Step:
        """Set the password and begin a session, or a sign-in that goes on with the second factor.

        Raises `SessionEnded` for a link that is not good (any more), `BadPassword`, which does not use it up, `Busy`.
        """
        row = self.account(secret)
        found = faults(new, row.name, with_factor=row.has_factor or self._signing_in.needs_factor(row))
        if not found and any(self._passwords.right(old, new) for old in row.earlier_hashes):
            found = ["used"]
        if found:
            raise BadPassword(found)
        values = {
            "password_hash": self._passwords.hash(new),
            "password_at": func.clock_timestamp(),
            "password_expires_at": None,
            "must_change": False,
            **NO_LINK,
        }
        # Of two at the same moment, one sets its password.
        same = (Account.id == row.id, Account.set_up_digest == digest(secret), Account.enabled)
        if not change(self._engine, update(Account).where(*same).values(values).returning(Account.id)):
            raise SessionEnded
        detail = {"change": "password set by a link", "account": row.name}
        self._trail.record(AuditEvent(Action.ACCOUNT, caller_of(row, address), detail=detail))
        self._sessions.end_all(row.id)
        return self._signing_in.by_proof(self._signing_in.account(row.id), address, agent, Proof.FIRST)
