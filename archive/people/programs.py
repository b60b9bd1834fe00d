"""Programs prove who they are, and get a token that holds for minutes (RFC 6749 4.4).

They prove it by the secret of their account, or by an assertion that they sign with a private key (RFC 7523 2.2), so
that nothing that opens the archive is stored here or goes over the line. Secrets are 256 random bits, which nobody can
guess: they need no slow hash, and wrong ones lock nothing, so that nobody can shut a program out.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import jwt
from sqlalchemy import Engine, Row, func, select, update

from archive.audit.events import Action, AuditEvent, Detail, Outcome
from archive.audit.trail import Trail
from archive.database import change, fetch
from archive.errors import InvalidItem
from archive.people.accounts import Accounts
from archive.people.caller import Caller, Kind
from archive.people.errors import WrongCredentials
from archive.people.models import Account
from archive.people.sessions import Sessions, digest, roles_json
from archive.people.signatures import BadKey, BadToken, claims, head, public_keys
from archive.people.signing_in import caller_of, folded
from archive.people.tickets import Tickets

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What assertions may be signed with."""
LONGEST_SECONDS: Final = 300.0
"""For which an assertion may hold."""
LEEWAY: Final = 30.0
MOST_KEYS: Final = 5


class Programs:
    """Tokens of programs."""

    def __init__(
        self, engine: Engine, trail: Trail, *, sessions: Sessions, accounts: Accounts, tickets: Tickets
    ) -> None:
        self._engine = engine
        self._trail = trail
        self._sessions = sessions
        self._accounts = accounts
        self._tickets = tickets

    def by_secret(self, client: str, secret: str, address: str) -> Row[Any]:
        """The program whose secret this is. Raises `WrongCredentials`."""
        row = self._account(client)
        expected = row.password_hash if row is not None else ""
        if not hmac.compare_digest(expected, digest(secret).hex()) or row is None or not row.enabled:
            self._refuse(row, address, "wrong secret")
        return row

    def by_assertion(self, assertion: str, client: str, audiences: Sequence[str], address: str) -> Row[Any]:
        """The program that has signed this for us just now, once (RFC 7523 3).

        `client` is whom it says to be, empty if it does not. Raises `WrongCredentials`.
        """
        row = None
        try:
            algorithm, kid = head(assertion, ALGORITHMS)
            said = _unverified(assertion)
            row = self._account(said)
            if row is None or not row.enabled or client not in ("", row.name):
                raise BadToken("no such program")
            keys = [json.loads(each) for each in row.public_keys]
            named = [key for key in keys if kid is None or key.get("kid", kid) == kid]
            found = claims(
                assertion,
                named,
                algorithm,
                audience=audiences,
                issuer=row.name,
                leeway=LEEWAY,
                required=("iss", "sub", "aud", "exp", "jti"),
            )
            left = found["exp"] - time.time()
            if found["sub"] != row.name or not found["jti"]:
                raise BadToken("the assertion is about somebody else (sub)")
            if left > LONGEST_SECONDS + LEEWAY:
                raise BadToken("the assertion holds for too long (exp)")
            if not self._tickets.spend("assertion", f"{row.id} {found['jti']}", left + 2 * LEEWAY):
                raise BadToken("the assertion has been used (jti)")
        except BadToken as error:
            self._refuse(row, address, str(error))
        return row

    def token(self, row: Row[Any], address: str) -> tuple[str, int]:
        """A token for a program that has proved who it is, and for how many seconds it holds."""
        self._trail.record(AuditEvent(Action.SIGN_IN, caller_of(row, address)))
        change(self._engine, update(Account).where(Account.id == row.id).values(used_at=func.clock_timestamp()))
        return self._sessions.open_token(row.id, address)

    def revoke(self, row: Row[Any], token: str, address: str) -> None:
        """End a token of this program; what is none, or of another, is left alone (RFC 7009 2.2)."""
        self._trail.record(AuditEvent(Action.SIGN_OUT, caller_of(row, address)))
        self._sessions.end_token(token, row.id)

    def set_keys(self, by: Caller, number: int, text: str) -> int:
        """Let a program sign in by these keys from now on, and by no secret. Gives how many they are.

        `text` is a JWK set or PEM. Raises as `Accounts.disable`; `InvalidItem`.
        """
        account = self._accounts.managed(by, number)
        if not account.service:
            raise InvalidItem("keys are for programs")
        try:
            keys = public_keys(text)
        except BadKey as error:
            raise InvalidItem.of({"keys": str(error)}) from None
        if len(keys) > MOST_KEYS:
            raise InvalidItem.of({"keys": f"are {MOST_KEYS} at most"})
        detail: dict[str, Detail] = {"change": "keys set", "account": account.name, "keys": len(keys)}
        self._trail.record(AuditEvent(Action.ACCOUNT, by, detail=detail))
        values = {"public_keys": [json.dumps(key, sort_keys=True) for key in keys], "password_hash": ""}
        change(self._engine, update(Account).where(Account.id == number).values(values))
        self._sessions.end_all(number)
        return len(keys)

    def _account(self, client: str) -> Row[Any] | None:
        columns = (Account.id, Account.kind, Account.name, Account.enabled, Account.password_hash, Account.public_keys)
        of_name = select(*columns, roles_json().label("roles"))
        rows = fetch(self._engine, of_name.where(Account.name == folded(client), Account.kind == "service"))
        return rows[0] if rows else None

    def _refuse(self, row: Row[Any] | None, address: str, reason: str) -> NoReturn:
        caller = caller_of(row, address) if row is not None else Caller(Kind.NOBODY, address=address)
        self._trail.record(AuditEvent(Action.SIGN_IN, caller, Outcome.DENIED, detail={"reason": reason}))
        raise WrongCredentials


def _unverified(assertion: str) -> str:
    """Whom it claims to be of: only to know by whose keys it is to be checked. Raises `BadToken`."""
    try:
        said = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        raise BadToken("this is no token") from None
    if not isinstance(said, str):
        raise BadToken("the assertion names nobody (iss)")
    return said
