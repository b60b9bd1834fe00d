"""Figures against data that was counted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from archive.audit.events import Action
from archive.core import Archive
from archive.errors import InvalidQuery
from archive.figures.question import By, Measure
from config import clock
from tests.integration.archive.support import sql
from tests.kept_figures import FAR, LONG_AFTER, NEAR, Kept
from tests.worklist import put


@pytest.fixture
def kept(archive: Archive) -> Iterator[Kept]:
    found = Kept(archive)
    yield found
    found.close()


def test_studies_are_counted_by_time_facility_and_modality(kept: Kept) -> None:
    kept.store(StudyDate="20260105", StudyTime="080000")
    kept.store(StudyDate="20260131", StudyTime="235959")
    kept.store(FAR, StudyDate="20260201", StudyTime="000000", Modality="MR", PatientSex="F", PatientID="BN2")
    kept.keep()
    answer = kept.ask(Measure.STUDIES, Measure.INSTANCES, by=(By.MONTH, By.FACILITY, By.MODALITY))
    assert answer.columns == ("month", "facility", "modality", "studies", "instances")
    assert answer.rows == [("2026-01", NEAR, "CT", 2, 2), ("2026-02", FAR, "MR", 1, 1)]
    assert answer.whole
    days = [("2026-01-05", 1), ("2026-01-31", 1), ("2026-02-01", 1)]
    assert kept.ask(Measure.STUDIES, by=(By.DAY,)).rows == days
    assert kept.ask(Measure.STUDIES, by=(By.WEEK,)).rows == [("2026-W02", 1), ("2026-W05", 2)]
    assert kept.ask(Measure.STUDIES, by=(By.QUARTER,)).rows == [("2026-Q1", 3)]
    assert kept.ask(Measure.STUDIES, by=(By.YEAR, By.SEX)).rows == [("2026", "F", 1), ("2026", "M", 2)]
    hours = [("2026-01-05T08", 1), ("2026-01-31T23", 1), ("2026-02-01T00", 1)]
    assert kept.ask(Measure.STUDIES, by=(By.HOUR,), until=datetime(2026, 2, 2)).rows == hours
    heat = [(1, 8, 1), (6, 23, 1), (7, 0, 1)]
    assert kept.ask(Measure.STUDIES, by=(By.DAY_OF_WEEK, By.HOUR_OF_DAY)).rows == heat
    assert kept.one(Measure.PATIENTS) == 2
    assert kept.ask(Measure.STUDIES, facilities=frozenset({FAR})).rows == [(1,)]
    assert kept.ask(Measure.STUDIES, where={By.MODALITY: ("MR", "US")}).rows == [(1,)]
    assert kept.wrong() == 0


def test_days_are_those_of_vietnam(kept: Kept) -> None:
    kept.store(StudyDate="20260301", StudyTime="003000")
    kept.keep()
    # Half past midnight in Hanoi is the evening before in London.
    inside = {"since": datetime(2026, 2, 28, 17, tzinfo=UTC), "until": datetime(2026, 2, 28, 18, tzinfo=UTC)}
    assert kept.one(Measure.STUDIES, **inside) == 1
    assert kept.one(Measure.STUDIES, since=datetime(2026, 3, 1), until=datetime(2026, 3, 2)) == 1
    assert (
        kept.one(Measure.STUDIES, since=datetime(2026, 3, 1, tzinfo=UTC), until=datetime(2026, 3, 2, tzinfo=UTC)) == 0
    )


@pytest.mark.parametrize(
    ("day", "why"), [("", "without a date"), ("20990101", "in the future"), ("19000101", "before")]
)
def test_what_has_no_date_that_can_be_counts_when_it_came(kept: Kept, day: str, why: str) -> None:
    study = kept.store(StudyDate=day)
    kept.arrived(study, "2026-05-05T20:00:00+00:00")
    kept.keep()
    # Eight in the evening in UTC is the next day there.
    assert kept.ask(Measure.STUDIES, Measure.DATA_RIGHT, by=(By.HOUR,), **_month(5)).rows == [("2026-05-06T03", 1, 0)]


def test_turnaround_is_from_order_to_images_to_report(kept: Kept) -> None:
    item = put(kept.archive, AccessionNumber="A7")
    study = kept.store(StudyDate="20260601", StudyTime="090000", AccessionNumber="A7")
    kept.arrived(study, "2026-06-01T02:00:00+00:00")
    _set(kept, "UPDATE worklist_item SET created_at = '2026-06-01T01:00:00+00:00' WHERE id = %s", item.id)
    kept.report(study, "2026-06-01T04:00:00+00:00", facility=FAR)
    kept.keep()
    measures = (Measure.ORDER_TO_IMAGES, Measure.IMAGES_TO_REPORT, Measure.ORDER_TO_REPORT_P90)
    ((images, report, whole),) = kept.ask(*measures, **_month(6)).rows
    assert (images, report, whole) == (
        pytest.approx(60, rel=0.045),
        pytest.approx(120, rel=0.045),
        pytest.approx(180, rel=0.045),
    )
    counts = (Measure.REPORTED, Measure.UNREAD, Measure.TELE_READ)
    assert kept.ask(*counts, **_month(6)).rows == [(1, 0, 1)]
    # What comes after the report was no part of reading, and a report that is cancelled is none.
    kept.report(kept.store(StudyDate="20260602", AccessionNumber="A8"), "2026-06-02T04:00:00+00:00", status="cancelled")
    kept.keep()
    assert kept.ask(*counts, **_month(6)).rows == [(1, 1, 1)]
    assert kept.wrong() == 0


def test_delivery_with_film_is_not_filmless(kept: Kept) -> None:
    for modes in ((), ("portal",), ("film", "portal"), ("qr",)):
        study = kept.store(StudyDate="20260601")
        for mode in modes:
            kept.deliver(study, mode)
    kept.keep()
    assert kept.ask(Measure.STUDIES, Measure.DELIVERED, Measure.FILMLESS).rows == [(4, 3, 2)]


def test_repetitions_at_another_facility_are_duplicates(kept: Kept) -> None:
    def of(patient: str, facility: str, day: str, **more: str) -> str:
        return kept.store(facility, PatientID=patient, StudyDate=day, **{"BodyPartExamined": "CHEST", **more})

    of("P1", NEAR, "20260301")
    of("P1", NEAR, "20260310")  # the same facility: follow-up
    of("Q1", FAR, "20260401")  # 22 days later, elsewhere, the same person: a duplicate
    of("Q1", FAR, "20260402", BodyPartExamined="HEAD")  # another part of the body
    of("Q1", FAR, "20260601")  # too late
    of("P3", NEAR, "20260302")
    of("Q3", FAR, "20260303", BodyPartExamined="", StudyDescription="")  # nobody knows of what
    kept.keep()
    assert kept.one(Measure.DUPLICATES_FOUND) == 0
    kept.link("P1", "Q1")
    kept.link("P3", "Q3")
    kept.keep()
    assert kept.ask(Measure.DUPLICATES_FOUND, by=(By.FACILITY, By.MONTH)).rows == [
        *((NEAR, "2026-03", 0), (FAR, "2026-03", 0), (FAR, "2026-04", 1), (FAR, "2026-06", 0)),
    ]
    assert kept.one(Measure.PATIENTS) == 2
    _set(kept, "DELETE FROM patient_person WHERE person_id > %s", 0)
    kept.keep()
    assert (kept.one(Measure.DUPLICATES_FOUND), kept.one(Measure.PATIENTS)) == (0, 4)
    assert kept.wrong() == 0


def test_a_look_from_elsewhere_may_avoid_an_examination(kept: Kept) -> None:
    day = {"StudyDate": datetime.now(UTC).strftime("%Y%m%d"), "StudyTime": "000000", "BodyPartExamined": "CHEST"}
    now = {"since": datetime(2020, 1, 1), "until": datetime(2100, 1, 1)}
    seen, seen_and_repeated = kept.store(PatientID="P1", **day), kept.store(PatientID="P2", **day)
    kept.store(FAR, PatientID="P2b", **{**day, "StudyTime": "120000"})
    kept.link("P2", "P2b")
    for study in (seen, seen, seen_and_repeated):
        kept.look(study)
    kept.look(seen, NEAR)  # its own
    kept.look(seen, FAR, Action.SEARCH)  # no look
    kept.keep()
    measures = (Measure.CROSS_VIEWS, Measure.DUPLICATES_AVOIDED)
    assert kept.ask(*measures, **now).rows == [(3, 0)]
    kept.keep(LONG_AFTER)
    assert kept.ask(*measures, **now).rows == [(3, 1)]
    assert kept.wrong() == 0


def test_data_is_right_complete_clean_and_alive_or_not(kept: Kept) -> None:
    good = {"StudyDate": "20260601", "StudyTime": "080000"}
    bad = {
        "right": {**good, "PatientID": "079162007788", "PatientSex": "M"},  # the number of a woman
        "whole": {**good, "AccessionNumber": ""},
        "alive": {**good, "StudyDate": "20260501"},
    }
    studies = [kept.store(**attributes) for attributes in (good, *bad.values())]
    for study in (*studies, kept.store_with_wrong_text(**good)):
        kept.arrived(study, "2026-06-01T02:00:00+00:00")
    kept.keep()
    of = (Measure.DATA_RIGHT, Measure.DATA_WHOLE, Measure.DATA_CLEAN, Measure.DATA_ALIVE, Measure.COMPLETE)
    assert kept.ask(*of).rows == [(4, 4, 4, 4, 1)]


def test_what_is_rejected_does_not_count(kept: Kept) -> None:
    study = kept.store(StudyDate="20260601", PatientID="BN9")
    kept.store(StudyDate="20260601")
    kept.keep()
    assert kept.one(Measure.STUDIES) == 2
    kept.archive.rejections.reject(study, code="113001", who="x", why="x")
    kept.keep()
    assert (kept.one(Measure.STUDIES), kept.one(Measure.PATIENTS)) == (1, 1)
    assert kept.wrong() == 0


def test_a_patient_who_is_known_better_counts_better(kept: Kept) -> None:
    kept.store(StudyDate="20260601", PatientSex="", PatientBirthDate="")
    kept.keep()
    assert kept.ask(Measure.STUDIES, by=(By.SEX, By.AGE_GROUP)).rows == [("", "", 1)]
    kept.store(StudyDate="20260602", PatientSex="F", PatientBirthDate="20260101")
    kept.keep()
    assert kept.ask(Measure.STUDIES, by=(By.SEX, By.AGE_GROUP)).rows == [("F", "0-5", 2)]


def test_public_figures_hold_back_what_is_small(kept: Kept) -> None:
    for number in range(12):
        kept.store(StudyDate="20260601", PatientID=f"P{number}")
    kept.store(StudyDate="20260601", Modality="MR", PatientID="P99")
    kept.store(StudyDate="20260601", Modality="US", PatientID="P99")
    for _ in range(7):
        kept.store(StudyDate="20260601", Modality="MG", PatientID="P98")
    kept.keep()
    answer = kept.ask(Measure.STUDIES, by=(By.MODALITY,), public=True)
    # The two small ones are three together, which would be told by the sum.
    assert answer.rows == [("CT", 10), ("MG", None), ("MR", None), ("US", None)]
    assert answer.suppressed == 3
    with pytest.raises(InvalidQuery, match="whole months"):
        kept.ask(Measure.STUDIES, public=True, until=datetime(2026, 6, 15))
    with pytest.raises(InvalidQuery, match="narrowed"):
        kept.ask(Measure.STUDIES, public=True, where={By.MODALITY: ("MR",)})


@pytest.mark.parametrize(
    "question",
    [
        {"measures": ()},
        {"by": (By.DAY, By.MONTH)},
        {"by": (By.SEX, By.SEX)},
        {"until": datetime(2026, 1, 1)},
        {"by": (By.HOUR,)},
        {"where": {By.MONTH: ("2026-01",)}},
    ],
)
def test_what_cannot_be_asked(kept: Kept, question: dict[str, object]) -> None:
    measures = question.pop("measures", (Measure.STUDIES,))
    with pytest.raises(InvalidQuery):
        kept.ask(*measures, **question)  # type: ignore[misc]


def test_how_things_stand(kept: Kept) -> None:
    figures = kept.archive.figures
    study = kept.store(StudyDate=datetime.now(UTC).strftime("%Y%m%d"))
    kept.store(FAR, StudyDate="20260601")
    kept.look(study)
    kept.keep()
    now = figures.now()
    assert (now.arrived_today, now.unread, now.facilities_today, now.cross_views_today) == (2, 2, 2, 1)
    assert figures.now(frozenset({FAR})).arrived_today == 1
    assert not figures.alerts()
    _set(kept, "UPDATE figure_source SET received_at = now() - interval '3 days' WHERE calling_ae_title = %s", "US2")
    (alert,) = figures.alerts()
    assert (alert.kind, alert.subject, alert.value) == ("silent", FAR, 72.0)
    assert figures.alerts(frozenset({NEAR})) == []
    devices = {device.ae_title: device.received_at is not None for device in figures.gateways().devices}
    assert devices == {"CT1": True, "US2": True}
    today = clock.today()
    assert figures.backlog(today, today)[-1][1] == 2
    kept.report(study, datetime.now(UTC).isoformat())
    kept.keep()
    assert (figures.now().unread, figures.now().reported_today) == (1, 1)
    assert figures.forecast().used_bytes > 0


def _month(number: int) -> dict[str, datetime]:
    return {"since": datetime(2026, number, 1), "until": datetime(2026, number + 1, 1)}


def _set(kept: Kept, statement: str, *parameters: object) -> None:
    sql(kept.archive, statement, *parameters)  # type: ignore[arg-type]
