"""One arrival in a statement of its own gets the rows that it gets in company."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from archive.core import Archive
from archive.correction.record import Change, Corrections
from archive.examine import Announcement, Placed, examine
from archive.index_one import InsertOne
from archive.index_parameters import Place, input_row, input_rows
from archive.index_session import Connection, IndexSession
from archive.index_sql import INSERT_INSTANCES
from archive.index_writer import IndexWriter
from archive.keys import KeyAllocator
from archive.records import Arrival
from config.settings import Settings
from tests.factories import SOURCE, ct_image, encode
from tests.integration.archive.support import sql

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
    image = ct_image(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
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
    assert InsertOne()(connection, alone)
    assert connection.execute(INSERT_INSTANCES, {"rows": input_rows([together])}).fetchall() == [(0,)]
    one, other = sql(archive, ROWS)
    assert one == other
    assert sql(archive, "SELECT instance_count, series_count, modalities_in_study FROM study") == [(2, 1, ["CT"])]
    assert not InsertOne()(connection, alone)


def prepared(session: IndexSession, archive: Archive) -> tuple[InsertOne, Connection, dict[str, object]]:
    first = arrival(session, archive, full=False)
    IndexWriter(session, conflict="keep").prepare(first)
    (series,), (facility,) = sql(archive, "SELECT id FROM series"), sql(archive, "SELECT id FROM facility LIMIT 1")
    return InsertOne(), session.run(lambda opened: opened), input_row(first, Place(series, 0, 0, None), facility)


def test_a_session_that_forgot_what_was_prepared(session: IndexSession, archive: Archive) -> None:
    insert, connection, row = prepared(session, archive)
    assert insert(connection, row)
    connection.execute("DEALLOCATE ALL")
    assert insert(connection, {**row, "sop_instance_uid": "1.9", "key": "another"})
    assert sql(archive, "SELECT count(*) FROM stored_object") == [2]


def test_errors_are_those_of_psycopg(session: IndexSession, archive: Archive) -> None:
    insert, connection, row = prepared(session, archive)
    with pytest.raises(psycopg.errors.NotNullViolation) as of_epoch:
        insert(connection, {**row, "epoch": 7})
    assert of_epoch.value.diag.column_name == "instance_count"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        insert(connection, {**row, "series_id": 1 << 40})
    with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
        insert(connection, {**row, "address": "10.0.0.1\0"})
    sql(archive, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'")
    with pytest.raises(psycopg.OperationalError):
        insert(connection, row)
    assert connection.broken
    assert sql(archive, "SELECT count(*) FROM instance") == [0]
