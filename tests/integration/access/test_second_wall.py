"""With every predicate forgotten, at every door: what is another facility's stays where it is (row security)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import text, true

from archive import access, locate, matches, search
from archive.core import Archive
from archive.delivery import deliveries, links
from archive.errors import ArchiveError
from archive.feed import feed
from archive.records import Nested
from archive.rejection import rejections
from archive.sharing import break_glass, sharings
from archive.ups import workitems
from archive.worklist import items, listing, rows, steps
from tests.integration.access.filled import Filled, everywhere_at, fill, following
from tests.integration.archive.test_row_security import TABLES
from tests.integration.viewer_api.test_sharing_api import as_
from tests.web_server import fresh_archive

_OF_SCOPE = "CAST(:scope AS text[]) IS NULL"
_STATEMENTS = {
    feed: ("_READ",),
    rejections: ("_LIST", "_SHOW", "_HOME"),
    sharings: ("_LIST", "_GRANTS", "_OWN"),
    break_glass: ("_NOTICES",),
}
"""Statements that are given the caller's facilities as one of their values."""


class Two(NamedTuple):
    archive: Archive
    ours: Filled
    theirs: Filled


@pytest.fixture(scope="module")
def two(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    facilities = [{"code": code, "name": code} for code in ("86001", "86002", "86003")]
    folder = tmp_path_factory.mktemp("wall")
    web = {"views": ["everything"]}
    with fresh_archive(postgres, folder, facilities=facilities, web=web) as archive:
        stranger = everywhere_at(archive, "la", "86003")
        with following(archive):
            ours = fill(archive, "86002", "QUAOURSQ", stranger)
            theirs = fill(archive, "86001", "ZYXTHEIRS", stranger)
        yield Two(archive, ours, theirs)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every predicate lets everything through."""
    locate._current.cache_clear()
    for module in (access, search, matches, locate, links, deliveries):
        monkeypatch.setattr(module, "visible", lambda scope: true())
    monkeypatch.setattr(search, "visible_named", lambda scope, by_index=True: true())
    for module in (rows, listing, items, workitems):
        monkeypatch.setattr(module, "owned", lambda scope: true())
    monkeypatch.setattr(steps, "_visible", lambda scope: true())
    for module in (rows, steps):
        monkeypatch.setattr(module, "own_or_nobodys", lambda owner, facility: true())
    entries = links.entries
    monkeypatch.setattr(links, "entries", lambda where: entries(None))
    for module, names in _STATEMENTS.items():
        for name in names:
            before = str(getattr(module, name))
            assert _OF_SCOPE in before
            monkeypatch.setattr(module, name, text(before.replace(_OF_SCOPE, "true")))
    yield
    locate._current.cache_clear()


def searches(of: Filled) -> list[tuple[str, str]]:
    """All that lists something, method and address, as anybody may ask it."""
    everything = "1000"
    return [
        ("GET", f"/dicom-web/studies?limit={everything}&includefield=all"),
        ("GET", "/dicom-web/series?includefield=all"),
        ("GET", "/dicom-web/instances?includefield=all"),
        ("POST", "/"),
        ("GET", "/worklist"),
        ("GET", "/worklist/items"),
        ("GET", "/worklist/steps"),
        ("GET", "/dicom-web/workitems?includefield=all"),
        ("GET", "/dicom-web/changes"),
        ("GET", "/rejections"),
        ("GET", "/hidden"),
        ("GET", "/sharing/decisions?closed=true"),
        ("GET", "/sharing/grants"),
        ("GET", "/sharing/notices?acknowledged=true"),
        ("GET", "/shared"),
        ("GET", "/delivery/links"),
        ("GET", "/links"),
        ("GET", f"/delivery/records?study={of.study}"),
    ]


def single(of: Filled) -> list[str]:
    """Addresses of single things."""
    return [
        f"/dicom-web/studies/{of.study}/metadata",
        f"/worklist/items/{of.item}",
        f"/worklist/steps/{of.step}",
        f"/dicom-web/workitems/{of.workitem}",
        f"/rejections/{of.note}",
        *(f"/sharing/decisions/{number}" for number in of.decisions),
    ]


def told(web: httpx.Client, method: str, path: str) -> tuple[int, str]:
    answer = web.request(method, path, headers={"accept": "*/*"})
    assert answer.status_code < 500, (path, answer.text)
    return answer.status_code, answer.text


def _leaks(two: Two, other: Filled) -> dict[str, list[str]]:
    """Of each way to ask, what our caller is told of the other facility."""
    found: dict[str, list[str]] = {}
    with as_(two.archive, two.ours.caller) as web:
        for method, path in searches(other):
            status, body = told(web, method, path)
            assert status in (200, 204), (path, body)
            found[f"{method} {path}"] = [name for name in (*other.names, '"film"') if name in body]
        for path in single(other):
            status, body = told(web, "GET", path)
            found[path] = [str(status)] if status != 404 else []
    return found


@pytest.mark.usefixtures("forgotten")
def test_no_route_tells_of_another_facility(two: Two) -> None:
    leaks = {path: names for path, names in _leaks(two, two.theirs).items() if names}
    assert not leaks


@pytest.mark.usefixtures("forgotten")
def test_every_route_tells_of_ones_own(two: Two) -> None:
    """So that the silence above is that of the wall."""
    silent = [path for path, names in _leaks(two, two.ours).items() if not names]
    assert not silent


@pytest.mark.usefixtures("forgotten")
def test_without_the_wall_every_route_would_tell(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """That each predicate has really been forgotten."""
    monkeypatch.setattr(two.archive.reader, "_limited", None)
    silent = [path for path, names in _leaks(two, two.theirs).items() if not names]
    assert not silent


@pytest.mark.usefixtures("forgotten")
def test_no_service_finds_what_is_another_facilitys(two: Two) -> None:
    """What C-FIND of the worklist, N-GET of a step and counts work with."""
    archive, ours, theirs = two
    scope = ours.caller.scope()
    found = list(
        archive.worklist.query(
            Nested({0x00100020: ""}), scope, station="X", own_station_only=False, cap=100
        )  # universal
    )
    assert {match["00100020"]["Value"][0] for match in found} == {f"{ours.word}1"}
    with pytest.raises(ArchiveError):
        archive.performed.get(theirs.step, scope)
    assert archive.performed.get(ours.step, scope).facility == "86002"
    assert sum(archive.worklist.counts(listing.ItemSearch(), scope).values()) == 2
    assert archive.performed.missing_of([theirs.item], scope) == {}
    assert [link.id for link in archive.links.listed(ours.caller)] == [ours.link]
    for refused in (
        lambda: archive.links.withdraw(ours.caller, theirs.link),
        lambda: archive.sharings.withdraw(ours.caller, theirs.grant),
        lambda: archive.sharings.close(ours.caller, theirs.decisions[0]),
        lambda: archive.sharings.refer(ours.caller, theirs.study, "86003", sharings.Terms("x")),
        lambda: archive.rejections.reject(theirs.study, code="113001", who="x", why="x", scope=scope),
        lambda: archive.deliveries.record(ours.caller, theirs.study, "film"),
    ):
        with pytest.raises(ArchiveError):
            refused()


def test_what_belongs_to_nobody_or_all_needs_the_right_for_the_province(two: Two) -> None:
    with as_(two.archive, two.ours.caller) as web:
        for path in ("/queues", "/forwarding/queues", "/forwarding/problems?destination=X", "/quarantine"):
            assert web.get(path).status_code == 403, path


def test_each_table_shows_a_context_its_own_rows_alone(two: Two) -> None:
    """Straight at the tables, by whatever statement: rows of ours and not one of theirs, and none without a context."""
    archive = two.archive
    number = "(SELECT id FROM facility WHERE code = '{}')"
    with archive._limited.connect() as connection:
        connection.exec_driver_sql("DISCARD ALL")
        for table in TABLES:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0, table
        counts: dict[str, list[Any]] = {}
        for code in ("86002", "86001", "86003"):
            connection.execute(
                text(f"SELECT set_config('pacs.facilities', '{{' || {number.format(code)} || '}}', false)")
            )
            for table in TABLES:
                counts.setdefault(table, []).append(
                    connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                )
        for statement in ("SELECT transaction_uid FROM ups_workitem", "SELECT token_digest FROM share_link"):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(text(statement))
            connection.rollback()
    with archive._engine.connect() as connection:
        whole = {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES}
    for table in TABLES:
        ours, theirs, _ = counts[table]
        assert 0 < ours == theirs < whole[table], (table, counts[table], whole[table])


def test_every_table_with_rows_of_patients_has_a_policy(two: Two) -> None:
    """What the limited role may read at all is behind a policy, or is said here to be nobody's secret."""
    with two.archive._engine.connect() as connection:
        open_to_all = connection.execute(
            text("""
            SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE relkind = 'r' AND NOT relrowsecurity AND nspname = current_schema()
               AND has_any_column_privilege('pacs_reader', pg_class.oid, 'SELECT')
            """)
        ).scalars()
        assert set(open_to_all) == {"facility"}
