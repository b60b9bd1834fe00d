"""Who is whose does not depend on how many records are looked at together, nor in which order, nor on who is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg
import pytest

from archive.core import Archive
from archive.demo.generated.generate import Wanted, generate
from archive.demo.generated.visits import ZONE
from archive.identity.book import Book, lock
from archive.identity.linker import Linker
from archive.identity.linking import look
from archive.identity.numbers import Identifier, Kind
from archive.identity.records import Facts, Number
from config.identity import IdentitySettings
from config.settings import DatabaseSettings, load
from tests.conftest import fresh_database
from tests.integration.archive.support import together, url_of
from tests.integration.dicom_node.running import wait_until
from tests.integration.identity.test_linking import CITIZEN, PROVINCE, A, B, groups, kept, linked

SETTINGS = IdentitySettings()
Persons = set[frozenset[tuple[str, str]]]
Said = tuple[Number, Facts]


def said_of_few(chance: random.Random, count: int) -> list[Said]:
    """What hospitals say of a few people who have much in common: numbers are lent, mistyped and contradict."""

    def someone() -> tuple[str, str, str]:
        name = chance.choice(["NGUYỄN THỊ HOA", "NGUYEN THI HOA", "LÊ VĂN TÁM", "LÊ VĂN TAM", "TRẦN BÉ", ""])
        return name, chance.choice(["19620814", "19620101", "1962", "19550302", ""]), chance.choice("FFM")

    found = []
    for at in range(count):
        numbers = []
        if chance.random() < 0.7:
            numbers.append(Identifier(Kind.CITIZEN, f"00116200001{chance.randrange(4)}"))
        if chance.random() < 0.5:
            numbers.append(Identifier(Kind.INSURANCE, f"401791234{chance.randrange(4)}"))
        if at and chance.random() < 0.2:
            numbers.append(Identifier(Kind.FACILITY, f"A{chance.randrange(at)}", "86001"))
        name, birth, sex = someone()
        found.append((Number("86001", f"A{at}"), Facts(name, birth, sex, identifiers=tuple(numbers))))
    return found


def persons(connection: psycopg.Connection[Any]) -> Persons:
    rows = connection.execute("SELECT person_id, issuer, identity FROM identity_record").fetchall()
    found: dict[int, set[tuple[str, str]]] = {}
    for person, *number in rows:
        found.setdefault(person, set()).add((number[0], number[1]))
    return {frozenset(each) for each in found.values()}


def looked_at(connection: psycopg.Connection[Any], sizes: Sequence[int]) -> None:
    """Look at all that is due, so many at a time; the last number again and again."""
    at = 0
    while True:
        with connection.transaction():
            if not look(connection, SETTINGS, 1000, most=sizes[min(at, len(sizes) - 1)]).records:
                return
        at += 1


def told(connection: psycopg.Connection[Any], said: Sequence[Said]) -> None:
    with connection.transaction():
        lock(connection)
        Book(connection).claim("hl7", dict(said), "test")


def assert_whole(connection: psycopg.Connection[Any]) -> None:
    """Nobody is empty or two, and every move stands in the trace."""
    for statement in (
        # a person without records was merged into somebody, one with records was not
        "SELECT id FROM person WHERE (merged_into IS NULL) <> EXISTS"
        " (SELECT FROM identity_record WHERE person_id = person.id)",
        # what others join says the same
        "SELECT patient_person.patient_id FROM patient_person JOIN identity_record USING (patient_id)"
        " WHERE (patient_person.person_id, patient_person.how)"
        " IS DISTINCT FROM (identity_record.person_id, identity_record.how)",
        # where each record is, is where the trace last put it
        "SELECT record.id FROM identity_record AS record JOIN LATERAL (SELECT moved -> 'after' ->> 'person_id' AS person"
        "  FROM identity_event, jsonb_array_elements(detail -> 'moved') AS moved"
        "  WHERE (moved ->> 'record')::bigint = record.id ORDER BY identity_event.id DESC LIMIT 1) AS last ON true"
        " WHERE last.person::bigint <> record.person_id",
        # and nobody shares a person without an event that says why
        "SELECT person_id FROM identity_record GROUP BY person_id HAVING count(*) > 1"
        " AND NOT EXISTS (SELECT FROM identity_event WHERE identity_event.person_id = identity_record.person_id)",
    ):
        assert connection.execute(statement.encode()).fetchall() == []


@pytest.mark.parametrize("seed", range(4))
def test_the_same_persons_come_out_in_whatever_batches(postgres: str, seed: int) -> None:
    said = said_of_few(random.Random(seed), 60)
    results = []
    for sizes, shuffled in (([500], False), ([1], False), ([1], True), ([7, 1, 30, 3], True)):
        with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
            order = random.Random(seed + 100).sample(said, len(said)) if shuffled else said
            told(connection, order)
            looked_at(connection, sizes)
            assert_whole(connection)
            results.append(persons(connection))
    assert all(each == results[0] for each in results)
    assert max(map(len, results[0])) > 1


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_matter_who_came_first_either(postgres: str, seed: int) -> None:
    """As in daily life: each is looked at as it comes, and what was said of some changes later."""
    chance = random.Random(seed)
    said = said_of_few(chance, 40)
    earlier = [
        (number, facts) for number, (_, facts) in zip([n for n, _ in said], said_of_few(chance, 40), strict=True)
    ]
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        told(connection, said)
        looked_at(connection, [500])
        expected = persons(connection)
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        for each in chance.sample(earlier, 15) + chance.sample(said, len(said)):
            told(connection, [each])
            looked_at(connection, [1])
        assert_whole(connection)
        assert persons(connection) == expected


@pytest.mark.parametrize("sizes", [[500], [1], [7]])
def test_a_number_names_nobody_if_many_people_have_it_and_somebody_however_often_they_came(
    postgres: str, sizes: list[int]
) -> None:
    card = (Identifier(Kind.CITIZEN, CITIZEN),)
    often = [
        (Number("86001", f"A{at}"), Facts("NGUYỄN THỊ HOA", "19620814", "F", identifiers=card)) for at in range(40)
    ]
    lent = (Identifier(Kind.INSURANCE, "4017912345"),)
    many = [
        (Number("86001", f"B{at}"), Facts(f"TRẦN {'ABCDEGHIKL'[at // 8]}AN", f"199{at % 4}0302", "M", identifiers=lent))
        for at in range(80)
    ]
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as connection:
        told(connection, [*often, *many])
        looked_at(connection, sizes)
        assert_whole(connection)
        assert sorted(map(len, persons(connection))) == [1] * 80 + [40]


WANTED = Wanted(studies=400, years=1, seed=3, until=datetime(2026, 11, 20, 15, tzinfo=ZONE), instances=0)


@contextmanager
def generated(postgres: str) -> Iterator[tuple[str, DatabaseSettings]]:
    """The URL and settings of a database with a small province."""
    with fresh_database(postgres) as url:
        database = load(environ={}, database={"url": url}).database
        generate(database, WANTED)
        yield url, database


@pytest.fixture(scope="module")
def expected(postgres: str) -> Persons:
    """Who is who in it, found by looking at all together."""
    with generated(postgres) as (url, database), closing(Linker(database, SETTINGS)) as linker:
        linker.begin()
        linker.enter_all()
        linker.look(100_000)
        with psycopg.connect(url, autocommit=True) as connection:
            return persons(connection)


def test_a_province_looked_at_one_by_one_has_the_same_persons(postgres: str, expected: Persons) -> None:
    with generated(postgres) as (url, database), closing(Linker(database, SETTINGS)) as linker:
        linker.begin()
        linker.enter_all()
        while linker.look(1).records:
            pass
        with psycopg.connect(url, autocommit=True) as connection:
            assert persons(connection) == expected
            assert_whole(connection)


def test_several_may_link_while_somebody_merges(postgres: str, archive: Archive) -> None:
    hospitals = (A, B)
    for at in range(12):
        kept(archive, hospitals[at % 2], f"N{at}", (f"00116200001{at // 2}", "CCCD"))
    for at in range(4):
        kept(
            archive, A, f"M{at}", PatientName=f"LÊ VĂN {['TÁM', 'BỐN', 'BẢY', 'HAI'][at]}", PatientBirthDate="19550302"
        )
    with closing(archive.linker()) as linker:
        linker.begin()
        linker.enter_all()

    def work(n: int) -> None:
        if n < 3:
            with closing(archive.linker()) as own:
                while own.look(2).records:
                    pass
            return
        for pair in ((0, 1), (1, 2), (2, 3)):
            source, target = (Number("86001", f"M{at}") for at in pair)
            archive.identities.merge_numbers(PROVINCE, source, target, "cùng một người", how="manual")

    assert not together(work, 4)
    linked(archive)
    pairs = {frozenset((f"N{at}", f"N{at + 1}")) for at in range(0, 12, 2)}
    assert groups(archive) == {*pairs, frozenset(("M0", "M1", "M2", "M3"))}
    with psycopg.connect(url_of(archive), autocommit=True) as connection:
        assert_whole(connection)


_LINKS: Final = """
import sys
from archive.identity.linker import Linker
from config.settings import load
settings = load(environ={}, database={"url": sys.argv[1]})
linker = Linker(settings.database, settings.identity)
linker.begin()
print("begun", flush=True)
linker.enter_all()
batches = int(sys.argv[2])
while batches and linker.look(40).records:
    batches -= 1
"""
ALL: Final = 1000
_BLOCKED: Final = """
SELECT FROM pg_stat_activity JOIN pg_locks USING (pid)
 WHERE application_name = 'pacs identity link' AND NOT granted AND relation = %s::regclass
"""


def command(url: str, batches: int = ALL) -> list[str]:
    return [sys.executable, "-c", _LINKS, url, str(batches)]


def killed_at(url: str, table: str) -> None:
    """Kill a process that links as soon as it writes this table, in the middle of a transaction."""
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watch:
        holder.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE".encode())
        with subprocess.Popen(command(url), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            wait_until(lambda: watch.execute(_BLOCKED, (table,)).fetchone() is not None, f"it writes {table}")
            process.send_signal(signal.SIGKILL)


def test_a_linker_that_is_killed_in_the_middle_of_anything_leaves_nothing_half_done(
    postgres: str, expected: Persons
) -> None:
    with generated(postgres) as (url, _), psycopg.connect(url, autocommit=True) as connection:
        # Those that entering writes, then those that linking does, in the order in which it does.
        for table in ("identity_record", "identity_claim", "patient_person", "identity_event", "identity_candidate"):
            killed_at(url, table)
            assert_whole(connection)
        (due,) = connection.execute("SELECT count(*) FROM identity_record WHERE due").fetchone() or (0,)
        assert due
        subprocess.run(command(url, 2), check=True, capture_output=True)
        killed_at(url, "person")
        assert_whole(connection)
        subprocess.run(command(url), check=True, capture_output=True)
        assert connection.execute("SELECT FROM identity_record WHERE due").fetchall() == []
        assert persons(connection) == expected
        assert_whole(connection)
