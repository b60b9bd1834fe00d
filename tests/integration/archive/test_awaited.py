"""Questions that no thread waits for: the same answers as in the ordinary way, or none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import true

from archive import locate
from archive.awaited import MOST, Awaited
from archive.core import Archive
from archive.database import connect
from archive.errors import IndexUnavailable
from archive.people.roles import Role
from archive.records import EVERYTHING
from archive.row_security import Context
from archive.sharing.sharings import Terms
from config.settings import Settings
from tests.integration.archive.support import sql
from tests.integration.archive.test_sharing import A, B, caller_of, kept

T = TypeVar("T")
PATIENCE = 120


@pytest.fixture
def awaited(settings: Settings) -> Iterator[Awaited]:
    found = Awaited(lambda: connect(settings.database, "awaited"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def afresh() -> Any:
    yield
    locate._current.cache_clear()


async def in_the_end(ask: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer: connections are opened behind the back of whoever asks."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (found := await ask()) is not None:
            return found
        await asyncio.sleep(0)
    raise AssertionError("there was no answer")


async def number(awaited: Awaited, value: int, context: Context | None = None) -> int | None:
    rows = await awaited.fetch("SELECT %(value)s::int, '5%%'", {"value": value}, context)
    if rows is None:
        return None
    ((found, text),) = rows
    assert text == "5%"
    return int(found)


def test_each_question_gets_its_own_answer(awaited: Awaited) -> None:
    async def ask() -> None:
        assert await number(awaited, 1) is None, "nothing is connected before the first question"
        for value in (1, 40_000, 3_000_000_000 // 2, 2):  # psycopg sends each as another type
            assert await in_the_end(lambda value=value: number(awaited, value)) == value
        for _ in range(50):
            found = await asyncio.gather(*(number(awaited, value) for value in range(2 * MOST)))
            assert all(each in (None, value) for value, each in enumerate(found))
            assert any(each is not None for each in found)

    asyncio.run(ask())
    asyncio.run(ask_again(awaited))


async def ask_again(awaited: Awaited) -> None:
    """In another event loop, after the first one has ended."""
    assert await in_the_end(lambda: number(awaited, 7)) == 7


def test_a_connection_that_was_lost_is_replaced(awaited: Awaited, archive: Archive) -> None:
    async def ask() -> None:
        await in_the_end(lambda: number(awaited, 1))
        sql(archive, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'awaited'")
        assert await in_the_end(lambda: number(awaited, 2)) == 2

    asyncio.run(ask())


def test_a_statement_that_fails_is_for_the_ordinary_way(awaited: Awaited) -> None:
    async def ask() -> None:
        await in_the_end(lambda: number(awaited, 1))
        assert await awaited.fetch("SELECT 1 / %(value)s::int", {"value": 0}, None) is None
        assert await awaited.fetch("SELECT nothing", {}, None) is None
        assert await in_the_end(lambda: number(awaited, 2)) == 2

    asyncio.run(ask())


def test_an_answer_that_nobody_waits_for_is_not_taken_for_another(awaited: Awaited) -> None:
    async def ask() -> None:
        await in_the_end(lambda: number(awaited, 1))
        asked = asyncio.create_task(number(awaited, 8))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        for value in range(20):
            assert await in_the_end(lambda value=value: number(awaited, value)) == value

    asyncio.run(ask())


def test_without_a_database_nobody_waits() -> None:
    tried = threading.Event()

    def connecting() -> psycopg.Connection[Any]:
        tried.set()
        raise IndexUnavailable("no")

    async def ask() -> None:
        awaited = Awaited(connecting)
        assert await number(awaited, 1) is None
        assert tried.wait(PATIENCE)
        assert await number(awaited, 1) is None

    asyncio.run(ask())


def test_an_instance_is_found_by_whoever_may_see_it(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    binh = caller_of(archive, "binh", (Role.RADIOLOGIST, "86002"))
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    own, foreign = (archive.locate(uid)[0] for uid in (kept(archive, B, PatientID="BN0002"), kept(archive, A)))

    async def find(inst: Any, scope: Any) -> Any:
        names = (inst.study_instance_uid, inst.series_instance_uid, inst.sop_instance_uid)
        return await archive.locate_one(*names, scope)

    async def ask() -> None:
        assert await in_the_end(lambda: find(foreign, EVERYTHING)) == foreign
        # From here on, the rows of their facilities are known.
        archive.locate(own.study_instance_uid, scope=binh.scope())
        archive.locate(foreign.study_instance_uid, scope=an.scope())
        assert await in_the_end(lambda: find(own, binh.scope())) == own
        assert await find(foreign, binh.scope()) is None
        # The wall behind the predicate holds here, too: without the predicate, nothing more is found.
        locate._current.cache_clear()
        with monkeypatch.context() as without:
            without.setattr(locate, "visible", lambda scope: true())
            assert await find(own, binh.scope()) == own
            assert await find(foreign, binh.scope()) is None
            assert await find(foreign, an.scope()) == foreign
            assert await find(foreign, binh.scope()) is None
        locate._current.cache_clear()
        shared = archive.sharings.refer(an, foreign.study_instance_uid, "86002", Terms("chuyển tuyến"))
        assert await find(foreign, binh.scope()) == foreign
        archive.sharings.close(an, shared.id)
        assert await find(foreign, binh.scope()) is None
        assert await find(own, binh.scope()) == own, "that was for want of anything else"

    asyncio.run(ask())
