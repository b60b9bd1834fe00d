"""Whatever happens in whatever order: what is kept is what counting anew gives, and what plain SQL gives."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.core import Archive
from archive.figures.keep import step
from archive.figures.question import By, Measure
from archive.figures.spread import told_minutes
from archive.index_session import IndexSession
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.kept_figures import FAR, LONG_AFTER, NEAR, SOURCES, YEAR, Kept
from tests.web_server import fresh_archive
from tests.worklist import put

EXAMPLES = int(os.environ.get("PACS_TEST_FIGURES_EXAMPLES", "12"))
FACILITIES = [{"code": NEAR, "name": "A"}, {"code": FAR, "name": "B"}]

_PERSONS = st.sampled_from(["P1", "P2", "P3"])
_FACILITIES = st.sampled_from([NEAR, FAR])
_ANY_STUDY = st.integers(0, 30)
HAPPENINGS = st.one_of(
    st.tuples(
        st.just("store"),
        _FACILITIES,
        _PERSONS,
        st.sampled_from(["CT", "DX", "CR"]),
        st.sampled_from(["CHEST", "HEAD", ""]),
        st.sampled_from(["20260130", "20260131", "20260201", "20260228", "20260315", ""]),
        st.sampled_from(["M", "F", ""]),
    ),
    st.tuples(st.just("add"), _ANY_STUDY),
    st.tuples(st.just("reject"), _ANY_STUDY),
    st.tuples(st.just("report"), _ANY_STUDY, _FACILITIES, st.sampled_from(["final", "cancelled"])),
    st.tuples(st.just("deliver"), _ANY_STUDY, st.sampled_from(["film", "qr"])),
    st.tuples(st.just("look"), _ANY_STUDY, _FACILITIES),
    st.tuples(st.just("order"), _ANY_STUDY, _FACILITIES),
    st.tuples(st.just("link"), _PERSONS, _PERSONS),
    st.tuples(st.just("unlink"), _PERSONS),
    st.tuples(st.just("keep")),
    st.tuples(st.just("step")),
)


@pytest.fixture(scope="module")
def shared_kept(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with fresh_archive(postgres, tmp_path_factory.mktemp("figures"), facilities=FACILITIES) as archive:
        kept = Kept(archive)
        yield kept
        kept.close()


class World:
    """Studies of one example, and what is done to them."""

    def __init__(self, kept: Kept, number: int) -> None:
        self.kept = kept
        self.number = number
        self.images: list[Any] = []

    def do(self, what: str, *about: Any) -> None:
        if what in ("keep", "step"):
            self.kept.keep() if what == "keep" else step(self.kept.session, self.kept.archive.settings.figures)
        elif what == "store":
            facility, person, modality, part, day, sex = about
            image = ct_image(
                PatientID=f"{self.number}-{person}-{facility}",
                AccessionNumber=f"{self.number}-{len(self.images)}",
                Modality=modality,
                BodyPartExamined=part,
                StudyDate=day,
                PatientSex=sex,
                StudyDescription="",
            )
            store(self.kept.archive, image, SOURCES[facility])
            self.images.append(image)
        elif what in ("link", "unlink"):
            self._link(*about)
        elif self.images:
            image = self.images[about[0] % len(self.images)]
            getattr(self, f"_{what}")(image, *about[1:])

    def _add(self, image: Any) -> None:
        more = ct_image(StudyInstanceUID=image.StudyInstanceUID, PatientID=image.PatientID, Modality="SR")
        owner = SOURCES[image.PatientID.rpartition("-")[2]]
        store(self.kept.archive, more, owner)

    def _reject(self, image: Any) -> None:
        if sql(
            self.kept.archive,
            "SELECT 1 FROM study WHERE study_instance_uid = %s AND instance_count > 0",
            image.StudyInstanceUID,
        ):
            self.kept.archive.rejections.reject(image.StudyInstanceUID, code="113001", who="x", why="x")

    def _report(self, image: Any, facility: str, status: str) -> None:
        self.kept.report(image.StudyInstanceUID, datetime.now(UTC).isoformat(), facility, status)

    def _deliver(self, image: Any, mode: str) -> None:
        self.kept.deliver(image.StudyInstanceUID, mode)

    def _look(self, image: Any, facility: str) -> None:
        self.kept.look(image.StudyInstanceUID, facility)

    def _order(self, image: Any, facility: str) -> None:
        put(self.kept.archive, Facility=facility, AccessionNumber=image.AccessionNumber, PatientID=image.PatientID)

    def _link(self, one: str, other: str = "") -> None:
        numbers = [f"{self.number}-{person}-{code}" for person in (one, other) for code in (NEAR, FAR)]
        if other:
            self.kept.link(*numbers)
        else:
            sql(
                self.kept.archive,
                "DELETE FROM patient_person USING patient WHERE patient.id = patient_person.patient_id AND patient.patient_id = ANY(%s)",
                numbers,
            )


@settings(max_examples=EXAMPLES)
@given(happenings=st.lists(HAPPENINGS, min_size=5, max_size=25), data=st.data())
def test_what_is_kept_is_what_counting_anew_gives(shared_kept: Kept, happenings: list[Any], data: Any) -> None:
    world = World(shared_kept, data.draw(st.integers(0, 1 << 40)))
    for happening in happenings:
        world.do(*happening)
    shared_kept.keep(LONG_AFTER)
    kept = shared_kept.tables()
    assert shared_kept.wrong() == 0
    shared_kept.from_scratch(LONG_AFTER)
    assert shared_kept.tables() == kept
    _same_as_plain_sql(shared_kept)
    _same_whatever_the_way(shared_kept, data)


# Of modalities, CR is DX here; the study with only an SR left is none of these.
_ORACLE = """
SELECT to_char(coalesce(study_date, (min(received_at) AT TIME ZONE 'Asia/Ho_Chi_Minh')::date), 'YYYY-MM'), facility.code,
       count(DISTINCT study.id), count(*) FILTER (WHERE hidden = 0)
  FROM study JOIN facility ON facility.id = study.facility_id JOIN series ON series.study_id = study.id
  JOIN instance ON series_id = series.id JOIN stored_object ON instance_id = instance.id AND current
 WHERE hidden = 0 GROUP BY study.id, facility.code
"""


def _same_as_plain_sql(kept: Kept) -> None:
    counted: dict[Any, list[int]] = {}
    for month, facility, studies, instances in sql(kept.archive, _ORACLE):
        known = counted.setdefault((month, facility), [0, 0])
        known[0] += studies
        known[1] += instances
    always = {"since": datetime(2000, 1, 1), "until": datetime(2100, 1, 1)}
    answer = kept.ask(Measure.STUDIES, Measure.INSTANCES, by=(By.MONTH, By.FACILITY), **always)
    assert {row[:2]: list(row[2:]) for row in answer.rows} == counted
    persons = sql(
        kept.archive,
        "SELECT count(DISTINCT coalesce(person_id, -study.patient_id)) FROM study LEFT JOIN patient_person USING (patient_id)"
        " WHERE instance_count > 0",
    )
    assert (kept.one(Measure.PATIENTS, **always) or 0) == persons[0]


def _same_whatever_the_way(kept: Kept, data: Any) -> None:
    """A question about any time is answered alike from sums and from the facts: from days, added up by hand."""
    day = st.dates(date(2026, 1, 25), date(2026, 3, 20))
    first, last = sorted((data.draw(day), data.draw(day)))
    span = {
        "since": datetime(first.year, first.month, first.day),
        "until": datetime(last.year, last.month, last.day) + timedelta(hours=9),
    }
    measures = (Measure.STUDIES, Measure.BYTES, Measure.DUPLICATES_FOUND, Measure.COMPLETE, Measure.UNREAD)
    whole = kept.ask(*measures, **span).rows
    for by in By:
        parts = kept.ask(*measures, by=(by,), **span).rows
        assert (
            [tuple(map(sum, zip(*(row[1:] for row in parts), strict=True)))] == whole
            if parts
            else not any(map(any, whole))
        )
    _same_persons(kept, span, data)
    _same_quantiles(kept, span)


_PERSONS_ORACLE = """
SELECT {keys}, count(DISTINCT person_id) FROM study_fact JOIN facility ON facility.id = facility_id
 WHERE studied_at >= %s AND studied_at < %s GROUP BY {keys} ORDER BY {keys}
"""
_KEY_SQL = {
    By.MONTH: "to_char(studied_at, 'YYYY-MM')",
    By.QUARTER: """to_char(studied_at, 'YYYY-"Q"Q')""",
    By.YEAR: "to_char(studied_at, 'YYYY')",
    By.DAY: "to_char(studied_at, 'YYYY-MM-DD')",
    By.FACILITY: "facility.code",
    By.DISTRICT: "facility.district",
    By.CARE_LEVEL: "facility.care_level",
    By.WEEK: """to_char(studied_at, 'IYYY-"W"IW')""",
    By.HOUR_OF_DAY: "extract(hour FROM studied_at)::int",
    By.DAY_OF_WEEK: "extract(isodow FROM studied_at)::int",
    By.BODY_PART: "body_part",
    By.AGE_GROUP: "age_group",
    By.MODALITY: "modality",
    By.SEX: "sex",
}


def _same_persons(kept: Kept, span: dict[str, datetime], data: Any) -> None:
    """Distinct persons from months, with ends of any length, are those that are counted one by one."""
    times = [By.MONTH, By.QUARTER, By.YEAR, By.WEEK, By.DAY]
    time = data.draw(st.sampled_from([None, *times]))
    others = data.draw(st.lists(st.sampled_from(sorted(_KEY_SQL.keys() - times)), max_size=4, unique=True))
    by = (*([time] if time else []), *others)
    for stretch in (span, {**span, "since": datetime(2026, 1, 1)}, YEAR):
        keys = ", ".join(_KEY_SQL[each] for each in by) or "''::text"
        statement = _PERSONS_ORACLE.format(keys=keys).replace(
            "GROUP BY ''::text ORDER BY ''::text", "HAVING count(*) > 0"
        )
        counted = sql(kept.archive, statement.replace("''::text, ", ""), stretch["since"], stretch["until"])
        # One column comes as values, not rows.
        right = [each if isinstance(each, tuple) else (each,) for each in counted]
        assert kept.ask(Measure.PATIENTS, by=by, **stretch).rows == right
    for facility in (NEAR, FAR):
        narrowed = {"facilities": frozenset({facility}), "where": {By.MODALITY: ("CT",)}}
        (right,) = sql(
            kept.archive,
            "SELECT count(DISTINCT person_id) FROM study_fact JOIN facility ON facility.id = facility_id"
            " WHERE studied_at >= %s AND studied_at < %s AND code = %s AND modality = 'CT'",
            *(span["since"], span["until"], facility),
        )
        assert kept.one(Measure.PATIENTS, **span, **narrowed) == right


def _same_quantiles(kept: Kept, span: dict[str, datetime]) -> None:
    """From months and ends, from facts alone, and by hand."""
    buckets: dict[str, list[int]] = {}
    rows = sql(
        kept.archive,
        "SELECT modality, order_to_images FROM study_fact WHERE order_to_images IS NOT NULL"
        " AND studied_at >= %s AND studied_at < %s ORDER BY order_to_images",
        *(span["since"], span["until"]),
    )
    for modality, number in rows:
        buckets.setdefault(modality, []).append(number)
    right = {
        name: (told_minutes(of[(len(of) + 1) // 2 - 1]), told_minutes(of[(9 * len(of) + 9) // 10 - 1]))
        for name, of in buckets.items()
    }
    measures = (Measure.ORDER_TO_IMAGES, Measure.ORDER_TO_IMAGES_P90)
    answer = kept.ask(*measures, by=(By.MODALITY,), **span)
    assert {row[0]: row[1:] for row in answer.rows} == right
    # What months do not tell apart.
    parts = kept.ask(*measures, by=(By.MODALITY, By.SEX), **span).rows
    assert {row[0] for row in parts} == right.keys()


def test_two_processes_keep_figures_while_objects_come(archive: Archive) -> None:
    kept = Kept(archive)
    stop = threading.Event()

    def keep() -> None:
        session = IndexSession(archive.settings.database, "another keeper")
        while not stop.is_set():
            step(session, archive.settings.figures)
        session.close()

    threads = [threading.Thread(target=keep) for _ in range(2)]
    with archive.recorder(0.01):
        for thread in threads:
            thread.start()
        studies = [kept.store(StudyDate=f"202601{1 + number % 28:02}") for number in range(40)]
        for study in studies[::2]:
            kept.report(study, datetime.now(UTC).isoformat())
            kept.deliver(study, "qr")
        stop.set()
        for thread in threads:
            thread.join()
    kept.keep()
    measures = (Measure.STUDIES, Measure.REPORTED, Measure.FILMLESS)
    assert kept.ask(*measures, **YEAR).rows == [(40, 20, 20)]
    assert kept.wrong() == 0
    kept.close()
