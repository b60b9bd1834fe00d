"""Matching values as data."""

from __future__ import annotations

from datetime import date, time

import pytest

from archive.errors import InvalidQuery
from archive.standard import matching
from archive.standard.matching import Range, has_universal, matching_text, text_matches
from archive.standard.text import to_ascii


@pytest.mark.parametrize("value", ["", " ", "*", "**", " * ", "\0", "*\0"])
def test_universal(value: str) -> None:
    assert matching.is_universal(value)


@pytest.mark.parametrize("value", ["?", "A", "A*", "-", "0", "\\"])
def test_not_universal(value: str) -> None:
    assert not matching.is_universal(value)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("A*", "A%"),
        ("*A?", "%A_"),
        ("a**b***", "a%b%"),
        ("100%", r"100\%"),
        ("a_b", r"a\_b"),
        ("a\\b*", r"a\\b%"),
        ("", ""),
    ],
)
def test_wildcards_become_a_like_pattern(value: str, pattern: str) -> None:
    assert matching.like_pattern(value) == pattern


def test_a_literal_escapes_all_that_like_knows() -> None:
    assert matching.like_literal(r"%_\*?") == r"\%\_\\*?"


def test_uid_lists() -> None:
    assert matching.uid_list("1.2", "X") == ["1.2"]
    assert matching.uid_list("1.2\\1.3 \\1.4\0", "X") == ["1.2", "1.3", "1.4"]
    for wrong in ("1.2\\", "a", "1..2", "1.2*", "\\", "1." + "2" * 63):
        with pytest.raises(InvalidQuery, match=r"X: .*is not a UID"):
            matching.uid_list(wrong, "X")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20260228", Range(date(2026, 2, 28), date(2026, 2, 28))),
        ("2026.02.28", Range(date(2026, 2, 28), date(2026, 2, 28))),
        ("20260228-", Range(date(2026, 2, 28), None)),
        ("-20260228", Range(None, date(2026, 2, 28))),
        ("20260201-20260228", Range(date(2026, 2, 1), date(2026, 2, 28))),
        (" 20260201 - 20260228 ", Range(date(2026, 2, 1), date(2026, 2, 28))),
    ],
)
def test_date_ranges(value: str, expected: Range[date]) -> None:
    assert matching.date_range(value, "X") == expected


@pytest.mark.parametrize(
    "value", ["-", "2026", "20260230", "2026-02-28", "20260101-20260201-20260301", "today", "٢٠٢٦٠١٠١", "20260101--"]
)
def test_what_is_no_date(value: str) -> None:
    with pytest.raises(InvalidQuery):
        matching.date_range(value, "X")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10", Range(time(10), time(10, 59, 59, 999_999))),
        ("1030", Range(time(10, 30), time(10, 30, 59, 999_999))),
        ("103015", Range(time(10, 30, 15), time(10, 30, 15, 999_999))),
        ("103015.5", Range(time(10, 30, 15, 500_000), time(10, 30, 15, 599_999))),
        ("103015.123456", Range(time(10, 30, 15, 123_456), time(10, 30, 15, 123_456))),
        ("10:30:15", Range(time(10, 30, 15), time(10, 30, 15, 999_999))),
        ("10-", Range(time(10), None)),
        ("-10", Range(None, time(10, 59, 59, 999_999))),
        ("1000-1015", Range(time(10), time(10, 15, 59, 999_999))),
        ("235960", Range(time(23, 59, 59), time(23, 59, 59, 999_999))),
    ],
)
def test_time_ranges(value: str, expected: Range[time]) -> None:
    assert matching.time_range(value, "X") == expected


@pytest.mark.parametrize("value", ["-", "24", "1", "10a", "1060", "103015.", "103015.1234567", "noon"])
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(InvalidQuery):
        matching.time_range(value, "X")


def test_whole_numbers() -> None:
    assert [matching.whole_number(text, "X") for text in ("0", " 12 ", "-5", "+7", "007", "2147483647")] == [
        0, 12, -5, 7, 7, 2147483647,
    ]  # fmt: skip
    for wrong in ("", "1.5", "1_000", "٣", "0x10", "1e3", "1\\2", "9" * 5000, "2147483648", "-2147483649"):
        with pytest.raises(InvalidQuery, match="X: "):
            matching.whole_number(wrong, "X")


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("ONLINE", "ONLINE", True),
        ("ONLINE", "ON*", True),
        ("ONLINE", "?NLIN?", True),
        ("ONLINE", "online", False),
        ("ONLINE", "LINE", False),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
        ("", "*", True),
        ("", "?", False),
    ],
)
def test_c_2_2_2_4_a_text_and_a_value(text: str, value: str, found: bool) -> None:
    assert text_matches(text, value) is found


@pytest.mark.parametrize(
    ("value", "vr", "universal"),
    [
        ("", "LO", True),
        ("\\", "LO", True),
        ("A\\*", "LO", True),
        ("A\\", "LO", False),
        ("A\\B", "LO", False),
        ("A\\*", "LT", False),
        ("**", "LT", True),
    ],
)
def test_c_2_2_2_8_one_universal_value_makes_all_of_them_so(value: str, vr: str, universal: bool) -> None:
    assert has_universal(value, vr) is universal


def test_matching_text_is_composed_and_without_padding() -> None:
    assert matching_text("Nguye\u0302\u0303n \0", "PatientName") == "Nguyễn"
    for wrong in ("a\0b", "\ud800"):
        with pytest.raises(InvalidQuery, match="PatientName"):
            matching_text(wrong, "PatientName")


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("Nguyễn^Văn Đức", "Nguyen^Van Duc"),
        ("NGUYE\u0302\u0303N", "NGUYEN"),
        ("Ưng Ơn ỹ", "Ung On y"),
        ("Straße – 5 °C", "Strasse - 5 oC"),
        ("王", "_"),
        ("１＊２＼", "1_2_"),
        ("plain *?\\=^", "plain *?\\=^"),
    ],
)
def test_text_for_who_has_only_ascii(text: str, ascii_text: str) -> None:
    assert to_ascii(text) == ascii_text
