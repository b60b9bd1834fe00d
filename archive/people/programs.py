"""Programs prove who they are by the secret of their account, and get a token that holds for minutes (RFC 6749 4.4).

Their secrets are 256 random bits, which nobody can guess: they need no slow hash, and wrong ones lock nothing, so that
nobody can shut a program out.
"""

from __future__ import annotations

import hmac
from typing import Any

from sqlalchemy import Engine, Row, func, select, update

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch
from archive.people.caller import Caller, Kind
from archive.people.errors import WrongCredentials
from archive.people.models import Account
from archive.people.sessions import Sessions, digest, roles_json
from archive.people.signing_in import caller_of, folded


class Programs:
    """Tokens of programs."""

    def __init__(self, engine: Engine, trail: Trail, sessions: Sessions) -> None:
        self._engine = engine
        self._trail = trail
        self._sessions = sessions

    def token(self, client: str, secret: str, address: str) -> tuple[str, int]:
        """A token, and for how many seconds it holds. Raises `WrongCredentials`."""
        row = self._account(client, secret, address)
        self._trail.record(AuditEvent(Action.SIGN_IN, caller_of(row, address)))
        change(self._engine, update(Account).where(Account.id == row.id).values(used_at=func.clock_timestamp()))
        return self._sessions.open_token(row.id, address)

    def revoke(self, client: str, secret: str, token: str, address: str) -> None:
        """End a token of this program; what is none, or of another, is left alone (RFC 7009 2.2)."""
        row = self._account(client, secret, address)
        self._trail.record(AuditEvent(Action.SIGN_OUT, caller_of(row, address)))
        self._sessions.end_token(token, row.id)

    def _account(self, client: str, secret: str, address: str) -> Row[Any]:
        columns = (Account.id, Account.kind, Account.name, Account.enabled, Account.password_hash)
        of_name = select(*columns, roles_json().label("roles"))
        rows = fetch(self._engine, of_name.where(Account.name == folded(client), Account.kind == "service"))
        row = rows[0] if rows else None
        expected = row.password_hash if row is not None else ""
        if not hmac.compare_digest(expected, digest(secret).hex()) or row is None or not row.enabled:
            caller = caller_of(row, address) if row is not None else Caller(Kind.NOBODY, address=address)
            self._trail.record(AuditEvent(Action.SIGN_IN, caller, Outcome.DENIED, detail={"reason": "wrong secret"}))
            raise WrongCredentials
        return row
