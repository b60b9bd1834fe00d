"""One arrival in a statement of its own gets the rows that it gets in company."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from archive.core import Archive
from archive.correction.record import Change, Corrections
from archive.examine import Announcement, Placed, examine
from archive.index_insert import Inserts
from archive.index_parameters import Place, input_row, input_rows
from archive.index_session import Connection, IndexSession
from archive.index_sql import INSERT_INSTANCES
from archive.index_writer import IndexWriter
from archive.keys import KeyAllocator
from archive.records import Arrival
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode
from tests.integration.archive.support import sql

NUMBERS = itertools.count(100)
FULL = Corrections("ISO_IR 192", (Change(0x00100010, "PN", "A\\B", 'Nguyễn^"Đức', "set"),), "CT1", datetime.now(UTC))
ROWS = """
SELECT sop_class_uid, instance_number, rows, columns, bits_allocated, number_of_frames, hidden, instance.attributes,
       version, current, size, digest, transfer_syntax_uid, dataset_offset, header_length, trailer_offset, frame_table,
       corrections, facility_id, transport, calling_ae_title, address, user_name, warnings, received_at, state
  FROM instance JOIN stored_object ON instance_id = instance.id ORDER BY instance.id
"""


@pytest.fixture
def session(settings: Settings, archive: Archive) -> Iterator[IndexSession]:
    opened = IndexSession(settings.database, "one")
    yield opened
    opened.close()


def arrival(session: IndexSession, archive: Archive, *, full: bool) -> Arrival:
    # UIDs of one length: that of the object is compared.
    image = ct_image(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID=f"1.2.3.4.{next(NUMBERS)}")
    data = encode(image)
    key = KeyAllocator(session, archive.store).take()
    found = examine(
        lambda start, length: data[start : start + length],
        Announcement(image.SOPClassUID, image.SOPInstanceUID, "1.2.840.10008.1.2.1"),
        Placed(key.text, key.block, len(data) + 400, 400, bytes(range(32))),
        SOURCE,
    )
    if full:
        instance = replace(found.instance, attributes={"0040A491": {"vr": "CS", "Value": ["COMPLETE", 'ố"\\']}})
        stored = replace(found.object, trailer_offset=1 << 40, frame_table=b"\0\xff" * 300)
        texts = ("a\\b", 'c"d, {e}', "Đ", "NULL", "")
        found = replace(found, instance=instance, object=stored, corrections=FULL, warnings=texts)
    else:
        instance = replace(found.instance, instance_number=None, rows=None, columns=None, bits_allocated=None)
        found = replace(found, instance=instance, object=replace(found.object, frame_table=None))
    return replace(found, received_at=datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


@pytest.mark.parametrize("full", [True, False])
def test_every_value_is_the_same_by_either_statement(session: IndexSession, archive: Archive, full: bool) -> None:
    first = arrival(session, archive, full=full)
    IndexWriter(session, conflict="keep").prepare(first)
    (series,), (facility,) = sql(archive, "SELECT id FROM series"), sql(archive, "SELECT id FROM facility LIMIT 1")
    alone, together = [
        input_row(each, Place(series, 0, 0, "of the series"), facility)
        for each in (first, arrival(session, archive, full=full))
    ]
    together["received_at"] = alone["received_at"]
    connection = session.run(lambda opened: opened)
    assert Inserts()(connection, [alone]) == [True]
    assert connection.execute(INSERT_INSTANCES, {"rows": input_rows([together])}).fetchall() == [(0,)]
    one, other = sql(archive, ROWS)
    assert one == other
    assert sql(archive, "SELECT instance_count, series_count, modalities_in_study FROM study") == [(2, 1, ["CT"])]
    assert Inserts()(connection, [alone]) == [False]


def prepared(session: IndexSession, archive: Archive) -> tuple[Inserts, Connection, dict[str, object]]:
    first = arrival(session, archive, full=False)
    IndexWriter(session, conflict="keep").prepare(first)
    (series,), (facility,) = sql(archive, "SELECT id FROM series"), sql(archive, "SELECT id FROM facility LIMIT 1")
    return Inserts(), session.run(lambda opened: opened), input_row(first, Place(series, 0, 0, None), facility)


def test_a_session_that_forgot_what_was_prepared(session: IndexSession, archive: Archive) -> None:
    insert, connection, row = prepared(session, archive)
    assert insert(connection, [row]) == [True]
    for several in ([2], [3, 4]):
        connection.execute("DEALLOCATE ALL")
        assert all(insert(connection, [{**row, "sop_instance_uid": f"1.{n}", "key": f"key {n}"} for n in several]))
    assert sql(archive, "SELECT count(*) FROM stored_object") == [4]


def in_company(row: dict[str, object], company: int) -> list[dict[str, object]]:
    """The row, with others before and behind it that nothing is wrong with."""
    fine = {**row, "epoch": 0, "address": ""}
    others = [{**fine, "sop_instance_uid": f"1.{n}", "key": f"key {n}"} for n in range(company)]
    return [*others[1:], row, *others[:1]]


@pytest.mark.parametrize("company", [0, 3])
def test_errors_are_those_of_psycopg_and_nothing_is_added(
    session: IndexSession, archive: Archive, company: int
) -> None:
    insert, connection, row = prepared(session, archive)
    with pytest.raises(psycopg.errors.NotNullViolation) as of_epoch:
        insert(connection, in_company({**row, "epoch": 7}, company))
    assert of_epoch.value.diag.column_name == "instance_count"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        insert(connection, in_company({**row, "series_id": 1 << 40}, company))
    with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
        insert(connection, in_company({**row, "address": "10.0.0.1\0"}, company))
    sql(
        archive,
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE deadlock_detected; END $$;
           CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON instance DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
           EXECUTE FUNCTION refuse()""",
    )
    with pytest.raises(psycopg.errors.DeadlockDetected):  # with the commit
        insert(connection, in_company(row, company))
    assert sql(archive, "SELECT count(*) FROM instance") == [0]
    sql(archive, "DROP TRIGGER refuse ON instance")
    assert all(insert(connection, in_company(row, company)))


@pytest.mark.parametrize("company", [0, 3])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_lost_session_is_broken_and_nothing_is_added(
    session: IndexSession, archive: Archive, company: int, when: str
) -> None:
    insert, connection, row = prepared(session, archive)
    terminate = "pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'"
    if when == "before":
        sql(archive, f"SELECT {terminate}")
    else:
        sql(
            archive,
            f"""CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM {terminate}; RETURN NULL; END $$;
                CREATE TRIGGER lose AFTER INSERT ON instance FOR EACH ROW EXECUTE FUNCTION lose()""",
        )
    with pytest.raises(psycopg.OperationalError):
        insert(connection, in_company(row, company))
    assert connection.broken
    assert sql(archive, "SELECT count(*) FROM instance") == [0]


def test_a_few_share_a_transaction_in_which_each_tells_whether_it_is_new(
    session: IndexSession, archive: Archive
) -> None:
    insert, connection, row = prepared(session, archive)
    large = b"\xff" * 3_000_000  # more than the socket takes at once
    other = {**row, "sop_instance_uid": "1.9", "key": "another", "frame_table": large}
    third = {**other, "sop_instance_uid": "1.10", "key": "a third"}
    assert insert(connection, [row, other, {**row, "key": "again"}, third]) == [True, True, False, True]
    assert sql(archive, "SELECT count(DISTINCT xmin::text), sum(length(frame_table)) FROM stored_object") == [
        (1, 2 * len(large))
    ]
    assert sql(archive, "SELECT instance_count FROM study") == [3]
    assert insert(connection, [row]) == [False]
