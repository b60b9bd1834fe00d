"""Sessions of browsers and tokens of programs: opened, found by their secret, ended.

The secret is given out once; the database has its digest. It is 256 random bits, so that the digest need not be slow.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from archive.database import change, fetch
from archive.models import Facility
from archive.people.caller import Caller, Kind, Membership, rights_of
from archive.people.models import Account, AccountRole, AccountSession, Passkey
from archive.people.roles import ADMINISTRATORS, Right, Role
from config.access import AccessSettings

Stage = Literal["password", "enrol", "code", "open"]
HALF_WAY_SECONDS: Final = 600
"""For which a sign-in that lacks something is waited for."""
_TOUCH_SECONDS: Final = 15
"""So often it is written down that a session is in use."""
_KEEP_DAYS: Final = 7
_LONGEST_AGENT: Final = 200


@dataclass(frozen=True, slots=True)
class Session:
    """A session and whose it is, as they are now."""

    id: int
    kind: str
    stage: Stage
    account: int
    name: str
    display_name: str
    service: bool
    memberships: tuple[Membership, ...]
    listed: tuple[Right, ...]
    has_factor: bool

    def caller(self, address: str) -> Caller:
        """Who calls by this session."""
        return Caller(
            Kind.SERVICE if self.service else Kind.ACCOUNT,
            self.name,
            rights_of(self.memberships, self.listed),
            roles=frozenset(each.role for each in self.memberships),
            account=self.account,
            session=self.id,
            address=address,
        )


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as the one sees it whose it is."""

    id: int
    created_at: datetime
    used_at: datetime
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a session began that began elsewhere, for the time when it ends."""

    provider: str = ""
    session: str = ""
    token: bytes | None = None
    """The identity token, sealed."""


HERE: Final = Origin()


class Sessions:
    """All sessions and tokens."""

    def __init__(self, engine: Engine, settings: AccessSettings) -> None:
        self._engine = engine
        self._settings = settings

    def open(
        self,
        account: int,
        stage: Stage,
        address: str,
        agent: str = "",
        *,
        administrator: bool,
        origin: Origin = HERE,
    ) -> str:
        """A session of a browser. Gives its secret."""
        secret = _new_secret()
        idle, lasts = self._limits(stage, administrator)
        change(
            self._engine,
            insert(AccountSession).values(
                account_id=account,
                kind="browser",
                digest=digest(secret),
                stage=stage,
                idle_seconds=idle,
                expires_at=_in(lasts),
                address=address,
                agent=_printable(agent),
                provider=origin.provider,
                provider_session=origin.session,
                id_token=origin.token,
            ),
        )
        return secret

    def open_token(self, account: int, address: str) -> tuple[str, int]:
        """A token of a program, and for how many seconds it holds."""
        secret, lasts = _new_secret(), int(self._settings.token_minutes * 60)
        values = {"kind": "token", "stage": "open", "idle_seconds": lasts, "expires_at": _in(lasts)}
        values |= {"account_id": account, "digest": digest(secret), "address": address}
        change(self._engine, insert(AccountSession).values(values))
        return secret, lasts

    def advance(self, session: Session, stage: Stage) -> str | None:
        """Let a sign-in go on. It gets another secret: who knew the first gains nothing. None: it has ended."""
        secret = _new_secret()
        administrator = is_administrator(session.memberships)
        idle, lasts = self._limits(stage, administrator)
        values: dict[str, Any] = {"digest": digest(secret), "stage": stage, "used_at": func.clock_timestamp()}
        values |= {"idle_seconds": idle, "expires_at": _in(lasts)}
        same = and_(AccountSession.id == session.id, AccountSession.stage == session.stage, _not_ended())
        done = change(self._engine, update(AccountSession).where(same).values(values).returning(AccountSession.id))
        return secret if done else None

    def find(self, secret: str, kind: str, *, touch: bool = True) -> Session | None:
        """The session with this secret, unless it has ended in any way. `touch`: this is a use of it."""
        found = fetch(self._engine, _BY_DIGEST, {"digest": digest(secret), "kind": kind})
        if not found:
            return None
        row = found[0]
        if touch and row.untouched > _TOUCH_SECONDS:
            now = {"used_at": func.clock_timestamp()}
            change(self._engine, update(AccountSession).where(AccountSession.id == row.id).values(now), repeatable=True)
        return _session(row)

    def of(self, account: int) -> list[OpenSession]:
        """Those in which somebody is signed in, the latest first."""
        columns = (AccountSession.id, AccountSession.created_at, AccountSession.used_at)
        statement = select(*columns, AccountSession.address, AccountSession.agent)
        mine = (AccountSession.account_id == account, AccountSession.stage == "open", *_in_force())
        rows = fetch(self._engine, statement.where(*mine).order_by(AccountSession.used_at.desc()))
        return [OpenSession(row.id, row.created_at, row.used_at, row.address, row.agent) for row in rows]

    def origin(self, session: int) -> Origin:
        """Where it began."""
        columns = (AccountSession.provider, AccountSession.provider_session, AccountSession.id_token)
        rows = fetch(self._engine, select(*columns).where(AccountSession.id == session))
        return Origin(rows[0].provider, rows[0].provider_session, rows[0].id_token) if rows else HERE

    def is_young(self, session: int) -> bool:
        """Whether it began just now."""
        since = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, HALF_WAY_SECONDS)
        young = (AccountSession.id == session, AccountSession.created_at > since)
        return bool(fetch(self._engine, select(AccountSession.id).where(*young)))

    def end_of_provider(self, provider: str, session: str, account: int | None) -> list[int]:
        """End those that began in this session of a provider, or all of an account. Gives whose each of them was."""
        which = and_(AccountSession.provider == provider, _not_ended())
        if session:
            which = and_(which, AccountSession.provider_session == session)
        if account is not None or not session:
            which = and_(which, AccountSession.account_id == account)
        values = {"ended_at": func.clock_timestamp()}
        statement = update(AccountSession).where(which).values(values).returning(AccountSession.account_id)
        return [row.account_id for row in change(self._engine, statement)]

    def end(self, account: int, session: int) -> bool:
        """End a session of this account. Gives whether it was one."""
        which = and_(AccountSession.id == session, AccountSession.account_id == account, _not_ended())
        return bool(change(self._engine, _ended(which)))

    def end_all(self, account: int, but: int | None = None) -> int:
        """End all of an account, tokens too, but one. Gives how many."""
        which = and_(AccountSession.account_id == account, _not_ended())
        if but is not None:
            which = and_(which, AccountSession.id != but)
        return len(change(self._engine, _ended(which)))

    def end_token(self, secret: str, account: int) -> bool:
        """End a token of this account (RFC 7009)."""
        which = and_(AccountSession.digest == digest(secret), AccountSession.account_id == account, _not_ended())
        return bool(change(self._engine, _ended(which)))

    def tidy(self) -> None:
        """Delete those that ended long ago; what happened is in the audit trail."""
        old = func.clock_timestamp() - func.make_interval(0, 0, 0, _KEEP_DAYS)
        change(self._engine, delete(AccountSession).where(AccountSession.expires_at < old))

    def _limits(self, stage: Stage, administrator: bool) -> tuple[int, float]:
        """Seconds without a request, and in all."""
        if stage != "open":
            return HALF_WAY_SECONDS, HALF_WAY_SECONDS
        settings = self._settings
        minutes = settings.idle_minutes_administrators if administrator else settings.idle_minutes
        return max(1, int(minutes * 60)), settings.session_hours * 3600


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def is_administrator(memberships: Sequence[Membership]) -> bool:
    """Whether the stricter rules hold."""
    return any(each.role in ADMINISTRATORS for each in memberships)


def memberships_of(pairs: str | list[list[str | None]]) -> tuple[Membership, ...]:
    """What `roles_json` gives. A role that this release does not know gives no right."""
    given = json.loads(pairs) if isinstance(pairs, str) else pairs
    known = set(Role)
    return tuple(Membership(Role(role), code) for role, code in given if role in known)


def rights_listed(names: Sequence[str]) -> tuple[Right, ...]:
    known = set(Right)
    return tuple(Right(name) for name in names if name in known)


def roles_json() -> ColumnElement[Any]:
    """The roles of an account as JSON: pairs of role and facility code."""
    pair = func.json_build_array(AccountRole.role, Facility.code)
    pairs = func.coalesce(func.json_agg(pair), func.json_build_array())
    joined = select(pairs).select_from(AccountRole).outerjoin(Facility, Facility.id == AccountRole.facility_id)
    return joined.where(AccountRole.account_id == Account.id).correlate(Account).scalar_subquery()


def has_passkey() -> ColumnElement[bool]:
    """Whether an account has a passkey."""
    found: ColumnElement[bool] = exists(select(Passkey.id).where(Passkey.account_id == Account.id).correlate(Account))
    return found


def has_factor() -> ColumnElement[bool]:
    """Whether something stands beside its password: codes, or a passkey. A column of this name."""
    return or_(Account.factor_at.is_not(None), has_passkey()).label("has_factor")


def _by_digest() -> Select[Any]:
    untouched = func.extract("epoch", func.clock_timestamp() - AccountSession.used_at).label("untouched")
    session = (AccountSession.id, AccountSession.kind, AccountSession.stage, untouched)
    account = (Account.id.label("account"), Account.name, Account.display_name, Account.kind.label("account_kind"))
    more = (Account.rights, has_factor(), roles_json().label("roles"))
    found = select(*session, *account, *more).join(Account, Account.id == AccountSession.account_id)
    return found.where(
        AccountSession.digest == bindparam("digest"),
        AccountSession.kind == bindparam("kind"),
        Account.enabled,
        *_in_force(),
    )


def _in_force() -> tuple[ColumnElement[bool], ...]:
    now = func.clock_timestamp()
    idle = func.make_interval(0, 0, 0, 0, 0, 0, AccountSession.idle_seconds)
    return _not_ended(), AccountSession.expires_at > now, AccountSession.used_at + idle > now


def _not_ended() -> ColumnElement[bool]:
    return AccountSession.ended_at.is_(None)


def _ended(which: ColumnElement[bool]) -> Any:
    values = {"ended_at": func.clock_timestamp()}
    return update(AccountSession).where(which).values(values).returning(AccountSession.id)


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        kind=row.kind,
        stage=row.stage,
        account=row.account,
        name=row.name,
        display_name=row.display_name,
        service=row.account_kind == "service",
        memberships=memberships_of(row.roles),
        listed=rights_listed(row.rights),
        has_factor=row.has_factor,
    )


def _in(seconds: float) -> ColumnElement[Any]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _printable(agent: str) -> str:
    return "".join(c for c in agent[:_LONGEST_AGENT] if c.isprintable())


_BY_DIGEST: Final = _by_digest()
