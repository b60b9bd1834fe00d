"""Without the predicate nothing leaks: PostgreSQL holds back by itself what a caller may not see."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import text, true

from archive import access, locate, search
from archive.core import Archive
from archive.database import fetch
from archive.errors import IndexUnavailable, InvalidQuery, NotFound
from archive.migrate import require_wall
from archive.people.caller import Caller
from archive.people.roles import Right, Role
from archive.records import Level, Order, Query, Scope
from archive.rejection.causes import View
from archive.row_security import ROLE, Context
from archive.sharing.sharings import Terms
from tests.integration.archive.support import sql
from tests.integration.archive.test_sharing import A, B, caller_of, kept

COUNT = text("SELECT count(*) FROM study")
TABLES = (
    *("patient", "study", "series", "instance", "stored_object"),
    *("worklist_item", "performed_step", "performed_step_item", "performed_series", "ups_workitem", "change"),
    *("rejection_note", "rejection_reference", "hiding_action"),
    *("access_grant", "sharing", "sharing_member", "sharing_study", "access_notice", "share_link", "delivery"),
)
QUERIES = {
    "everything": {},
    "wildcard": {0x00100010: "*NGUY*"},
    "prefix": {0x00100020: "BN*"},
    "exact": {0x00100020: "BN0001"},
    "range": {0x00080020: "20000101-20301231"},
    "uids": {0x0020000D: "1.2.3\\1.2.4"},
    "modality": {0x00080060: "CT"},
    "empty": {0x00080090: '""'},
    "several": {0x00100010: "nguyen", 0x00080020: "20261101", 0x00080050: "A1"},
}


@pytest.fixture
def two(archive: Archive) -> tuple[str, str]:
    """A study of each facility: the first is the caller's."""
    return kept(archive, B, PatientID="BN0002"), kept(archive, A)


@pytest.fixture
def binh(archive: Archive) -> Caller:
    return caller_of(archive, "binh", (Role.RADIOLOGIST, "86002"))


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predicate lets everything through, wherever it is used."""
    locate._current.cache_clear()
    for module in (access, search, locate):
        monkeypatch.setattr(module, "visible", lambda scope: true())
    monkeypatch.setattr(search, "visible_named", lambda scope, by_index=True: true())


@pytest.fixture(autouse=True)
def afresh() -> Any:
    yield
    locate._current.cache_clear()


def found(archive: Archive, query: Query, scope: Scope) -> tuple[int, set[str]]:
    result = archive.search(query, scope)
    browsed = list(archive.browse(query, scope))
    assert len(browsed) == len(result.matches)
    key = "00100020" if query.level is Level.PATIENT else "0020000D"
    return result.total, {match[key]["Value"][0] for match in (*result.matches, *browsed)}


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("level", Level)
def test_no_query_finds_what_is_not_theirs(archive: Archive, two: tuple[str, str], binh: Caller, level: Level) -> None:
    own = "BN0002" if level is Level.PATIENT else two[0]
    for form, view, fuzzy in itertools.product(QUERIES, (View.CLINICAL, View.EVERYTHING), (False, True)):
        keys = dict(QUERIES[form])
        if level is Level.PATIENT:
            keys = {tag: value for tag, value in keys.items() if tag >> 16 == 0x0010}
        elif form in ("uids", "several"):
            keys[0x0020000D] = "\\".join(two)
        for order in ((), (Order(0x00100020 if level is Level.PATIENT else 0x0020000D),)):
            query = Query(level, keys, include="all", fuzzy=fuzzy, order=order)
            total, uids = found(archive, query, binh.scope(view))
            assert uids <= {own}, form
            assert total == len(uids), form
    # So far this could be for want of anything: without a wall both are found.
    assert len(found(archive, Query(level), Scope())[1]) == 2


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_no_broad_query_finds_what_is_not_theirs(
    archive: Archive, two: tuple[str, str], binh: Caller, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on a page of many is looked for before the wall, and given out and counted from behind it."""
    for many, few in ((0, 0), (12_000, 0), (12_000, 50)):
        monkeypatch.setattr(search, "_MOST_PATIENTS", many)
        monkeypatch.setattr(search, "_FEW_PATIENTS", few)
        for keys, limit, offset in itertools.product(({0x00100010: "?*"}, {}), (None, 1, 0), (0, 1)):
            query = Query(level, keys, limit=limit, offset=offset)
            result = archive.search(query, binh.scope())
            # Of a page that was looked for ahead, what is not theirs leaves a gap.
            assert result.total == 1 or (many and keys and result.total == 0), query
            assert not result.more, query
            assert result.owners in ([], ["86002"]), query
    assert found(archive, Query(level, {0x00100010: "?*"}), binh.scope()) == (1, {two[0]})
    assert len(found(archive, Query(level, {0x00100010: "?*"}), Scope())[1]) == 2


@pytest.mark.usefixtures("forgotten")
def test_nothing_can_be_retrieved_that_is_not_theirs(archive: Archive, two: tuple[str, str], binh: Caller) -> None:
    theirs = archive.locate(two[1])[0]
    names = (theirs.study_instance_uid, theirs.series_instance_uid, theirs.sop_instance_uid)
    for scope in (binh.scope(), binh.scope(View.EVERYTHING), binh.scope(right=Right.COPY)):
        for depth in (1, 2, 3):
            with pytest.raises(NotFound):
                archive.locate(*names[:depth], scope=scope)
        with pytest.raises(NotFound):
            locate.versions(archive.reader, *names, scope=scope)
        assert archive.locate(two[0], scope=scope)


@pytest.mark.usefixtures("forgotten")
def test_grants_hold_behind_the_wall_as_before_it(archive: Archive, two: tuple[str, str], binh: Caller) -> None:
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    shared = archive.sharings.refer(an, two[1], "86002", Terms("chuyển tuyến"))
    assert archive.locate(two[1], scope=binh.scope())
    with pytest.raises(NotFound):
        archive.locate(two[1], scope=binh.scope(right=Right.COPY))
    archive.sharings.close(an, shared.id)
    with pytest.raises(NotFound):
        archive.locate(two[1], scope=binh.scope())


def test_every_table_is_shut_without_a_context(archive: Archive, two: tuple[str, str]) -> None:
    assert len(two) == 2
    with archive._limited.connect() as connection:
        for table in TABLES:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
        connection.execute(text("SELECT set_config('pacs.facilities', '', false)"))
        for table in TABLES:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
        for statement in ("UPDATE study SET study_id = ''", "DELETE FROM instance", "SELECT * FROM account"):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(text(statement))


def test_a_connection_never_keeps_the_scope_of_another(archive: Archive, two: tuple[str, str]) -> None:
    """Callers take turns on one connection, also when one of them fails half way."""
    callers = [
        caller_of(archive, name, (Role.RADIOLOGIST, facility))
        for name, facility in (("x", "86002"), ("y", "86001"), ("z", "86003"))
    ]
    expected = ({two[0]}, {two[1]}, set())
    for _ in range(3):
        for caller, uids in zip(callers, expected, strict=True):
            assert found(archive, Query(Level.STUDY), caller.scope())[1] == uids
            with pytest.raises(InvalidQuery):
                fetch(archive._limited, COUNT, context=Context((), 1 << 70, None, False))
    with archive._limited.connect() as connection:
        # Whoever sets it back, as a pooler does, leaves a connection that sees nothing.
        connection.exec_driver_sql("DISCARD ALL")
        assert connection.execute(text("SELECT current_user")).scalar_one() == ROLE
        assert connection.execute(COUNT).scalar_one() == 0


def test_a_role_that_is_held_back_by_nothing_stops_the_start(archive: Archive) -> None:
    require_wall(archive._limited)
    with pytest.raises(IndexUnavailable, match="row security does not hold"):
        require_wall(archive._engine)
    policies = sql(archive, "SELECT tablename FROM pg_policies WHERE roles = '{pacs_reader}'")
    assert {*TABLES, "report", "report_version"} <= set(policies)


def test_what_begins_so_is_found_behind_the_wall_without_asking_whose_it_is(
    archive: Archive, two: tuple[str, str], binh: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whoever = archive.reader.fetch_anybody
    monkeypatch.setattr(
        archive.reader, "fetch_anybody", lambda statement, **more: (asked.append(""), whoever(statement, **more))[1]
    )
    for value, apart in (("BN*", 0), ("BN0002", 0), ("BN*2", 1), ("*0002", 1), ("B?000*", 1), ("BN0\\BN*", 1)):
        asked.clear()
        assert found(archive, Query(Level.STUDY, {0x00100020: value}), binh.scope()) == (1, {two[0]}), value
        assert len(asked) == 2 * apart, value  # once for the page, once to browse


def test_lookups_are_planned_once_and_searches_by_their_values(archive: Archive, two: tuple[str, str]) -> None:
    """To plan through the policies takes far longer than to look an instance up."""
    scope = caller_of(archive, "binh", (Role.RADIOLOGIST, "86002")).scope()
    for _ in range(4):
        assert archive.locate(two[0], scope=scope)
        found(archive, Query(Level.STUDY, {0x0020000D: two[0]}), scope)
    with archive._limited.connect() as connection:
        assert connection.execute(text("SHOW plan_cache_mode")).scalar_one() == "auto"
        plans = connection.execute(
            text(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%stored_object%'"
            )
        ).all()
    assert [tuple(row) for row in plans] == [(4, 0)]
