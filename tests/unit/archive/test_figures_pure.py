"""What figures are made of, without a database."""

from __future__ import annotations

import typing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.figures.body_parts import PARTS, body_part
from archive.figures.fact import AGE_GROUPS, age_group, main_modality
from archive.figures.forecast import foreseen
from archive.figures.indicators import BREAKDOWNS, MEASURES
from archive.figures.periods import Period, begins, shifted
from archive.figures.plan import pieces
from archive.figures.question import By, Measure
from archive.figures.spread import ERROR, LONGEST, bucket, told_minutes
from archive.figures.suppress import suppressed
from config import figures as settings


@pytest.mark.parametrize(
    ("examined", "description", "part"),
    [
        ("CHEST", "", "CHEST"),
        ("TSPINE", "", "SPINE"),
        ("LUMBAR_SPINE", "", "SPINE"),
        ("", "Chụp CLVT sọ não không cản quang", "HEAD"),
        ("", "CT ngực có cản quang", "CHEST"),
        ("", "CT có tiêm thuốc", ""),  # "có" is no neck
        ("", "Chụp Xquang số hóa 1 phim", ""),  # "số" is no skull
        ("", "Siêu âm tại giường", ""),  # "tại" is no ear
        ("", "Chẩn đoán hình ảnh", ""),  # "chẩn" is no leg
        ("", "X-quang khớp gối thẳng nghiêng", "LOWER LIMB"),
        ("", "XQ cổ chân", "LOWER LIMB"),
        ("", "XQ cổ tay", "UPPER LIMB"),
        ("", "MRI cột sống cổ", "SPINE"),
        ("", "Siêu âm ổ bụng", "ABDOMEN"),
        ("", "SIEU AM TUYEN GIAP", "NECK"),
        ("", "Siêu âm thai 20 tuần", "PELVIS"),
        ("", "Siêu âm gan mật", "ABDOMEN"),
        ("", "Chụp nhũ ảnh", "BREAST"),
        ("XYZ", "", "OTHER"),
        ("", "", ""),
        ("UNKNOWN", "phổi", "CHEST"),
    ],
)
def test_the_part_of_the_body_is_told_by_either(examined: str, description: str, part: str) -> None:
    assert body_part(examined, [description]) == part
    assert part in (*PARTS, "")


@pytest.mark.parametrize(
    ("series", "modality"),
    [
        ([["CT", "", "", 900], ["PT", "", "", 300], ["SR", "", "", 1]], "PT"),
        ([["SR", "", "", 1], ["CR", "", "", 1]], "DX"),
        ([["SR", "", "", 1]], "SR"),
        ([["US", "", "", 3], ["MR", "", "", 4]], "MR"),
        ([["OT", "", "", 30], ["US", "", "", 1]], "US"),
        ([], ""),
    ],
)
def test_a_study_has_one_modality(series: list[list[object]], modality: str) -> None:
    assert main_modality(series)[0] == modality


@pytest.mark.parametrize(
    ("born", "group"),
    [
        *(((2026, 11, 22), "0-5"), ((2020, 11, 23), "0-5"), ((2020, 11, 22), "6-15"), ((1951, 11, 23), "60-74")),
        *(((1951, 11, 22), "75+"), ((2026, 11, 23), "")),
    ],
)
def test_age_is_in_whole_years(born: tuple[int, int, int], group: str) -> None:
    assert age_group(date(*born), date(2026, 11, 22)) == group
    assert group in (*AGE_GROUPS, "")


@given(st.lists(st.floats(1, 600_000), min_size=1, max_size=60), st.sampled_from([0.5, 0.9]))
def test_a_quantile_of_buckets_is_near_the_true_one(minutes: list[float], part: float) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    buckets = sorted(bucket(start, start + timedelta(minutes=each)) or 0 for each in minutes)
    rank = max(1, -int(-part * len(minutes) // 1))
    true, found = sorted(minutes)[rank - 1], told_minutes(buckets[rank - 1])
    assert abs(found - true) <= true * (ERROR + 0.001) + 0.06


def test_durations_that_cannot_be_have_no_bucket() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert bucket(None, moment) is bucket(moment, None) is bucket(moment, moment - timedelta(seconds=1)) is None
    assert bucket(moment, moment) == 0
    assert bucket(moment, moment + timedelta(days=36500)) == LONGEST


@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), st.integers(1, 30), max_size=9),
    st.sampled_from([1, 5]),
)
def test_nothing_small_can_be_told_from_the_rest_of_its_line(cells: dict[tuple[str, str], int], round_to: int) -> None:
    shown, held = suppressed({Measure.STUDIES: cells}, sorted(cells), 5, round_to)
    told = shown[Measure.STUDIES]
    assert held == sum(value is None for value in told.values())
    for key, value in told.items():
        assert value is None or (cells[key] >= 5 and abs(value - cells[key]) <= round_to / 2)
    for position in (0, 1):
        for name in {key[position] for key in cells}:
            line = [key for key in cells if key[position] == name]
            missing = [key for key in line if told[key] is None]
            if len(line) > 1 and missing and len(missing) < len(line):
                assert len(missing) >= 2
                assert sum(cells[key] for key in missing) >= 5


def test_counts_of_nearly_all_are_held_back_too() -> None:
    columns = {Measure.STUDIES: {(): 100}, Measure.REPORTED: {(): 98}, Measure.BYTES: {(): 123_456}}
    shown, held = suppressed(columns, [()], 5, 5)
    assert shown == {Measure.STUDIES: {(): 100}, Measure.REPORTED: {(): None}, Measure.BYTES: {(): 123_000}}
    assert held == 1


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.sampled_from(typing.get_args(Period)))
def test_periods_follow_each_other(moment: datetime, period: Period) -> None:
    start = begins(period, moment)
    assert start <= moment < shifted(period, start, 1)
    assert shifted(period, shifted(period, start, 7), -7) == start
    assert begins(period, shifted(period, start, 1)) == shifted(period, start, 1)


@given(
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
    st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    st.sets(st.sampled_from(list(By))),
)
def test_the_pieces_of_a_question_are_the_whole(since: datetime, length: timedelta, by: set[By]) -> None:
    found = pieces(since, since + length, by)
    assert (found[0].since, found[-1].until) == (since, since + length)
    assert all(one.until == other.since for one, other in pairwise(found))


def test_storage_that_grows_evenly_is_full_when_it_can_be_worked_out() -> None:
    found = foreseen(1000, 700, [10.0] * 10, date(2026, 11, 1))
    assert (found.per_day, found.full_at, found.full_early) == (10, date(2027, 1, 9), date(2027, 1, 9))
    growing = foreseen(0, 10_000, [0, 0, *map(float, range(1, 25))], date(2026, 11, 1))
    assert growing.growth_per_week == 1
    assert growing.full_at is not None
    assert growing.full_at < date(2026, 11, 1) + timedelta(days=10_000 // 25)
    assert foreseen(5, 10, [0, 0, 1], date(2026, 11, 1)).full_at is None  # too little to go by
    odd = foreseen(0, 700, [10.0] * 5 + [900.0] + [10.0] * 5, date(2026, 11, 1))
    assert odd.per_day == 10  # one odd week moves nothing


def test_every_measure_and_breakdown_has_its_names() -> None:
    assert set(MEASURES) == set(Measure)
    assert set(BREAKDOWNS) == set(By)
    assert set(typing.get_args(settings.MeasureName)) == {each.value for each in Measure}
    coarse = {By.HOUR, By.DAY, By.WEEK, By.MONTH, By.QUARTER, By.YEAR}
    assert set(typing.get_args(settings.BreakdownName)) == {each.value for each in set(By) - coarse}
