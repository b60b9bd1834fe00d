"""Local accounts: passwords, locks, second factors, sessions, and what ends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import psycopg
import pytest

from archive.core import Archive
from archive.errors import Conflict, InvalidItem, NotFound, NotPermitted
from archive.people import factor
from archive.people.caller import Caller, Kind, Membership
from archive.people.errors import BadPassword, Locked, SessionEnded, WrongCredentials
from archive.people.passwords import Passwords
from archive.people.roles import Right, Role
from archive.people.sessions import Session
from archive.people.signing_in import Step

HERE = "10.0.0.9"
OPERATOR = Caller(Kind.SYSTEM, "test", dict.fromkeys(Right))
PASSWORD = "Đường-về-quê-8 km"
OTHER = "Mùa-hoa-gạo-đỏ 2026"
RADIOLOGIST = (Membership(Role.RADIOLOGIST, "86001"),)


@lru_cache(maxsize=1)
def _hash() -> str:
    return Passwords().hash(PASSWORD)


def make(archive: Archive, name: str = "lan", *roles: Membership) -> int:
    """An account with PASSWORD, as after its first sign-in."""
    accounts = archive.people.accounts
    accounts.create(OPERATOR, name, "Trần Thị Lan", roles or RADIOLOGIST, one_time=False)
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        connection.execute("UPDATE account SET password_hash = %s WHERE name = %s", [_hash(), name])
    return accounts.named(OPERATOR, name).id


def opened(archive: Archive, step: Step) -> Session:
    session = archive.people.sessions.find(step.secret, "browser")
    assert session is not None
    return session


def sign_in(archive: Archive, name: str = "lan", password: str = PASSWORD) -> Session:
    return opened(archive, archive.people.signing_in.by_password(name, password, HERE))


def with_factor(archive: Archive, name: str = "lan") -> tuple[bytes, list[str]]:
    session = sign_in(archive, name)
    secret, _ = archive.people.own.offer_factor(session)
    codes = archive.people.own.prove_factor(session, current(secret), HERE)
    back(archive, "account", "factor_step", "factor_step - 10")
    return secret, codes


def current(secret: bytes) -> str:
    return factor.code_at(secret, factor.step_at(time.time()))


def back(archive: Archive, table: str, column: str, value: str) -> None:
    """As if time had passed."""
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        connection.execute(f"UPDATE {table} SET {column} = {value}")


def audited(archive: Archive, action: str) -> list[tuple[str, str, dict[str, str]]]:
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        query = "SELECT name, outcome, detail FROM audit_record WHERE action = %s ORDER BY recorded_at, sequence"
        return connection.execute(query, [action]).fetchall()  # type: ignore[return-value]


def test_a_one_time_password_is_good_for_setting_an_own_one(archive: Archive) -> None:
    given = archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", RADIOLOGIST)
    step = archive.people.signing_in.by_password("LAN ", given, HERE)
    assert step.stage == "password"
    session = opened(archive, step)
    for weak, fault in (("short", "too_short"), ("aaaaaaaaaaaaaaaaaaaa", "too_even"), ("xxLANxx-12345678", "has_name")):
        with pytest.raises(BadPassword) as raised:
            archive.people.own.change_password(session, None, weak, HERE)
        assert fault in raised.value.keys
    with pytest.raises(BadPassword, match="used"):
        archive.people.own.change_password(session, None, given, HERE)
    archive.people.own.change_password(session, None, PASSWORD, HERE)
    last = archive.people.signing_in.go_on(session, HERE)
    assert last.stage == "open"
    assert last.secret != step.secret
    assert archive.people.sessions.find(step.secret, "browser") is None
    assert opened(archive, last).caller(HERE).rights[Right.VIEW] == frozenset({"86001"})
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password("lan", given, HERE)


def test_an_old_one_time_password_is_worth_nothing(archive: Archive) -> None:
    given = archive.people.accounts.create(OPERATOR, "lan", "Trần Thị Lan", RADIOLOGIST)
    back(archive, "account", "password_expires_at", "now() - interval '1 second'")
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password("lan", given, HERE)


def test_the_same_password_typed_by_another_keyboard(archive: Archive) -> None:
    import unicodedata

    make(archive)
    assert sign_in(archive, password=unicodedata.normalize("NFD", PASSWORD)).stage == "open"


@pytest.mark.parametrize("name", ["lan", "nobody"])
def test_a_name_is_locked_after_five_wrong_tries_whether_it_exists_or_not(archive: Archive, name: str) -> None:
    make(archive)
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            archive.people.signing_in.by_password(name, "wrong", HERE)
    with pytest.raises(Locked):
        archive.people.signing_in.by_password(name, PASSWORD, HERE)
    back(archive, "sign_in_attempts", "locked_until", "now()")
    if name == "lan":
        assert sign_in(archive).stage == "open"
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password(name, "wrong", HERE)


def test_many_tries_at_the_same_moment_are_no_more_than_five(archive: Archive) -> None:
    def attempt(_: int) -> type[Exception]:
        try:
            archive.people.signing_in.by_password("nobody", "wrong", HERE)
        except (WrongCredentials, Locked) as error:
            return type(error)
        raise AssertionError

    with ThreadPoolExecutor(7) as pool:
        outcomes = list(pool.map(attempt, range(20)))
    assert outcomes.count(WrongCredentials) == 5


def test_an_administrator_unlocks(archive: Archive) -> None:
    number = make(archive)
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            archive.people.signing_in.by_password("lan", "wrong", HERE)
    assert archive.people.accounts.one(OPERATOR, number).locked
    archive.people.accounts.unlock(OPERATOR, number)
    assert sign_in(archive).stage == "open"


def test_what_was_typed_as_the_name_of_nobody_is_not_recorded(archive: Archive) -> None:
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password("My Password!", "x", HERE)
    assert audited(archive, "sign_in") == [("", "denied", {"reason": "no such account"})]


def test_administrators_must_set_up_a_second_factor(archive: Archive) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    session = sign_in(archive, "chief")
    assert session.stage == "enrol"
    secret, name = archive.people.own.offer_factor(session)
    assert archive.people.own.offer_factor(session) == (secret, name)
    with pytest.raises(WrongCredentials):
        archive.people.own.prove_factor(session, "000000" if current(secret) != "000000" else "000001", HERE)
    codes = archive.people.own.prove_factor(session, current(secret), HERE)
    assert len(set(codes)) == 10
    assert archive.people.signing_in.go_on(session, HERE).stage == "open"


def test_a_code_is_taken_once_and_a_recovery_code_too(archive: Archive) -> None:
    make(archive)
    secret, codes = with_factor(archive)
    code = current(secret)
    first = sign_in(archive)
    assert first.stage == "code"
    step = archive.people.signing_in.by_code(first, code, HERE)
    assert opened(archive, step).stage == "open"
    again = sign_in(archive)
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_code(again, code, HERE)
    assert archive.people.signing_in.by_code(again, codes[3].upper().replace("-", " "), HERE).stage == "open"
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_code(sign_in(archive), codes[3], HERE)


def test_one_code_used_twice_at_the_same_moment_lets_one_in(archive: Archive) -> None:
    make(archive)
    secret, _ = with_factor(archive)
    row = archive.people.signing_in.account(sign_in(archive).account)
    with ThreadPoolExecutor(4) as pool:
        assert (
            list(pool.map(lambda _: archive.people.signing_in.prove(row, current(secret)), range(4))).count(True) == 1
        )


def test_the_password_buys_no_more_tries_at_the_code(archive: Archive) -> None:
    make(archive)
    secret, _ = with_factor(archive)
    wrong = next(code for code in ("111111", "222222", "333333", "444444") if code != current(secret))
    tries = 0
    with pytest.raises(Locked):
        for _ in range(10):
            session = sign_in(archive)
            tries += 1
            with pytest.raises(WrongCredentials):
                archive.people.signing_in.by_code(session, wrong, HERE)
    assert tries == 5


def test_half_a_sign_in_is_none(archive: Archive) -> None:
    make(archive)
    with_factor(archive)
    session = sign_in(archive)
    with pytest.raises(SessionEnded):
        archive.people.signing_in.by_code(replace(session, stage="open"), "123456", HERE)
    back(archive, "account_session", "expires_at", "now()")
    assert archive.people.sessions.of(session.account) == []


def test_a_secret_in_the_database_is_sealed_to_its_account(archive: Archive) -> None:
    make(archive)
    make(archive, "minh")
    with_factor(archive)
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE account SET factor = (SELECT factor FROM account WHERE name = 'lan'), factor_at = now()"
        )
    session = sign_in(archive, "minh")
    with pytest.raises(Exception, match="sealed with another key"):
        archive.people.signing_in.by_code(session, "123456", HERE)
    assert (archive.settings.data_dir / "access.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("column", "value"),
    [("used_at", "now() - interval '16 minutes'"), ("expires_at", "now()"), ("ended_at", "now()")],
)
def test_sessions_end_by_themselves(archive: Archive, column: str, value: str) -> None:
    make(archive)
    step = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    opened(archive, step)
    back(archive, "account_session", column, value)
    assert archive.people.sessions.find(step.secret, "browser") is None


def test_administrators_have_less_time(archive: Archive) -> None:
    make(archive, "chief", Membership(Role.PROVINCE_ADMIN, None))
    session = sign_in(archive, "chief")
    secret, _ = archive.people.own.offer_factor(session)
    archive.people.own.prove_factor(session, current(secret), HERE)
    step = archive.people.signing_in.go_on(session, HERE)
    opened(archive, step)
    back(archive, "account_session", "used_at", "now() - interval '6 minutes'")
    assert archive.people.sessions.find(step.secret, "browser") is None


def test_use_keeps_a_session_alive_and_looking_on_does_not(archive: Archive) -> None:
    make(archive)
    step = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    for touch, left in ((False, None), (True, "open")):
        back(archive, "account_session", "used_at", "now() - interval '10 minutes'")
        assert archive.people.sessions.find(step.secret, "browser", touch=touch) is not None
        back(archive, "account_session", "used_at", "used_at - interval '10 minutes'")
        found = archive.people.sessions.find(step.secret, "browser")
        assert (found.stage if found else None) == left


def _disable(archive: Archive, number: int) -> None:
    archive.people.accounts.disable(OPERATOR, number)


def _reset(archive: Archive, number: int) -> None:
    archive.people.accounts.reset_password(OPERATOR, number)


def _drop(archive: Archive, number: int) -> None:
    archive.people.accounts.reset_factor(OPERATOR, number)


@pytest.mark.parametrize("what", [_disable, _reset, _drop])
def test_what_an_administrator_takes_away_is_away_at_once(
    archive: Archive, what: Callable[[Archive, int], None]
) -> None:
    number = make(archive)
    step = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    what(archive, number)
    assert archive.people.sessions.find(step.secret, "browser") is None


def test_new_roles_count_at_once(archive: Archive) -> None:
    number = make(archive)
    session = sign_in(archive)
    archive.people.accounts.set_roles(OPERATOR, number, [Membership(Role.ANALYST, None)])
    found = archive.people.sessions.of(number)
    assert [each.id for each in found] == [session.id]
    step = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    assert opened(archive, step).caller(HERE).rights == {Right.STATISTICS: None}


def test_a_changed_password_ends_the_other_sessions(archive: Archive) -> None:
    make(archive)
    other = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    mine = archive.people.signing_in.by_password("lan", PASSWORD, HERE)
    with pytest.raises(WrongCredentials):
        archive.people.own.change_password(opened(archive, mine), "wrong", OTHER, HERE)
    archive.people.own.change_password(opened(archive, mine), PASSWORD, OTHER, HERE)
    assert archive.people.sessions.find(other.secret, "browser") is None
    assert archive.people.sessions.find(mine.secret, "browser") is not None
    with pytest.raises(BadPassword, match="used"):
        archive.people.own.change_password(opened(archive, mine), OTHER, PASSWORD, HERE)


def test_passwords_of_administrators_grow_old(archive: Archive) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    make(archive)
    back(archive, "account", "password_at", "now() - interval '61 days'")
    assert sign_in(archive, "chief").stage == "password"
    assert sign_in(archive).stage == "open"


def test_what_nobody_uses_is_disabled(archive: Archive) -> None:
    number = make(archive)
    make(archive, "minh")
    back(archive, "account", "enabled_at", "now() - interval '46 days'")
    back(archive, "account", "used_at", "CASE name WHEN 'minh' THEN now() - interval '46 days' ELSE now() END")
    with pytest.raises(WrongCredentials):
        sign_in(archive, "minh")
    assert sign_in(archive).stage == "open"
    back(archive, "account", "used_at", "now() - interval '46 days'")
    assert archive.people.tidy() == 1
    assert not archive.people.accounts.one(OPERATOR, number).enabled
    archive.people.accounts.enable(OPERATOR, number)
    assert sign_in(archive).stage == "open"


def test_programs_get_tokens_that_can_be_taken_back(archive: Archive) -> None:
    service = (Membership(Role.SERVICE, "86001"),)
    secret = archive.people.accounts.create(OPERATOR, "ris", "RIS", service, [Right.STORE])
    token, seconds = archive.people.programs.token(archive.people.programs.by_secret("ris", secret, HERE), HERE)
    assert seconds == 900
    session = archive.people.sessions.find(token, "token")
    assert session is not None
    assert session.caller(HERE).rights == {Right.STORE: frozenset({"86001"})}
    assert archive.people.sessions.find(token, "browser") is None
    for client, wrong in (("ris", secret[:-1]), ("ris", ""), ("other", secret)):
        with pytest.raises(WrongCredentials):
            archive.people.programs.token(archive.people.programs.by_secret(client, wrong, HERE), HERE)
    other = archive.people.accounts.create(OPERATOR, "lis", "LIS", service, [Right.VIEW])
    archive.people.programs.revoke(archive.people.programs.by_secret("lis", other, HERE), token, HERE)
    assert archive.people.sessions.find(token, "token") is not None
    archive.people.programs.revoke(archive.people.programs.by_secret("ris", secret, HERE), token, HERE)
    assert archive.people.sessions.find(token, "token") is None
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password("ris", secret, HERE)


# --- who may do what to whom

CHIEF = Caller(Kind.ACCOUNT, "chief", {Right.ACCOUNTS: frozenset({"86001"})}, account=99)


@pytest.mark.parametrize(
    "role",
    [
        Membership(Role.PROVINCE_ADMIN, None),
        Membership(Role.ANALYST, None),
        Membership(Role.RADIOLOGIST, "86002"),
        Membership(Role.RADIOLOGIST, None),
    ],
)
def test_a_facility_admin_gives_nothing_beyond_the_facility(archive: Archive, role: Membership) -> None:
    own = Membership(Role.RADIOLOGIST, "86001")
    with pytest.raises(NotPermitted):
        archive.people.accounts.create(CHIEF, "lan", "Lan", [own, role])
    number = make(archive)
    with pytest.raises(NotPermitted):
        archive.people.accounts.set_roles(CHIEF, number, [own, role])


def test_nobody_is_administrator_of_the_province_at_a_facility(archive: Archive) -> None:
    for by in (CHIEF, OPERATOR):
        with pytest.raises(InvalidItem):
            archive.people.accounts.create(by, "lan", "Lan", [Membership(Role.PROVINCE_ADMIN, "86001")])


def test_a_program_of_a_facility_cannot_operate_the_archive(archive: Archive) -> None:
    for right in (Right.OPERATE, Right.FEED, Right.ACCOUNTS, Right.BREAK_GLASS):
        with pytest.raises(InvalidItem):
            archive.people.accounts.create(CHIEF, "p", "P", [Membership(Role.SERVICE, "86001")], [right])


@pytest.mark.parametrize(
    ("roles", "seen"),
    [
        ([Membership(Role.RADIOLOGIST, "86002")], False),
        ([Membership(Role.ANALYST, None)], False),
        ([Membership(Role.RADIOLOGIST, "86001"), Membership(Role.RADIOLOGIST, "86002")], True),
        ([Membership(Role.RADIOLOGIST, "86001"), Membership(Role.PROVINCE_ADMIN, None)], True),
    ],
)
def test_a_facility_admin_cannot_touch_who_reaches_further(
    archive: Archive, roles: list[Membership], seen: bool
) -> None:
    number = make(archive, "lan", *roles)
    accounts = archive.people.accounts
    assert [each.id for each in accounts.listed(CHIEF)] == ([number] if seen else [])
    for act in (accounts.disable, accounts.reset_password, accounts.reset_factor, accounts.unlock, accounts.confirm):
        with pytest.raises(NotPermitted if seen else NotFound):
            act(CHIEF, number)


def test_nobody_changes_their_own_roles(archive: Archive) -> None:
    number = make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    with pytest.raises(NotPermitted, match="own account"):
        archive.people.accounts.set_roles(replace(CHIEF, account=number), number, RADIOLOGIST)


def test_who_may_not_look_after_accounts_does_not_even_see_them(archive: Archive) -> None:
    number = make(archive)
    nobody = Caller(Kind.ACCOUNT, "x", {Right.VIEW: None})
    for act in (archive.people.accounts.listed, lambda by: archive.people.accounts.one(by, number)):
        with pytest.raises(NotPermitted):
            act(nobody)
    with pytest.raises(NotPermitted):
        archive.people.accounts.create(nobody, "lan2", "Lan", RADIOLOGIST)


def test_a_name_is_given_once(archive: Archive) -> None:
    make(archive)
    with pytest.raises(Conflict):
        archive.people.accounts.create(OPERATOR, "lan", "Lan", RADIOLOGIST)
    for name in ("", "a", "LAN", "l n", "lan\n", "-lan", "x" * 65):
        with pytest.raises(InvalidItem):
            archive.people.accounts.create(OPERATOR, name, "Lan", RADIOLOGIST)
    with pytest.raises(InvalidItem):
        archive.people.accounts.create(OPERATOR, "minh", "Minh", [Membership(Role.RADIOLOGIST, "00000")])


def test_roles_are_confirmed_every_half_year(archive: Archive) -> None:
    number = make(archive)
    assert not archive.people.accounts.one(OPERATOR, number).review_due
    back(archive, "account", "reviewed_at", "now() - interval '184 days'")
    assert archive.people.accounts.one(OPERATOR, number).review_due
    archive.people.accounts.confirm(OPERATOR, number)
    assert not archive.people.accounts.one(OPERATOR, number).review_due
    assert audited(archive, "account")[-1][2]["change"] == "roles confirmed"


@pytest.mark.parametrize("name", ["lan", "nobody", "off", ""])
def test_a_wrong_password_costs_one_hash_whoever_it_is(
    archive: Archive, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal work for all names: how long an answer takes tells nothing."""
    make(archive)
    archive.people.accounts.disable(OPERATOR, make(archive, "off"))
    checked: list[str] = []
    hasher = archive.people.signing_in._passwords._hasher
    verify = type(hasher).verify

    def counted(self: object, expected: str, password: str) -> bool:
        checked.append(expected.rsplit("$", 2)[0])
        return bool(verify(hasher, expected, password))

    monkeypatch.setattr(type(hasher), "verify", counted)
    with pytest.raises(WrongCredentials):
        archive.people.signing_in.by_password(name, "wrong", HERE)
    # One hash, with the same cost.
    assert checked == ["$argon2id$v=19$m=65536,t=3,p=4"]
