"""What the values of a breakdown are called: codes are for programs, words for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from archive.figures.indicators import BREAKDOWNS, is_breakdown
from archive.figures.question import Answer, By

Words = Mapping[str, str]
_UNKNOWN: Final = ("Chưa rõ", "Unknown")
# Vietnamese and English. Where a value is not here, its code says what it is: districts are texts already.
_WORDS: Final[dict[By, dict[str, tuple[str, str]]]] = {
    By.CARE_LEVEL: {
        "specialised": ("Chuyên sâu", "Specialised"),
        "basic": ("Cơ bản", "Basic"),
        "primary": ("Ban đầu", "Primary"),
        "": ("Chưa xác định", "Not known"),
    },
    By.SEX: {"M": ("Nam", "Male"), "F": ("Nữ", "Female"), "O": ("Khác", "Other"), "": _UNKNOWN},
    By.BODY_PART: {
        "HEAD": ("Đầu, sọ não", "Head"),
        "NECK": ("Cổ", "Neck"),
        "CHEST": ("Ngực", "Chest"),
        "BREAST": ("Vú", "Breast"),
        "HEART": ("Tim", "Heart"),
        "ABDOMEN": ("Bụng", "Abdomen"),
        "PELVIS": ("Tiểu khung", "Pelvis"),
        "SPINE": ("Cột sống", "Spine"),
        "UPPER LIMB": ("Chi trên", "Upper limb"),
        "LOWER LIMB": ("Chi dưới", "Lower limb"),
        "VESSELS": ("Mạch máu", "Vessels"),
        "WHOLE BODY": ("Toàn thân", "Whole body"),
        "OTHER": ("Khác", "Other"),
        "": _UNKNOWN,
    },
    By.DAY_OF_WEEK: {
        "1": ("Thứ Hai", "Monday"),
        "2": ("Thứ Ba", "Tuesday"),
        "3": ("Thứ Tư", "Wednesday"),
        "4": ("Thứ Năm", "Thursday"),
        "5": ("Thứ Sáu", "Friday"),
        "6": ("Thứ Bảy", "Saturday"),
        "7": ("Chủ Nhật", "Sunday"),
    },
}
_NAMED: Final = (By.FACILITY, *_WORDS)
_NAME_COLUMN: Final = "_name"
_HEADINGS: Final = {
    By.FACILITY: ("Tên cơ sở", "Name of the facility"),
    By.CARE_LEVEL: ("Tên cấp chuyên môn", "Name of the care level"),
    By.SEX: ("Tên giới tính", "Name of the sex"),
    By.BODY_PART: ("Tên bộ phận", "Name of the body part"),
    By.DAY_OF_WEEK: ("Tên thứ", "Name of the day"),
}


def word(name: By, value: object, facilities: Words, language: str) -> str:
    """What a value is called; itself where nothing else is known. `facilities` are names by codes."""
    text = str(value)
    if name is By.FACILITY:
        return facilities.get(text, text)
    return words(name, language).get(text, text or _UNKNOWN[language == "en"])


def words(name: By, language: str) -> dict[str, str]:
    """What all values of a breakdown are called."""
    return {value: each[language == "en"] for value, each in _WORDS.get(name, {}).items()}


def spelled_out(answer: Answer, facilities: Words, language: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of an answer; behind each column of codes one of words."""
    columns: list[str] = []
    ways: list[tuple[int, Callable[[Any], Any] | None]] = []
    for place, column in enumerate(answer.columns):
        columns.append(column)
        ways.append((place, None))
        if is_breakdown(column) and (name := By(column)) in _NAMED:
            columns.append(column + _NAME_COLUMN)
            ways.append((place, _teller(name, facilities, language)))
    return columns, [tuple(row[at] if tell is None else tell(row[at]) for at, tell in ways) for row in answer.rows]


def named_breakdown(column: str) -> By | None:
    """Of which breakdown a column has the words; None if it has none."""
    name = column.removesuffix(_NAME_COLUMN)
    return By(name) if name != column and name in BREAKDOWNS else None


def name_heading(name: By, language: str) -> str:
    """The heading of the column with the words of a breakdown."""
    return _HEADINGS[name][language == "en"]


def _teller(name: By, facilities: Words, language: str) -> Callable[[Any], str]:
    return lambda value: word(name, value, facilities, language)


def narrowed(where: Mapping[By, Sequence[str]], facilities: Words, language: str) -> str:
    """To what a question is narrowed down, in words."""
    told = []
    for name, values in where.items():
        called = ", ".join(word(name, value, facilities, language) for value in values)
        told.append(f"{BREAKDOWNS[name].title(language)}: {called}")
    return "; ".join(told)
