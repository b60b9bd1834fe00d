"""The queries of every day use an index, on tables large enough for the planner to care."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import psycopg
import pytest
from sqlalchemy import Engine, event, select

from archive import access, database, locate, models, search
from archive.core import Archive
from archive.matches import KNOWN_BY_KEYWORD
from archive.ordering import orderable
from archive.records import Level, Order, Query, Scope
from archive.rejection.causes import View
from tests.integration.archive.support import sql, url_of

STUDIES = 20_000
ALL = Scope()
MINE = Scope(frozenset({"86001"}))
SORTS = re.compile(r"(?<!Incremental )Sort  \(cost")


@pytest.fixture(scope="module")
def large(shared: Archive) -> Archive:
    """Rows as the writer would have made them, without their objects."""
    sql(shared, "INSERT INTO facility (code, name) VALUES ('86002', 'B')")
    sql(
        shared,
        """INSERT INTO patient (issuer, identity, patient_id, name, name_fold, sex, attributes)
           SELECT '86001', 'P' || n, 'P' || n, 'N' || n, upper(md5(n::text)), 'F', '{}' FROM generate_series(1, %s / 2) AS n""",
        STUDIES,
    )
    sql(
        shared,
        """INSERT INTO study (study_instance_uid, patient_id, facility_id, study_date, study_time, accession_number,
                              study_id, study_description, referring_physician_fold, attributes, instance_count)
           SELECT '1.2.' || n, patient.id, 1 + n %% 2, date '2020-01-01' + n / 20, time '08:00', 'A' || n, '', '', '', '{}', 1
             FROM generate_series(1, %s) AS n JOIN patient ON patient_id = 'P' || (1 + n %% (%s / 2))""",
        STUDIES,
        STUDIES,
    )
    sql(
        shared,
        """INSERT INTO series (study_id, series_instance_uid, modality, series_description, body_part_examined,
                               attributes, instance_count)
           SELECT id, study_instance_uid || '.1', 'CT', '', '', '{}', 1 FROM study""",
    )
    sql(
        shared,
        """INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, number_of_frames)
           SELECT id, series_instance_uid || '.1', '1.2.840.10008.5.1.4.1.1.2', 1 FROM series""",
    )
    sql(
        shared,
        """INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid, dataset_offset,
                                      header_length, facility_id, transport, calling_ae_title, address, received_at)
           SELECT id, 1, true, 'k' || id, 1, '', '1.2.840.10008.1.2.1', 0, 0, 1, 'import', '', '', now() FROM instance""",
    )
    sql(shared, "ANALYZE")
    return shared


class Plans(list[str]):
    """Of statements, in the order in which they were executed."""

    without: tuple[str, ...] = ()
    """Ways of the planner that it is not to take, such as ``seqscan``: what it would do with more rows than there are."""

    def put(self, execute: Callable[[str], Any]) -> None:
        """Before a statement is explained."""
        for way in self.without:
            execute(f"SET enable_{way} = off")

    def take_back(self, execute: Callable[[str], Any]) -> None:
        """Before it is executed."""
        for way in self.without:
            execute(f"RESET enable_{way}")


@pytest.fixture
def plans(large: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plans]:
    """The plans of all statements that are executed meanwhile, also of those that go past SQLAlchemy; without that of the
    one which only tells what was granted."""
    found = Plans()

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "WITH")):  # and not the context of a connection, which begins otherwise
            with connection.connection.cursor() as other:
                found.put(other.execute)
                other.execute(f"EXPLAIN {statement}", parameters)
                plan = "\n".join(line for (line,) in other.fetchall())
                found.take_back(other.execute)
            if " on access_grant" not in plan or " on study" in plan:
                found.append(plan)

    driven = database._driven

    def explain_first(engine: Engine, statement: str, values: Any, context: Any, *, prepare: bool) -> Any:
        with psycopg.connect(url_of(large)) as other:
            found.put(other.execute)
            rows = other.execute(f"EXPLAIN {statement}", values).fetchall()  # type: ignore[call-overload]
            found.append("\n".join(line for (line,) in rows))
        return driven(engine, statement, values, context, prepare=prepare)

    monkeypatch.setattr(database, "_driven", explain_first)
    large.reader.parameters(MINE)  # which asks once for the rows of facilities
    engines = large._engine, large._limited
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    yield found
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain)


@pytest.mark.parametrize(
    ("level", "keys", "index"),
    [
        (Level.STUDY, {0x0020000D: "1.2.77"}, "uq_study_study_instance_uid"),
        (Level.STUDY, {0x0020000D: "1.2.77\\1.2.78"}, "uq_study_study_instance_uid"),
        (Level.SERIES, {0x0020000D: "1.2.77"}, "uq_study_study_instance_uid"),
        (Level.SERIES, {0x0020000E: "1.2.77.1"}, "ix_series_series_instance_uid"),
        (Level.IMAGE, {0x0020000D: "1.2.77", 0x0020000E: "1.2.77.1"}, "uq_s"),
        (Level.IMAGE, {0x00080018: "1.2.77.1.1"}, "ix_instance_sop_instance_uid"),
        (Level.STUDY, {0x00100020: "P77"}, "ix_patient_patient_id_id"),
        (Level.PATIENT, {0x00100020: "P77"}, "ix_patient_patient_id_id"),
        (Level.STUDY, {0x00100020: "P77*"}, "ix_patient_patient_id_id"),
        (Level.STUDY, {0x00080050: "A77"}, "ix_study_accession_number_id"),
        (Level.STUDY, {0x00080050: "A777*"}, "ix_study_accession_number_id"),
        (Level.STUDY, {0x00100010: "abc*"}, "ix_patient_name_fold_id"),
        (Level.PATIENT, {0x00100010: "ABC^*"}, "ix_patient_name_fold_id"),
        (Level.STUDY, {0x00080020: "20220101-20220102"}, "ix_study_"),
    ],
)
@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_a_search_uses_its_index(
    large: Archive, plans: Plans, level: Level, keys: dict[int, str], index: str, scope: Scope
) -> None:
    large.search(Query(level, keys, limit=100), scope)
    assert index in plans[0], plans[0]
    for plan in plans:
        for table in ("patient", "study", "series", "instance", "stored_object"):
            assert f"Seq Scan on {table}" not in plan, plan


@pytest.mark.parametrize(
    "query",
    [
        Query(Level.STUDY, {0x00100010: "abc"}, fuzzy=True, limit=100),
        Query(Level.PATIENT, {0x00100010: "abc d"}, names="words", limit=100),
        Query(Level.STUDY, {0x00100010: "*^ABC*"}, limit=100),
    ],
    ids=["fuzzy", "words", "behind a wildcard"],
)
def test_what_begins_any_part_of_a_name_is_found_by_the_index_of_words(
    large: Archive, plans: Plans, query: Query
) -> None:
    large.search(query)
    assert "ix_patient_name_words" in plans[0], plans[0]
    assert "Seq Scan on patient" not in plans[0], plans[0]


@pytest.mark.parametrize("keys", [{}, {0x00080020: "20210101-"}])
def test_the_newest_studies_come_from_the_index_in_order(large: Archive, plans: Plans, keys: dict[int, str]) -> None:
    large.search(Query(Level.STUDY, keys, limit=50))
    assert "ix_study_newest" in plans[0], plans[0]
    assert "Sort" not in plans[0], plans[0]


@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_studies_of_patients_that_have_a_name_are_looked_for_by_patient(
    large: Archive, plans: Plans, scope: Scope
) -> None:
    keys = {0x00100010: "ab*", 0x00080020: "20200101-20231231"}
    found = large.search(Query(Level.STUDY, keys, limit=100), scope)
    assert (found.total, found.more) == (len(found.matches), False)
    assert found.matches
    assert "ix_patient_name_fold_id" in plans[0], plans[0]
    assert "ix_study_patient_id_study_date" in plans[1], plans[1]
    assert "name_fold" not in plans[1], plans[1]


@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {0x00100010: "A*"},
        {0x00100010: "A*", 0x00100040: "F"},
        {0x00100010: "A*", 0x00080020: "20200201-20201231"},
        {0x00100010: "A*", 0x00080020: "20200201-20201231", 0x00080050: "?*7"},
        {0x00080020: "20200201-20201231", 0x00080050: "?*7"},
        {0x00080020: "20200201-20201231", 0x00100040: "M"},
    ],
    ids=lambda keys: " ".join(keys.values()) or "all",
)
@pytest.mark.parametrize("some", [0, 10_000])
def test_a_page_is_the_same_wherever_it_is_looked_for(
    large: Archive, monkeypatch: pytest.MonkeyPatch, keys: dict[int, str], scope: Scope, some: int
) -> None:
    """And what is counted behind it: of patients whose studies are found at once, or in the order of all studies."""
    monkeypatch.setattr(search, "_SOME_PATIENTS", some)
    monkeypatch.setattr(search, "_SOME_OF_MANY", some)
    monkeypatch.setattr(search, "COUNTED", 30)
    for order in ((), (Order(0x0020000D),)):
        whole = large.search(Query(Level.STUDY, keys, limit=1000, order=order), scope)
        if not order:
            assert whole.matches == list(itertools.islice(large.browse(Query(Level.STUDY, keys), scope), 1000))
        known = whole.total if not whole.more else 20_000
        for start, size in ((0, 10), (7, 10), (0, 200), (190, 200), (known - 1, 10), (known - 35, 3), (known, 10)):
            if not 0 <= start <= 800 or (not known and not start):
                continue
            page = large.search(Query(Level.STUDY, keys, limit=size, offset=start, order=order), scope)
            assert page.matches == whole.matches[start : start + size]
            assert page.more == (known > start + size + 30 if page.matches else False), (start, size)
            assert page.total == (min(known, start + size + 30) if page.matches else known), (start, size)


def test_whose_a_study_is_does_not_lead_to_it_where_patients_and_dates_do(large: Archive, plans: Plans) -> None:
    """The index of facilities and patients would be gone through as a whole, each entry compared with all of them."""
    found = large.search(Query(Level.STUDY, {0x00100010: "A*", 0x00080020: "20200101-20201231"}, limit=10), MINE)
    assert found.matches
    assert "ix_study_facility_id_patient_id" not in plans[1], plans[1]
    assert "ix_study_patient_id_study_date" in plans[1], plans[1]
    # Once, and not once more to count: patients, names of rows, rows, and which of those behind the page are seen.
    assert len(plans) == 4, plans
    assert sum("patient_id = ANY ('{" in plan for plan in plans) == 1, plans


@pytest.mark.parametrize("leads", [True, False])
def test_whose_a_study_is_leads_to_it_or_not(large: Archive, plans: Plans, leads: bool) -> None:
    plans.without = ("seqscan",)
    statement = select(models.Study.id).where(access.visible_named(MINE, by_index=leads))
    large.reader.fetch(MINE, statement, large.reader.granted(MINE))
    assert ("Index Cond: (facility_id" in plans[-1]) is leads, plans[-1]


@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
@pytest.mark.parametrize("level", [Level.PATIENT, Level.STUDY])
def test_a_birth_date_has_an_index(large: Archive, plans: Plans, level: Level, scope: Scope) -> None:
    large.search(Query(level, {0x00100030: "19700101"}, limit=100), scope)
    assert "ix_patient_birth_date" in plans[0], plans[0]


@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_behind_a_page_of_what_too_many_patients_have_is_only_seen_whether_there_is_another(
    large: Archive, plans: Plans, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    keys = {0x00100010: "ab*"}
    whole = large.search(Query(Level.STUDY, keys, limit=1000), scope)
    assert whole.total == len(whole.matches) > 20
    monkeypatch.setattr(search, "_MOST_PATIENTS", 3)
    plans.clear()
    page = large.search(Query(Level.STUDY, keys, limit=10), scope)
    assert (page.matches, page.total, page.more) == (whole.matches[:10], 11, True)
    assert "Aggregate" in plans[0]
    assert not [plan for plan in plans[1:] if plan.startswith("Aggregate")]
    for start in (0, 10, whole.total - 1, whole.total):
        page = large.search(Query(Level.STUDY, keys, limit=1000, offset=start), scope)
        assert (page.matches, page.total, page.more) == (whole.matches[start:], whole.total, False)
    last = large.search(Query(Level.STUDY, keys, limit=whole.total - 1), scope)
    assert (last.total, last.more) == (whole.total, False)
    nothing = large.search(Query(Level.STUDY, keys, limit=0), scope)
    assert (nothing.total, nothing.more) == (whole.total, False)
    assert list(large.browse(Query(Level.STUDY, keys), scope)) == whole.matches


@pytest.mark.parametrize("keys", [{}, {0x00080020: "20200101-20231231", 0x00080061: "CT"}])
@pytest.mark.parametrize("offset", [0, 10])
def test_where_much_is_looked_at_what_was_granted_is_named(
    large: Archive, plans: Plans, keys: dict[int, str], offset: int
) -> None:
    """PostgreSQL knows it when it plans: as the result of a subquery each study would be compared with all of it."""
    large.search(Query(Level.STUDY, keys, limit=10, offset=offset), MINE)
    # All but the statement that gets the rows of the page, by their names.
    looking = [plan for plan in plans if plan.startswith(("Limit", "Aggregate"))]
    assert any("id = ANY ('{" in plan for plan in looking), plans
    assert not any(re.search(r"\bid = ANY \(\(InitPlan", plan) for plan in looking), looking


def test_a_name_in_another_script_is_found_by_the_index_of_words(large: Archive, plans: Plans) -> None:
    large.search(Query(Level.STUDY, {0x00100010: "阮*"}, limit=100))
    assert "ix_patient_name_words" in plans[0], plans[0]
    assert "Seq Scan on patient" not in plans[0], plans[0]


@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_a_search_is_planned_for_its_own_values(large: Archive, scope: Scope) -> None:
    """psycopg prepares what comes again and again, and PostgreSQL then plans it for values of any kind."""
    for _ in range(12):
        large.search(Query(Level.STUDY, {0x00080020: "20200101-20200102"}, limit=10), scope)
    for engine in (large._engine, large._limited):
        with engine.connect() as connection:
            prepared = connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements").scalars().all()
        assert not [each for each in prepared if "study.study_date" in each]


def test_a_page_further_down_is_found_without_a_look_at_patients(large: Archive, plans: Plans) -> None:
    by_name = (Order(0x00100010),)
    for order in ((), by_name):
        whole = large.search(Query(Level.STUDY, limit=60, order=order))
        plans.clear()
        page = large.search(Query(Level.STUDY, limit=10, offset=50, order=order))
        assert page.matches == whole.matches[50:]
        assert ("patient" in plans[0]) == (order == by_name), plans[0]


@pytest.mark.parametrize(
    ("order", "index"),
    [
        ("StudyDate", "ix_study_newest"),
        ("PatientName", "ix_patient_name_fold_id"),
        ("PatientID", "ix_patient_patient_id_id"),
        ("AccessionNumber", "ix_study_accession_number_id"),
        ("StudyInstanceUID", "uq_study_study_instance_uid"),
        ("SeriesInstanceUID", "ix_series_series_instance_uid"),
        ("SOPInstanceUID", "ix_instance_sop_instance_uid"),
    ],
)
@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_every_order_of_the_whole_archive_comes_from_an_index(
    large: Archive, plans: Plans, order: str, index: str, descending: bool, scope: Scope
) -> None:
    """At each level that has it: the first page reads no whole table, and sorts only within what is equal."""
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        if order not in orderable(level, within_one_study=False):
            continue
        plans.clear()
        tag = KNOWN_BY_KEYWORD[order].tag
        large.search(Query(level, limit=50, order=(Order(tag, descending),)), scope)
        assert index in plans[0], plans[0]
        assert not SORTS.search(plans[0]), plans[0]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_the_default_order_of_each_level_sorts_no_table(large: Archive, plans: Plans, level: Level) -> None:
    large.search(Query(level, limit=50), ALL)
    assert not SORTS.search(plans[0]), plans[0]


@pytest.mark.parametrize("names", [("1.2.77",), ("1.2.77", "1.2.77.1"), ("1.2.77", "1.2.77.1", "1.2.77.1.1")])
def test_retrieval_uses_indexes_only(large: Archive, plans: Plans, names: tuple[str, ...]) -> None:
    assert len(large.locate(*names)) == 1
    given = dict(zip(("study", "series", "instance"), (*names, None, None), strict=False))
    for scope in (ALL, MINE):
        plans.clear()
        statement = locate._current(len(names) > 1, len(names) > 2, scope.shape)
        assert len(large.reader.fetch(scope, statement._statement, given)) == 1
        assert "Seq Scan" not in plans[0].replace("Seq Scan on access_grant", ""), plans[0]


@pytest.fixture(scope="module")
def partly_hidden(large: Archive) -> Archive:
    """One study of a hundred has an instance that was rejected for quality reasons beside the other one."""
    sql(
        large,
        """INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, number_of_frames, hidden)
           SELECT id, series_instance_uid || '.2', '1.2.840.10008.5.1.4.1.1.2', 1, 1 FROM series WHERE id %% 100 = 0""",
    )
    sql(
        large,
        """INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid, dataset_offset,
                                      header_length, facility_id, transport, calling_ae_title, address, received_at)
           SELECT id, 1, true, 'h' || id, 1, '', '1.2.840.10008.1.2.1', 0, 0, 1, 'import', '', '', now() FROM instance
            WHERE hidden <> 0""",
    )
    sql(large, "UPDATE series SET hidden_count = 1 WHERE id %% 100 = 0")
    sql(
        large, "UPDATE study SET hidden_count = 1 FROM series WHERE series.study_id = study.id AND series.id %% 100 = 0"
    )
    sql(large, "ANALYZE")
    return large


@pytest.mark.parametrize("view", View)
@pytest.mark.parametrize(
    ("level", "keys"),
    [
        (Level.STUDY, {0x0020000D: "1.2.100"}),
        (Level.STUDY, {0x00100020: "P77"}),
        (Level.STUDY, {0x00080020: "20220101-20220102"}),
        (Level.STUDY, {}),
        (Level.SERIES, {0x0020000D: "1.2.100"}),
        (Level.IMAGE, {0x0020000D: "1.2.100"}),
        (Level.IMAGE, {0x00080018: "1.2.100.1.2"}),
        (Level.PATIENT, {0x00100020: "P77"}),
    ],
)
def test_no_view_reads_whole_tables(
    partly_hidden: Archive, plans: Plans, level: Level, keys: dict[int, str], view: View
) -> None:
    partly_hidden.search(Query(level, keys, include="all", limit=50), Scope(view=view))
    counted = "Aggregate" if not keys else "nothing"
    for plan in plans:
        if plan.startswith(counted):
            continue  # how many studies there are in all is counted in every view
        for table in ("patient", "study", "series", "instance", "stored_object"):
            assert f"Seq Scan on {table}" not in plan, plan
    if view is View.CLINICAL:
        assert not [plan for plan in plans if "ix_instance_hidden" in plan]


def test_retrieval_in_every_view_uses_indexes(partly_hidden: Archive, plans: Plans) -> None:
    study = sql(partly_hidden, "SELECT study_instance_uid FROM study WHERE hidden_count > 0 LIMIT 1")[0]
    for view in View:
        located = partly_hidden.locate(study, scope=Scope(view=view))
        assert len(located) == (1 if view is View.CLINICAL else 2)
    assert len(plans) == len(View)
    for plan in plans:
        assert "Seq Scan" not in plan.replace("Seq Scan on facility", ""), plan


# -- FHIR --------------------------------------------------------------------------------------------------------------

FHIR = [
    ("ImagingStudy", "", "ix_study_"),
    ("ImagingStudy", "_id=1.2.77,1.2.78", "uq_study_study_instance_uid"),
    ("ImagingStudy", "identifier=urn:dicom:uid|urn:oid:1.2.77", "uq_study_study_instance_uid"),
    ("ImagingStudy", "identifier=A77", "ix_study_accession_number_id"),
    ("ImagingStudy", "patient=Patient/77", "ix_study_patient_id"),
    ("ImagingStudy", "patient.identifier=urn:pacs:fhir:patient-id:86001|P77", "ix_patient_patient_id_id"),
    ("ImagingStudy", "patient.identifier=http://fhir.ehealth.gov.vn/core/sid/patient-internal-id|P77", "ix_patient_patient_id_id"),
    ("ImagingStudy", "patient.name=abc", "patient"),
    ("ImagingStudy", "started=2022-01-01", "ix_study_"),
    ("ImagingStudy", "started=ge2022-01-01T08:00&started=lt2022-01-02&modality=CT", "ix_study_"),
    ("ImagingStudy", "series=1.2.77.1", "ix_series_series_instance_uid"),
    ("ImagingStudy", "instance=1.2.77.1.1", "ix_instance_sop_instance_uid"),
    ("Patient", "_id=77", "pk_patient"),
    ("Patient", "identifier=urn:pacs:fhir:patient-id:86001|P77", "ix_patient_patient_id_id"),
    ("Patient", "name=abc", "patient"),
    ("Patient", "family=abc", "patient"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "query", "index"), FHIR)
@pytest.mark.parametrize("scope", [ALL, MINE], ids=["all", "mine"])
def test_a_fhir_search_uses_its_index(
    large: Archive, plans: Plans, kind: str, query: str, index: str, scope: Scope
) -> None:
    context = large.fhir.context("http://pacs/fhir", "http://pacs")
    plans.clear()
    large.fhir.search(kind, parse_qsl(query), scope, context, strict=True)
    assert any(index in plan for plan in plans), plans
    for plan in plans:
        for table in ("patient", "study", "series", "instance", "stored_object"):
            assert f"Seq Scan on {table} " not in plan, plan


@pytest.mark.parametrize(("query", "index"), [("", "pk_patient"), ("_sort=name", "ix_patient_name_fold_id")])
def test_fhir_lists_all_patients_in_the_order_of_an_index(large: Archive, plans: Plans, query: str, index: str) -> None:
    large.fhir.search("Patient", parse_qsl(query), ALL, large.fhir.context("http://pacs/fhir", "http://pacs"))
    assert any(index in plan for plan in plans), plans
    assert not any("Seq Scan on patient " in plan for plan in plans), plans


def test_the_last_page_of_a_fhir_search_begins_within_the_index(large: Archive, plans: Plans) -> None:
    context = large.fhir.context("http://pacs/fhir", "http://pacs")
    token = large.fhir.search("ImagingStudy", [("started", "lt2021-01-01"), ("_count", "1")], ALL, context).next
    plans.clear()
    assert large.fhir.search("ImagingStudy", [], ALL, context, token=token).matches
    assert re.search(r"Index Cond: .*study_date <= ", plans[0]), plans[0]


@pytest.mark.parametrize("table", ["study", "series"])
def test_a_row_that_counts_arrivals_stays_on_its_page(large: Archive, table: str) -> None:
    """Where it moves, all indexes get a new entry, and two pages go into the log as a whole."""
    page = f"SELECT (ctid::text::point)[0] FROM {table} WHERE id = 500"
    before = sql(large, page)
    for _ in range(4):
        sql(large, f"UPDATE {table} SET instance_count = instance_count + 1 WHERE id = 500")
    assert sql(large, page) == before
    sql(large, f"UPDATE {table} SET instance_count = instance_count - 4 WHERE id = 500")
