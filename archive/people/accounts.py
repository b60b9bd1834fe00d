"""Looks after accounts: who there is, with which roles where. Each change is made by somebody who may, and recorded.

Whoever looks after the accounts of a facility can give nothing that reaches beyond it, and cannot touch an account
that does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change, fetch, in_transaction
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.models import Facility
from archive.people.attempts import Attempts
from archive.people.caller import Caller, Membership
from archive.people.models import Account, AccountRole, Passkey
from archive.people.own import NO_FACTOR
from archive.people.passwords import Passwords, random_password
from archive.people.roles import Right, Role
from archive.people.sessions import Sessions, digest, has_factor, memberships_of, rights_listed, roles_json
from config.access import AccessSettings

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")
LONGEST_DISPLAY_NAME: Final = 100
NOT_FOR_PROGRAMS: Final = frozenset((Right.BREAK_GLASS, Right.ACCOUNTS))
"""These want a person who answers for them."""
NO_LINK: Final[dict[str, Any]] = {"set_up_digest": None, "set_up_expires_at": None}
"""An account without a link to set a password."""
PROVINCE_ONLY: Final = frozenset((Right.OPERATE, Right.FEED))
"""They reach over all facilities, so nobody can have them for one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An account as administrators see it."""

    id: int
    name: str
    display_name: str
    service: bool
    enabled: bool
    locked: bool
    memberships: tuple[Membership, ...]
    rights: tuple[Right, ...]
    created_at: datetime
    used_at: datetime | None
    reviewed_at: datetime
    review_due: bool
    has_factor: bool
    must_change: bool
    provider: str
    """Where the person signs in; empty: here."""
    bound: bool
    """Whether the provider has told who it is."""
    keys: int
    """Public keys of a program."""
    set_up: bool
    """Whether a link waits for the person to set a password."""


class Accounts:
    """All accounts."""

    def __init__(
        self,
        engine: Engine,
        settings: AccessSettings,
        trail: Trail,
        *,
        sessions: Sessions,
        attempts: Attempts,
        passwords: Passwords,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._trail = trail
        self._sessions = sessions
        self._attempts = attempts
        self._passwords = passwords

    def create(
        self,
        by: Caller,
        name: str,
        display_name: str,
        memberships: Sequence[Membership],
        rights: Sequence[Right] = (),
        *,
        one_time: bool = True,
        provider: str = "",
        password: bool = True,
    ) -> str:
        """Make an account; give its one-time password or, of a program, its secret.

        It is a program's if its roles are SERVICE. With the name of a `provider`, the person signs in there, and there
        is no password, nor is there without `password`: what is given is empty then.
        Raises `NotPermitted`, `InvalidItem`, `Conflict` if the name is taken.
        """
        service = _check(name, display_name, memberships, rights)
        self._require(by, memberships)
        self._require_rights(by, memberships, rights)
        if service and provider:
            raise InvalidItem.of({"provider": "is for people"})
        given = secrets.token_urlsafe(32) if service else random_password()
        if provider or not (password or service):
            given = ""
        values = {
            "kind": "service" if service else "account",
            "provider": provider,
            "name": name,
            "display_name": display_name.strip(),
            "rights": sorted(right.value for right in rights),
            **(self._secret(given, service=service, one_time=one_time) if given else {}),
        }
        self._record(by, name, f"created for {provider}" if provider else "created", memberships, rights)

        def work(connection: Connection) -> None:
            number = connection.execute(insert(Account).values(values).returning(Account.id)).scalar_one()
            _give(connection, number, memberships)

        try:
            in_transaction(self._engine, work)
        except IntegrityError:
            raise Conflict("this name is taken, or a facility is not known") from None
        return given

    def listed(self, by: Caller) -> list[Listed]:
        """The accounts with a role where the caller may look after accounts, by name. Raises `NotPermitted`."""
        by.require(Right.ACCOUNTS)
        where = by.rights[Right.ACCOUNTS]
        rows = fetch(self._engine, _listing(self._settings.review_days).order_by(Account.name))
        locked = self._attempts.locked([row.name for row in rows])
        found = [_listed(row, locked) for row in rows]
        return [each for each in found if where is None or any(m.facility in where for m in each.memberships)]

    def one(self, by: Caller, number: int) -> Listed:
        """One of them. Raises `NotFound` also for those of others."""
        by.require(Right.ACCOUNTS)
        rows = fetch(self._engine, _listing(self._settings.review_days).where(Account.id == number))
        if rows:
            found = _listed(rows[0], self._attempts.locked([rows[0].name]))
            where = by.rights[Right.ACCOUNTS]
            if where is None or any(each.facility in where for each in found.memberships):
                return found
        raise NotFound("no such account")

    def named(self, by: Caller, name: str) -> Listed:
        """The same by name."""
        rows = fetch(self._engine, select(Account.id).where(Account.name == name))
        if not rows:
            raise NotFound("no such account")
        return self.one(by, rows[0].id)

    def manages(self, by: Caller, account: Listed) -> bool:
        """Whether the caller may change it: all of it is theirs to look after, and it is not their own."""
        return account.id != by.account and all(by.may(Right.ACCOUNTS, m.facility) for m in _within(account, by))

    def set_roles(
        self, by: Caller, number: int, memberships: Sequence[Membership], rights: Sequence[Right] = ()
    ) -> None:
        """Give it these roles in place of those before, at once. Raises as `create`."""
        account = self.managed(by, number)
        service = _check(account.name, account.display_name, memberships, rights)
        if service != account.service:
            raise InvalidItem("a person cannot become a program, nor the other way round")
        self._require(by, memberships)
        self._require_rights(by, memberships, rights)
        self._record(by, account.name, "roles", memberships, rights)

        def work(connection: Connection) -> None:
            connection.execute(delete(AccountRole).where(AccountRole.account_id == number))
            _give(connection, number, memberships)
            values = {"rights": sorted(right.value for right in rights), "reviewed_at": func.clock_timestamp()}
            connection.execute(update(Account).where(Account.id == number).values(values))

        in_transaction(self._engine, work)

    def rename(self, by: Caller, number: int, display_name: str) -> None:
        """Write the name of the person otherwise; the sign-in name stays. Raises as `create`."""
        account = self.managed(by, number)
        _check_display_name(display_name)
        self._record(by, account.name, f"renamed from {account.display_name}")
        self._set(number, display_name=display_name.strip())

    def disable(self, by: Caller, number: int) -> None:
        """Let it in no more, from now on; what it had open ends."""
        account = self.managed(by, number)
        self._record(by, account.name, "disabled")
        self._set(number, enabled=False, **NO_LINK)
        self._sessions.end_all(number)

    def enable(self, by: Caller, number: int) -> None:
        """Let it in again."""
        account = self.managed(by, number)
        self._record(by, account.name, "enabled")
        self._set(number, enabled=True, enabled_at=func.clock_timestamp())

    def unlock(self, by: Caller, number: int) -> None:
        """Forget wrong tries under its name."""
        account = self.managed(by, number)
        self._record(by, account.name, "unlocked")
        self._attempts.forgive(account.name)

    def reset_password(self, by: Caller, number: int) -> str:
        """A new one-time password, or secret of a program; what it had open ends."""
        account = self.managed(by, number)
        password = secrets.token_urlsafe(32) if account.service else random_password()
        values = self._secret(password, service=account.service)
        if account.provider:
            raise InvalidItem("this person signs in elsewhere, and has no password here")
        self._record(by, account.name, "password reset")
        self._set(number, **values, **NO_LINK)
        self._attempts.forgive(account.name)
        self._sessions.end_all(number)
        return password

    def sign_in_at(self, by: Caller, number: int, provider: str) -> None:
        """Let the person sign in at this provider from now on, as whoever comes first under the name of the account.

        Empty: here, by a password that is yet to be set. Nothing that was good before is good any more.
        """
        account = self.managed(by, number)
        if account.service:
            raise InvalidItem("a program signs in by its secret")
        self._record(by, account.name, f"signs in at {provider}" if provider else "signs in here")
        elsewhere = {"provider": provider, "issuer": "", "subject": ""}
        self._set(number, **elsewhere, **NO_LINK, password_hash="", password_expires_at=None)
        self._sessions.end_all(number)

    def reset_factor(self, by: Caller, number: int) -> None:
        """Take its second factor and passkeys away, whose telephone is lost; what it had open ends."""
        account = self.managed(by, number)
        self._record(by, account.name, "second factor reset")
        self._set(number, **NO_FACTOR, must_change=True)
        change(self._engine, delete(Passkey).where(Passkey.account_id == number))
        self._sessions.end_all(number)

    def confirm(self, by: Caller, number: int) -> None:
        """Say that its roles are still right."""
        account = self.managed(by, number)
        self._record(by, account.name, "roles confirmed", account.memberships, account.rights)
        self._set(number, reviewed_at=func.clock_timestamp())

    def disable_idle(self) -> int:
        """Disable what was not used for the days of the settings. Gives how many."""
        days = self._settings.disable_after_days
        if not days:
            return 0
        since = func.greatest(Account.enabled_at, func.coalesce(Account.used_at, Account.enabled_at))
        limit = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
        idle = update(Account).where(Account.enabled, since < limit).values(enabled=False)
        return len(change(self._engine, idle.returning(Account.id)))

    def managed(self, by: Caller, number: int) -> Listed:
        """An account that the caller may change. Raises `NotFound`, `NotPermitted`."""
        account = self.one(by, number)
        if not self.manages(by, account):
            own = account.id == by.account
            raise NotPermitted(
                "nobody changes the roles of their own account"
                if own
                else "this account reaches beyond the facilities whose accounts you look after"
            )
        return account

    def _require(self, by: Caller, memberships: Sequence[Membership]) -> None:
        for each in memberships:
            by.require(Right.ACCOUNTS)
            where = by.rights[Right.ACCOUNTS]
            if where is not None and each.facility not in where:
                raise NotPermitted("roles can be given only at facilities whose accounts you look after")

    def _require_rights(self, by: Caller, memberships: Sequence[Membership], rights: Sequence[Right]) -> None:
        if PROVINCE_ONLY & set(rights) and any(each.facility is not None for each in memberships):
            raise InvalidItem("these rights reach over all facilities: give them to a program of the province")
        del by

    def _secret(self, password: str, *, service: bool, one_time: bool = True) -> dict[str, Any]:
        if service:
            return {"password_hash": digest(password).hex(), "password_at": func.clock_timestamp()}
        if not one_time:
            return {"password_hash": self._passwords.hash(password)}
        hours = func.make_interval(0, 0, 0, 0, 0, 0, self._settings.one_time_hours * 3600)
        return {
            "password_hash": self._passwords.hash(password),
            "password_at": func.clock_timestamp(),
            "password_expires_at": func.clock_timestamp() + hours,
            "must_change": True,
        }

    def _set(self, number: int, **values: Any) -> None:
        change(self._engine, update(Account).where(Account.id == number).values(**values))

    def _record(
        self,
        by: Caller,
        name: str,
        what: str,
        memberships: Sequence[Membership] = (),
        rights: Sequence[Right] = (),
    ) -> None:
        detail: dict[str, str | int | list[str]] = {"change": what, "account": name}
        if memberships:
            detail["roles"] = [f"{each.role}@{each.facility or '*'}" for each in memberships]
        if rights:
            detail["rights"] = [right.value for right in rights]
        self._trail.record(AuditEvent(Action.ACCOUNT, by, detail=detail))


def _check(name: str, display_name: str, memberships: Sequence[Membership], rights: Sequence[Right]) -> bool:
    """Whether these make a program. Raises `InvalidItem`."""
    if not NAME.fullmatch(name):
        raise InvalidItem.of({"name": "is 2 to 64 of a-z 0-9 . _ @ -"})
    _check_display_name(display_name)
    if not memberships:
        raise InvalidItem.of({"roles": "are missing"})
    if any(each.role is Role.PROVINCE_ADMIN and each.facility is not None for each in memberships):
        raise InvalidItem.of({"roles": "province_admin is for all facilities"})
    programs = {each.role is Role.SERVICE for each in memberships}
    if len(programs) > 1:
        raise InvalidItem.of({"roles": "of a person and of a program cannot be mixed"})
    service = programs.pop()
    if service and (not rights or NOT_FOR_PROGRAMS & set(rights)):
        raise InvalidItem.of({"rights": "of a program are missing, or are for people only"})
    if rights and not service:
        raise InvalidItem.of({"rights": "are listed for programs only"})
    return service


def _check_display_name(display_name: str) -> None:
    if not 0 < len(display_name.strip()) <= LONGEST_DISPLAY_NAME or not display_name.isprintable():
        raise InvalidItem.of({"display_name": f"is 1 to {LONGEST_DISPLAY_NAME} characters"})


def _within(account: Listed, by: Caller) -> Sequence[Membership]:
    """Roles that decide who may change the account. One for all facilities is nobody's but the province's."""
    if any(each.facility is None for each in account.memberships) and by.rights.get(Right.ACCOUNTS) is not None:
        return (Membership(Role.PROVINCE_ADMIN, "*"),)
    return account.memberships


def _give(connection: Connection, number: int, memberships: Sequence[Membership]) -> None:
    for each in dict.fromkeys(memberships):
        facility: Any = None
        if each.facility is not None:
            facility = connection.execute(select(Facility.id).where(Facility.code == each.facility)).scalar()
            if facility is None:
                raise InvalidItem.of({"roles": "name a facility that is not known"})
        connection.execute(insert(AccountRole).values(account_id=number, role=each.role.value, facility_id=facility))


def _listing(review_days: float) -> Select[Any]:
    due = Account.reviewed_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, review_days * 86400)
    columns = (Account.id, Account.name, Account.display_name, Account.kind, Account.enabled, Account.created_at)
    more = (Account.used_at, Account.reviewed_at, has_factor(), Account.must_change, Account.rights)
    ways = (
        Account.provider,
        Account.subject,
        Account.public_keys,
        (Account.set_up_expires_at > func.clock_timestamp()).label("set_up"),
    )
    chosen: list[Any] = [*columns, *more, *ways, due.label("due"), roles_json().label("roles")]
    return select(*chosen)


def _listed(row: Row[Any], locked: set[str]) -> Listed:
    return Listed(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        service=row.kind == "service",
        enabled=row.enabled,
        locked=row.name in locked,
        memberships=memberships_of(row.roles),
        rights=rights_listed(row.rights),
        created_at=row.created_at,
        used_at=row.used_at,
        reviewed_at=row.reviewed_at,
        review_due=row.due,
        has_factor=row.has_factor,
        must_change=row.must_change,
        provider=row.provider,
        bound=bool(row.subject),
        keys=len(row.public_keys),
        set_up=bool(row.set_up),
    )
