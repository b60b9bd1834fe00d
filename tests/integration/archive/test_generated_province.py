"""The generated province: rows as ingest writes them, people as the truth says, the same for the same seed."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pydicom.config
import pytest
from psycopg.rows import dict_row
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import JPEGLSLossless

from archive.audit.verify import verify
from archive.core import Archive
from archive.demo.generated import __main__ as command
from archive.demo.generated.generate import NotEmpty, Wanted, generate
from archive.demo.generated.places import PLACES
from archive.demo.generated.visits import ZONE
from archive.records import Source
from archive.standard.frames import FrameTable
from archive.worklist.order import flat
from config.peers import Facility
from config.settings import Settings, load
from tests.conftest import fresh_database
from tests.integration.archive.support import SERIES_COUNTS, SERIES_RECOUNT, STUDY_COUNTS, STUDY_RECOUNT

UNTIL = datetime(2026, 11, 20, 15, tzinfo=ZONE)
WANTED = Wanted(studies=3000, years=1, seed=7, until=UNTIL)

# What differs between two archives with the same objects: ids, when it was, and the bytes themselves.
PATIENT = "issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes"
STUDY = """study_instance_uid, quarantine, study_date, study_time, accession_number, study_id, study_description,
    referring_physician_fold, study.attributes, modalities_in_study, sop_classes_in_study, series_count,
    instance_count, hidden_count, rejection_epoch, facility.code, issuer, identity"""
SERIES = """series_instance_uid, modality, series_number, series_description, body_part_examined, performed_date,
    performed_time, series.attributes, series.instance_count, series.hidden_count, study_instance_uid"""
OBJECT = """sop_instance_uid, sop_class_uid, instance_number, rows, columns, bits_allocated, number_of_frames, hidden,
    instance.attributes, version, current, state, transfer_syntax_uid, trailer_offset, corrections, facility.code,
    transport, calling_ae_title, address, warnings, series_instance_uid"""
FROM = {
    PATIENT: "patient",
    STUDY: "study JOIN patient ON patient.id = study.patient_id JOIN facility ON facility.id = study.facility_id",
    SERIES: "series JOIN study ON study.id = series.study_id",
    OBJECT: """stored_object JOIN instance ON instance.id = instance_id JOIN series ON series.id = series_id
        JOIN facility ON facility.id = stored_object.facility_id""",
}


@pytest.fixture(scope="module")
def province(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a database with the generated province, and the file of the truth."""
    truth = tmp_path_factory.mktemp("province") / "truth.csv"
    with fresh_database(postgres) as url:
        generate(load(environ={}, database={"url": url}).database, replace(WANTED, truth=truth))
        yield url, truth


@pytest.fixture
def rows(province: tuple[str, Path]) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(province[0], autocommit=True) as connection:
        yield connection


def ask(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode()).fetchall()


def test_rows_are_those_that_ingest_makes_of_the_same_objects(settings: Settings, postgres: str) -> None:
    with fresh_database(postgres) as url:
        small = replace(WANTED, studies=60, instances=400)
        generate(load(environ={}, database={"url": url}).database, small)
        with psycopg.connect(url, row_factory=dict_row) as made, Archive.open(settings) as archive:
            for each in made.execute(
                """SELECT patient.attributes || study.attributes || series.attributes AS header, instance.*,
                          facility.code, calling_ae_title, address
                     FROM stored_object JOIN instance ON instance.id = instance_id
                     JOIN series ON series.id = series_id JOIN study ON study.id = series.study_id
                     JOIN patient ON patient.id = study.patient_id
                     JOIN facility ON facility.id = study.facility_id ORDER BY stored_object.id"""
            ):
                store(archive, each)
            with psycopg.connect(settings.database.url.get_secret_value()) as real, psycopg.connect(url) as other:
                for columns, tables in FROM.items():
                    statement = f"SELECT {columns} FROM {tables} ORDER BY 1, 2"
                    expected = ask(real, statement)
                    assert expected
                    assert ask(other, statement) == expected
                assert ask(other, STUDY_COUNTS) == ask(other, STUDY_RECOUNT)
                assert ask(other, SERIES_COUNTS) == ask(other, SERIES_RECOUNT)
                for table, frames in ask(
                    other, "SELECT frame_table, number_of_frames FROM stored_object JOIN instance USING (id)"
                ):
                    assert FrameTable.from_bytes(table).count == frames


def store(archive: Archive, row: dict[str, Any]) -> None:
    data = encoded(row)
    place = next(place for place in PLACES if place.code == row["code"])
    source = Source(
        facility=row["code"],
        issuer_of_patient_id=PLACES[place.register].code,
        transport="dimse",
        calling_ae_title=row["calling_ae_title"],
        address=row["address"],
    )
    with archive.begin(
        source,
        sop_class_uid=row["sop_class_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        transfer_syntax_uid=str(JPEGLSLossless),
    ) as receiving:
        receiving.write(data)
        receiving.finish()


def encoded(row: dict[str, Any]) -> bytes:
    """The object that says what stands in the row, also birth dates that are years only."""
    with pydicom.config.disable_value_validation():
        dataset = Dataset.from_json(row["header"])
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID, dataset.SOPInstanceUID = row["sop_class_uid"], row["sop_instance_uid"]
        dataset.InstanceNumber, dataset.NumberOfFrames = row["instance_number"], row["number_of_frames"]
        dataset.Rows, dataset.Columns, dataset.BitsAllocated = row["rows"], row["columns"], row["bits_allocated"]
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"] * row["number_of_frames"])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
        file = DicomBytesIO()
        file.is_little_endian, file.is_implicit_VR = True, False
        write_dataset(file, dataset)
        return file.getvalue()


def test_orders_are_those_that_the_worklist_makes_of_the_same_words(
    settings: Settings, province: tuple[str, Path]
) -> None:
    columns = """accession_number, requested_procedure_id, scheduled_procedure_step_id, study_instance_uid, patient_id,
        issuer, name, name_fold, birth_date, sex, modality, station_ae_titles, start_date, start_time, attributes"""
    facilities = tuple(Facility(code=place.code, name=place.name) for place in PLACES)
    chosen = settings.model_copy(update={"facilities": facilities})
    with psycopg.connect(province[0]) as made, Archive.open(chosen) as archive:
        orders = ask(
            made, "SELECT code, attributes FROM worklist_item JOIN facility ON facility.id = facility_id LIMIT 80"
        )
        numbers = []
        for code, attributes in orders:
            archive.worklist.put({"Facility": code, **flat(attributes)}, source="hl7")
            numbers.append(attributes["00080050"]["Value"][0])
        listed = ", ".join(f"'{number}'" for number in numbers)
        statement = f"SELECT {columns} FROM worklist_item WHERE accession_number IN ({listed}) ORDER BY 1"
        with psycopg.connect(settings.database.url.get_secret_value()) as real:
            assert ask(made, statement) == ask(real, statement)


def test_same_seed_makes_the_same_province_and_another_seed_another(postgres: str) -> None:
    def digest(wanted: Wanted) -> list[tuple[Any, ...]]:
        with fresh_database(postgres) as url:
            generate(load(environ={}, database={"url": url}).database, wanted)
            with psycopg.connect(url) as connection:
                return [
                    ask(connection, f"SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {table} AS t")[0]
                    for table in ("patient", "study", "series", "worklist_item", "report_version", "delivery")
                ]

    small = replace(WANTED, studies=300)
    first = digest(small)
    assert digest(small) == first
    assert all(one != other for one, other in zip(first, digest(replace(small, seed=8)), strict=True))


def test_refuses_an_index_that_holds_something(province: tuple[str, Path]) -> None:
    with pytest.raises(NotEmpty, match="not empty"):
        generate(load(environ={}, database={"url": province[0]}).database, WANTED)


def test_ids_go_on_behind_those_that_were_given(rows: psycopg.Connection[Any]) -> None:
    for table in ("patient", "study", "series", "worklist_item", "report", "report_version", "delivery"):
        last = ask(rows, f"SELECT max(id) FROM {table}")[0][0]
        assert ask(rows, f"SELECT nextval(pg_get_serial_sequence('{table}', 'id'))")[0][0] == last + 1


def test_truth_names_the_person_of_every_row(province: tuple[str, Path], rows: psycopg.Connection[Any]) -> None:
    with province[1].open(encoding="utf-8", newline="") as file:
        truth = list(csv.DictReader(file))
    found = ask(rows, "SELECT id, issuer, identity FROM patient ORDER BY id")
    assert [(int(each["patient"]), each["issuer"], each["identity"]) for each in truth] == found
    faults = Counter(fault for each in truth for fault in each["faults"].split("+") if fault)
    assert set(faults) >= {
        *("accents", "swapped", "d", "typing", "tcvn3", "birth_year_only", "day_month", "no_birth_date"),
        *("no_citizen_id", "old_identity_card", "citizen_id_digit", "temporary_id", "newborn", "no_id"),
    }
    rows_of = defaultdict(list)
    for each in truth:
        rows_of[each["person"]].append(each)
    several = sum(len(each) > 1 for each in rows_of.values())
    assert 0.05 < several / len(rows_of) < 0.6
    # What is written without a fault is right: the citizen number as PatientID is the person's own.
    for each in truth:
        if each["issuer"] == "CCCD":
            assert (each["identity"] == each["citizen_id"]) is ("citizen_id_digit" not in each["faults"])


def test_nobody_has_a_number_that_a_real_person_could_have(rows: psycopg.Connection[Any]) -> None:
    numbers = """SELECT item #>> '{00100021,Value,0}', item #>> '{00100020,Value,0}'
        FROM patient, jsonb_array_elements(attributes #> '{00101002,Value}') AS item
        UNION ALL SELECT issuer, patient_id FROM patient WHERE issuer = 'CCCD'"""
    shapes = {"CCCD": r"099\d{9}", "CMND": r"99\d{7}", "BHYT": r"(\w\w\d99)?99\d{8}"}
    seen = set()
    for issuer, number in ask(rows, numbers):
        assert re.fullmatch(shapes[issuer], number), (issuer, number)
        seen.add(issuer)
    assert seen == set(shapes)


def test_life_of_the_province_has_its_patterns(rows: psycopg.Connection[Any]) -> None:
    by_weekday = dict(ask(rows, "SELECT extract(isodow FROM study_date)::int, count(*) FROM study GROUP BY 1"))
    assert by_weekday[1] > by_weekday[3] > by_weekday[7]
    by_hour = dict(ask(rows, "SELECT extract(hour FROM study_time)::int, count(*) FROM study GROUP BY 1"))
    assert by_hour[9] > 3 * by_hour[12]
    film = """SELECT avg((mode = 'film')::int) FROM delivery GROUP BY delivered_at > '2026-05-20' ORDER BY
        delivered_at > '2026-05-20'"""
    early, late = (share for (share,) in ask(rows, film))
    assert early > late
    unread = ask(rows, "SELECT avg((final_at IS NULL)::int) FROM study LEFT JOIN report ON report.study_id = study.id")
    assert 0.02 < unread[0][0] < 0.25
    order = """SELECT count(*) FROM worklist_item JOIN study USING (study_instance_uid)
        WHERE worklist_item.created_at >= study.created_at"""
    assert ask(rows, order) == [(0,)]
    late_words = (
        "SELECT count(*) FROM report JOIN study ON study.id = report.study_id WHERE final_at < study.updated_at"
    )
    assert ask(rows, late_words) == [(0,)]


def test_command_says_what_it_did_and_refuses_to_do_it_twice(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_DATABASE__URL", database_url)
    monkeypatch.setenv("PACS_DATA_DIR", str(tmp_path))
    arguments = [
        "--studies",
        "200",
        "--years",
        "0.5",
        "--until",
        "2026-11-20T12:00",
        "--truth",
        str(tmp_path / "t.csv"),
    ]
    assert command.main(arguments) == 0
    assert "studies in" in capsys.readouterr().out
    assert command.main(arguments) == 1
    assert "not empty" in capsys.readouterr().err


def test_looks_are_in_an_audit_trail_that_verifies(settings: Settings, province: tuple[str, Path]) -> None:
    with Archive.open(settings) as archive:
        done = verify(load(environ={}, database={"url": province[0]}).database, archive.store)
    assert done.records > 20
    assert done.intact, done.findings
