"""Passkeys (Web Authentication, level 2): a key pair in a telephone, a computer or a security key.

The authenticator asks for a finger, a face or a PIN before it signs (user verification is required), and signs for our
host only. So one passkey is two factors at once: it stands for a code beside a password, or for both. Challenges are
sealed tickets that the browser brings back; each is good once and for minutes.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import webauthn
from cryptography.exceptions import UnsupportedAlgorithm
from sqlalchemy import Engine, Row, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change, fetch
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.people.errors import SessionEnded, WrongCredentials
from archive.people.models import Account, Passkey
from archive.people.own import OwnAccount
from archive.people.sessions import Session
from archive.people.signing_in import Proof, SigningIn, Step, caller_of
from archive.people.tickets import Tickets

SECONDS: Final = 300.0
"""For which a challenge is good."""
MOST: Final = 10
"""Passkeys of one account."""
LONGEST_NAME: Final = 60
LONGEST_KEY_NAME: Final = 1023
"""Bytes that an authenticator may call a key pair (level 2, 4)."""
_SIGN_IN: Final = "passkey sign-in"
_ADD: Final = "new passkey"
# What the library lets through of input that somebody made up, beside its own errors.
_MADE_UP: Final = (
    WebAuthnException,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the browser thinks it is: what an authenticator signs for."""

    host: str
    origin: str

    @property
    def has_passkeys(self) -> bool:
        """Whether browsers offer them: for names, not for addresses of numbers, and only where it is safe."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.origin.startswith("https:") or self.host == "localhost"
        return False


@dataclass(frozen=True, slots=True)
class OwnPasskey:
    """A passkey as the one sees it whose it is."""

    id: int
    name: str
    created_at: datetime
    used_at: datetime | None


class Passkeys:
    """Passkeys of people."""

    def __init__(
        self, engine: Engine, trail: Trail, *, signing_in: SigningIn, own: OwnAccount, tickets: Tickets
    ) -> None:
        self._engine = engine
        self._trail = trail
        self._signing_in = signing_in
        self._own = own
        self._tickets = tickets

    def of(self, account: int) -> list[OwnPasskey]:
        """Those of an account, the oldest first."""
        columns = (Passkey.id, Passkey.name, Passkey.created_at, Passkey.used_at)
        rows = fetch(self._engine, select(*columns).where(Passkey.account_id == account).order_by(Passkey.id))
        return [OwnPasskey(row.id, row.name, row.created_at, row.used_at) for row in rows]

    def offer(self, session: Session, place: Place, password: str, address: str) -> dict[str, Any]:
        """Options for `navigator.credentials.create`, and a ticket. In an open session, the password is asked for.

        Raises `Locked`, `WrongCredentials`, `SessionEnded` if the sign-in is too old for who has no password.
        """
        row = self._signing_in.account(session.account)
        if session.stage == "open":
            self._own.confirm(row, session, password, address)
        elif session.stage != "enrol":
            raise SessionEnded
        if len(self.of(row.id)) >= MOST:
            raise InvalidItem(f"an account has {MOST} passkeys at most")
        challenge = secrets.token_bytes(32)
        options = webauthn.generate_registration_options(
            rp_id=place.host,
            rp_name="PACS",
            user_id=str(row.id).encode(),
            user_name=row.name,
            user_display_name=row.display_name,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=self._credentials(row.id, place),
        )
        content = {"challenge": challenge.hex(), "session": session.id}
        return _given(webauthn.options_to_json(options), self._tickets.issue(_ADD, content, SECONDS))

    def add(
        self, session: Session, place: Place, ticket: str, credential: dict[str, Any], name: str, address: str
    ) -> None:
        """Put a new passkey in force. Raises `SessionEnded`, `WrongCredentials`, `Conflict`."""
        row = self._signing_in.account(session.account)
        challenge = self._challenge(_ADD, ticket, session.id)
        made = _checked(
            lambda: webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=place.host,
                expected_origin=place.origin,
                require_user_verification=True,
            )
        )
        if made is None or len(made.credential_id) > LONGEST_KEY_NAME:
            self._signing_in.refused(row, address, "a passkey that is not right")
            raise WrongCredentials
        self._spend(_ADD, challenge)
        shown = "".join(c for c in name if c.isprintable()).strip()[:LONGEST_NAME] or "Passkey"
        self._record(row, address, f"passkey added: {shown}")
        values = {"account_id": row.id, "credential": made.credential_id, "public_key": made.credential_public_key}
        values |= {"uses": made.sign_count, "host": place.host, "name": shown}
        try:
            change(self._engine, insert(Passkey).values(values))
        except IntegrityError:
            raise Conflict("this passkey is known already") from None

    def ask(self, place: Place, session: Session | None) -> dict[str, Any]:
        """Options for `navigator.credentials.get`, and a ticket; for the account of a session that lacks a factor."""
        account = session.account if session is not None and session.stage == "code" else None
        challenge = secrets.token_bytes(32)
        options = webauthn.generate_authentication_options(
            rp_id=place.host,
            challenge=challenge,
            allow_credentials=[] if account is None else self._credentials(account, place),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        content = {"challenge": challenge.hex(), "session": 0}
        return _given(webauthn.options_to_json(options), self._tickets.issue(_SIGN_IN, content, SECONDS))

    def enter(self, place: Place, ticket: str, credential: dict[str, Any], address: str, agent: str) -> Step:
        """Sign in. Raises `SessionEnded` for a ticket that is not good, `WrongCredentials`."""
        challenge = self._challenge(_SIGN_IN, ticket, 0)
        key = self._known(credential, place)
        if key is None:
            self._signing_in.refused(None, address, "no such passkey")
            raise WrongCredentials
        row = self._signing_in.account_where(Account.id == key.account_id)
        done = _checked(
            lambda: webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=place.host,
                expected_origin=place.origin,
                credential_public_key=bytes(key.public_key),
                credential_current_sign_count=key.uses,
                require_user_verification=True,
            )
        )
        if done is None or row is None:
            self._signing_in.refused(row, address, "a passkey that is not right")
            raise WrongCredentials
        self._spend(_SIGN_IN, challenge)
        # A counter that goes back tells of a copy (level 2, 6.1.1); of two at the same moment, one counts.
        same = and_(Passkey.id == key.id, Passkey.uses == key.uses)
        values = {"uses": done.new_sign_count, "used_at": func.clock_timestamp()}
        if not change(self._engine, update(Passkey).where(same).values(values).returning(Passkey.id)):
            raise WrongCredentials
        return self._signing_in.by_proof(row, address, agent, Proof.WHOLE)

    def remove(self, session: Session, number: int, password: str, address: str) -> None:
        """Take one of one's own away. Raises `NotFound`, `NotPermitted` for the last where a factor must be."""
        row = self._signing_in.account(session.account)
        keys = self.of(row.id)
        found = next((each for each in keys if each.id == number), None)
        if found is None:
            raise NotFound("no such passkey")
        last = len(keys) == 1 and row.factor_at is None
        if last and self._signing_in.needs_factor(row):
            raise NotPermitted("this account must have a second factor")
        self._own.confirm(row, session, password, address)
        self._record(row, address, f"passkey removed: {found.name}")
        change(self._engine, delete(Passkey).where(Passkey.id == number, Passkey.account_id == row.id))
        if last:
            # Without it, a password must be longer.
            change(self._engine, update(Account).where(Account.id == row.id).values(must_change=True))

    def _challenge(self, purpose: str, ticket: str, session: int) -> bytes:
        begun = self._tickets.read(purpose, ticket)
        if begun is None or begun["session"] != session:
            raise SessionEnded
        return bytes.fromhex(begun["challenge"])

    def _spend(self, purpose: str, challenge: bytes) -> None:
        if not self._tickets.spend(purpose, challenge.hex(), SECONDS):
            raise SessionEnded

    def _known(self, credential: dict[str, Any], place: Place) -> Row[Any] | None:
        try:
            name = urlsafe_b64decode(str(credential.get("rawId", "")).encode("ascii") + b"==")
        except ValueError:
            return None
        here = and_(Passkey.credential == name, Passkey.host == place.host)
        rows = fetch(self._engine, select(*Passkey.__table__.columns).where(here))
        return rows[0] if rows else None

    def _credentials(self, account: int, place: Place) -> list[PublicKeyCredentialDescriptor]:
        here = and_(Passkey.account_id == account, Passkey.host == place.host)
        rows = fetch(self._engine, select(Passkey.credential).where(here))
        return [PublicKeyCredentialDescriptor(id=bytes(row.credential)) for row in rows]

    def _record(self, row: Row[Any], address: str, what: str) -> None:
        detail = {"change": what, "account": row.name}
        self._trail.record(AuditEvent(Action.ACCOUNT, caller_of(row, address), detail=detail))


def _given(options: str, ticket: str) -> dict[str, Any]:
    return {"options": json.loads(options), "ticket": ticket}


def _checked(verify: Callable[[], T]) -> T | None:
    """What the library says, or None for what is not right."""
    try:
        return verify()
    except _MADE_UP:
        return None
