"""Accounts of people who sign in at a provider: which one it is, what roles it has, and what comes with a session.

A provider vouches only for accounts that were made for it: by an administrator, or at the first sign-in where the
settings say so. An account with a password of ours is never opened by a name that somebody has elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Engine, Row, and_, update
from sqlalchemy.exc import IntegrityError

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change
from archive.errors import Conflict, InvalidItem
from archive.people.accounts import LONGEST_DISPLAY_NAME, Accounts
from archive.people.caller import Caller, Kind, Membership
from archive.people.errors import WrongCredentials
from archive.people.models import Account
from archive.people.roles import Right, Role
from archive.people.sealing import CannotUnseal, Seal
from archive.people.sessions import Origin, Sessions, memberships_of
from archive.people.signing_in import Proof, SigningIn, Step, caller_of, folded
from config.oidc import OIDCProvider


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a provider says of somebody, after all checks of its token."""

    subject: str
    name: str
    """What would be the sign-in name; empty if the provider does not stand for it."""
    display_name: str
    values: frozenset[str]
    """Of the claim that gives roles."""
    second_factor: bool
    """Whether it has asked for one that counts."""
    session: str
    token: str


class Federation:
    """People of providers."""

    def __init__(
        self,
        engine: Engine,
        trail: Trail,
        *,
        accounts: Accounts,
        signing_in: SigningIn,
        sessions: Sessions,
        seal: Seal,
    ) -> None:
        self._engine = engine
        self._trail = trail
        self._accounts = accounts
        self._signing_in = signing_in
        self._sessions = sessions
        self._seal = seal

    def enter(self, provider: OIDCProvider, vouched: Vouched, address: str, agent: str) -> Step:
        """Begin a session, or a sign-in that goes on with our second factor. Raises `WrongCredentials`."""
        row = self._known(provider, vouched) or self._bound(provider, vouched) or self._made(provider, vouched, address)
        if row is None:
            self._deny(None, address, f"{provider.name}: no account for this person")
        if provider.roles_claim:
            row = self._with_roles(provider, row, vouched, address)
        proof = Proof.WHOLE if vouched.second_factor else Proof.FIRST
        sealed = self._seal.seal(vouched.token.encode(), _owner(provider.name))
        origin = Origin(provider.name, vouched.session, sealed)
        return self._signing_in.by_proof(row, address, agent, proof, origin)

    def refuse(self, provider: str, address: str, reason: str) -> None:
        """Write down that an answer of a provider, or what claimed to be one, was not believed."""
        self._signing_in.refused(None, address, f"{provider}: {reason}")

    def origin(self, session: int) -> tuple[str, str]:
        """At which provider a session began, and the token that it wants to see when it ends; both may be empty."""
        origin = self._sessions.origin(session)
        if origin.token is None:
            return origin.provider, ""
        try:
            return origin.provider, self._seal.unseal(bytes(origin.token), _owner(origin.provider)).decode()
        except CannotUnseal:
            return origin.provider, ""

    def signed_out_there(self, provider: OIDCProvider, subject: str, session: str, address: str) -> int:
        """End what began in a session there; all of the person if none is named. Gives how many."""
        row = self._signing_in.account_where(*_is(provider, subject)) if subject else None
        if subject and row is None:
            return 0
        ended = self._sessions.end_of_provider(provider.name, session, row.id if row is not None else None)
        for number in dict.fromkeys(ended):
            found = self._signing_in.account_where(Account.id == number)
            if found is not None:
                detail = {"reason": f"signed out at {provider.name}"}
                self._trail.record(AuditEvent(Action.SIGN_OUT, caller_of(found, address), detail=detail))
        return len(ended)

    def _known(self, provider: OIDCProvider, vouched: Vouched) -> Row[Any] | None:
        return self._signing_in.account_where(*_is(provider, vouched.subject))

    def _bound(self, provider: OIDCProvider, vouched: Vouched) -> Row[Any] | None:
        """The account that was prepared; from now on the subject is who it is, whatever becomes of the name."""
        if not vouched.name:
            return None
        prepared = and_(
            Account.name == folded(vouched.name),
            Account.provider == provider.name,
            Account.subject == "",
            Account.kind == "account",
        )
        values = {"issuer": provider.issuer, "subject": vouched.subject}
        try:
            statement = update(Account).where(prepared).values(values).returning(Account.id, Account.name)
            bound = change(self._engine, statement)
        except IntegrityError:
            # At the same moment another account became this person's.
            return self._known(provider, vouched)
        if not bound:
            return None
        detail = {"change": f"belongs to somebody at {provider.name} now", "account": bound[0].name}
        self._trail.record(AuditEvent(Action.ACCOUNT, _system(provider), detail=detail))
        return self._signing_in.account_where(Account.id == bound[0].id)

    def _made(self, provider: OIDCProvider, vouched: Vouched, address: str) -> Row[Any] | None:
        memberships = _memberships(provider, vouched)
        if provider.accounts != "made" or not vouched.name or not memberships:
            return None
        name = folded(vouched.name)
        shown = "".join(c for c in vouched.display_name if c.isprintable()).strip()[:LONGEST_DISPLAY_NAME] or name
        try:
            self._accounts.create(_system(provider), name, shown, memberships, provider=provider.name)
        except (Conflict, InvalidItem) as error:
            self._deny(None, address, f"{provider.name}: no account can be made: {error}")
        return self._bound(provider, vouched)

    def _with_roles(self, provider: OIDCProvider, row: Row[Any], vouched: Vouched, address: str) -> Row[Any]:
        """The account with the roles that the provider gives; who has none there gets in no more."""
        memberships = _memberships(provider, vouched)
        if not memberships:
            self._sessions.end_all(row.id)
            self._deny(row, address, f"{provider.name} gives no role")
        if set(memberships) == set(memberships_of(row.roles)):
            return row
        self._accounts.set_roles(_system(provider), row.id, memberships)
        return self._signing_in.account(row.id) if row.enabled else row

    def _deny(self, row: Row[Any] | None, address: str, reason: str) -> NoReturn:
        self._signing_in.refused(row, address, reason)
        raise WrongCredentials


def _is(provider: OIDCProvider, subject: str) -> tuple[ColumnElement[bool], ...]:
    return Account.provider == provider.name, Account.issuer == provider.issuer, Account.subject == subject


def _memberships(provider: OIDCProvider, vouched: Vouched) -> list[Membership]:
    given = [each for each in provider.roles if each.value in vouched.values]
    made = [Membership(Role(each.role), None if each.facility == "*" else each.facility) for each in given]
    return list(dict.fromkeys(made))


def _system(provider: OIDCProvider) -> Caller:
    return Caller(Kind.SYSTEM, f"provider {provider.name}", dict.fromkeys(Right))


def _owner(provider: str) -> str:
    return f"identity token {provider}"
