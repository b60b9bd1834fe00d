"""PS3.4 C.2.2.2 once more: the index against a naive matcher, written from the text of the standard.

The matcher here shares no code with the archive. It looks at the datasets as they were sent, one by one.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from archive.core import Archive
from archive.records import Level, NameMatching, Nested, Query
from tests.factories import ct_image, store
from tests.integration.archive.conftest import shared

__all__ = ["shared"]

POPULATION = 60
SYLLABLES = ("Nguyễn", "NGUYEN", "Văn", "Đức", "Duc", "An", "Ân", "Trần", "O'Brien", "Hà", "王", "小东", "x_y", "100%")
WORDS = ("CT sọ não", "CT ngực", "ct ngực", "X-quang", "a_b", "axb", "100%", "100", "", "não", "CT")


# --- who is stored


def person(chance: random.Random) -> str:
    if chance.random() < 0.1:
        return ""
    groups = [
        "^".join(" ".join(chance.choices(SYLLABLES, k=chance.randint(1, 2))) for _ in range(chance.randint(1, 3)))
        for _ in range(chance.choices((1, 2, 3), (6, 2, 1))[0])
    ]
    return "=".join(groups)


def code(chance: random.Random) -> Dataset:
    item = Dataset()
    item.CodeValue = chance.choice(("CT01", "CT02", "XQ1"))
    item.CodeMeaning = chance.choice(("Sọ não", "Ngực", ""))
    return item


def image(number: int) -> Dataset:
    chance = random.Random(number)
    moment = datetime(2026, 1, 1) + timedelta(
        minutes=chance.randint(0, 6 * 24 * 60), milliseconds=chance.randint(0, 999)
    )
    attributes = {
        "PatientID": f"P{number}",
        "PatientName": person(chance),
        "OtherPatientIDs": chance.sample(("A1", "A2", "B1", "a1"), chance.randint(0, 2)),
        "PatientComments": chance.choice(WORDS),
        "StudyInstanceUID": f"1.2.9.{number}",
        "SeriesInstanceUID": f"1.2.9.{number}.1",
        "SOPInstanceUID": f"1.2.9.{number}.1.1",
        "StudyDate": moment.strftime("%Y%m%d") if chance.random() < 0.9 else "",
        "StudyTime": moment.strftime(chance.choice(("%H%M%S.%f", "%H%M%S", "%H%M", "%H", ""))),
        "AccessionNumber": chance.choice(("", f"A{number % 7}", f"a{number % 7}")),
        "StudyDescription": chance.choice(WORDS),
        "PatientWeight": chance.choice((None, 60, 60.5, 61)),
        "NameOfPhysiciansReadingStudy": [name for name in (person(chance), person(chance)) if name],
        "Modality": chance.choice(("CT", "MR", "US")),
        "PregnancyStatus": chance.choice((None, 1, 4)),
    }
    made = ct_image(**{keyword: value for keyword, value in attributes.items() if value is not None})
    if chance.random() < 0.6:
        made.ProcedureCodeSequence = Items([code(chance) for _ in range(chance.randint(0, 3))])
    return made


class Stored:
    """The archive and what was stored in it. Without a long text of itself, which hypothesis would show."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.images = [image(number) for number in range(POPULATION)]
        for each in self.images:
            store(archive, each)


@pytest.fixture(scope="module")
def stored(shared: Archive) -> Stored:
    return Stored(shared)


# --- the naive matcher


def like(found: str, wanted: str) -> bool:
    """C.2.2.2.4: ``*`` is any run of characters, ``?`` any one."""
    pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in wanted)
    return re.fullmatch(pattern, found, re.DOTALL) is not None


def plain(name: str) -> str:
    """Without accents, case, and ``^``; runs of blanks as one."""
    bare = "".join(char for char in unicodedata.normalize("NFD", name) if not unicodedata.combining(char))
    bare = bare.replace("đ", "d").replace("Đ", "D").upper()
    return re.sub(" +", " ", bare.replace("^", " ")).strip()


def name_matches(found: str, wanted: str, how: NameMatching) -> bool:
    found, wanted = unicodedata.normalize("NFC", found), unicodedata.normalize("NFC", wanted)
    if how == "words":
        words = plain(re.sub("[*?=]", " ", wanted)).split()
        return all(any(part.startswith(word) for part in plain(found.replace("=", " ")).split()) for word in words)
    if how == "exact":
        wanted = wanted.strip().rstrip("^= ")
        if "=" in wanted:
            return like(found.rstrip("^= "), wanted)
        return any(like(group.rstrip("^ ").strip(), wanted) for group in (*found.split("="), "", "")[:3])
    groups = [plain(group) for group in found.split("=")]
    wanted = "=".join(plain(group) for group in wanted.split("=")).rstrip("=")
    forms = {wanted}
    while wanted.endswith(" *"):
        # ``NGUYEN^*``: what follows may be nothing.
        wanted = wanted[:-2]
        forms |= {wanted}
    return any(group_matches("=".join(groups).rstrip("="), form) for form in forms)


def group_matches(name: str, wanted: str) -> bool:
    """The name or one of its groups, from that group on or alone."""
    if like(name, wanted) or like(name, f"{wanted}=*"):
        return True
    if wanted.isascii() and not wanted.startswith("="):
        return False
    later = wanted.lstrip("=")
    return like(name, f"*={later}") or like(name, f"*={later}=*")


def span(text: str) -> tuple[time, time]:
    """What a time of any precision stands for (C.2.2.2.5)."""
    digits, _, fraction = text.partition(".")
    low = digits.ljust(6, "0") + fraction.ljust(6, "0")
    high = digits + "235959"[len(digits) :] + (fraction if len(digits) == 6 else "").ljust(6, "9")
    return (
        datetime.strptime(low, "%H%M%S%f").time(),
        datetime.strptime(high, "%H%M%S%f").time(),
    )


def date_in(found: str, wanted: str) -> bool:
    low, hyphen, high = wanted.partition("-")
    if not found:
        return False
    return (found == low) if not hyphen else (not low or found >= low) and (not high or found <= high)


def time_in(found: str, wanted: str) -> bool:
    low, hyphen, high = wanted.partition("-")
    if not found:
        return False
    moment = span(found)[0]
    first, last = (low, high) if hyphen else (low, low)
    return (not first or moment >= span(first)[0]) and (not last or moment <= span(last)[1])


def moment_in(ds: Dataset, dates: str, times: str) -> bool:
    """C.2.2.2.5 with combined matching."""
    (first, _, last), (begin, _, end) = dates.partition("-"), times.partition("-")
    if not ds.StudyDate or not date_in(ds.StudyDate, dates):
        return False
    if not ds.StudyTime:
        return not (begin and ds.StudyDate == first) and not (end and ds.StudyDate == last)
    moment = span(ds.StudyTime)[0]
    return not (begin and ds.StudyDate == first and moment < span(begin)[0]) and not (
        end and ds.StudyDate == last and moment > span(end)[1]
    )


def values_of(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    if value is None or value == "":
        return []
    many = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    return [str(each) for each in many]


def is_universal(wanted: str) -> bool:
    """C.2.2.2.3, C.2.2.2.8: one value that matches everything does so among others, too."""
    parts = [part for part in wanted.split("\\") if part.strip()]
    return not parts or any(not part.strip("* ") for part in parts)


def key_matches(ds: Dataset, keyword: str, wanted: str, how: NameMatching) -> bool:
    found, vr = values_of(ds, "Modality" if keyword == "ModalitiesInStudy" else keyword), dictionary_VR(keyword)
    if is_universal(wanted):
        return True
    if wanted == '""':
        return not found
    if vr == "LT":
        return any(like(each, wanted.strip()) for each in found)
    parts = [part.strip() for part in wanted.split("\\") if part.strip()]
    test = {
        "DA": date_in,
        "TM": time_in,
        "PN": lambda each, part: name_matches(each, part, how),
        "DS": lambda each, part: float(each) == float(part),
        "US": lambda each, part: int(each) == int(part),
        "UI": lambda each, part: each == part,
    }.get(vr, like)
    if vr == "PN" and not found:
        found = [""]
    return any(test(each, part) for each in found or ([""] if vr in ("LO", "SH", "CS") else []) for part in parts)


def matches(ds: Dataset, query: Asked) -> bool:
    keys = dict(query.keys)
    ranges = all("-" in keys.get(each, "") and "\\" not in keys[each] for each in ("StudyDate", "StudyTime"))
    if query.combined and ranges and not moment_in(ds, keys.pop("StudyDate"), keys.pop("StudyTime")):
        return False
    if not all(key_matches(ds, keyword, value, query.names) for keyword, value in keys.items()):
        return False
    nested = {keyword: value for keyword, value in query.item.items() if not is_universal(value)}
    items = ds.get("ProcedureCodeSequence") or []
    return not nested or any(
        all(key_matches(item, keyword, value, query.names) for keyword, value in nested.items()) for item in items
    )


# --- what is asked


@dataclass
class Asked:
    keys: dict[str, str]
    item: dict[str, str] = field(default_factory=dict)
    names: NameMatching = "folded"
    combined: bool = False

    def query(self) -> Query:
        tags = {tag_for_keyword(keyword) or 0: value for keyword, value in self.keys.items()}
        item = Nested({tag_for_keyword(keyword) or 0: value for keyword, value in self.item.items()})
        return Query(Level.STUDY, tags, names=self.names, combined=self.combined, sequences={0x00081032: item})


def pieces(*parts: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(parts), min_size=1, max_size=4).map("".join)


def several(one: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(one, one, st.lists(one, min_size=2, max_size=3).map("\\".join), st.sampled_from(('""', "", "*")))


def ranges(one: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        one, one.map(lambda low: f"{low}-"), one.map(lambda high: f"-{high}"), st.tuples(one, one).map("-".join)
    )


SPOKEN = (*SYLLABLES, "nguyen", "duc", "Nguye\u0302\u0303n", "^", "^", " ", "*", "?", "=", "N", "Đ")
NAME = several(pieces(*SPOKEN).filter(lambda text: text.strip("=^ ")))
TEXT = several(pieces(*WORDS, "*", "?", "C", "T", "%", "_", " n").filter(lambda text: text.strip()))
DATE = ranges(st.integers(0, 7).map(lambda n: (date(2025, 12, 31) + timedelta(n)).strftime("%Y%m%d")))
TIME = ranges(
    st.tuples(st.integers(0, 23), st.integers(0, 59), st.sampled_from((2, 4, 6, 8))).map(
        lambda made: f"{made[0]:02}{made[1]:02}00.5"[: made[2]].rstrip(".")
    )
)
KEYS: dict[str, st.SearchStrategy[str]] = {
    "PatientName": NAME,
    "NameOfPhysiciansReadingStudy": NAME,
    "PatientID": several(pieces("P", "1", "2", "*", "?")),
    "OtherPatientIDs": several(pieces("A", "B", "a", "1", "*", "?")),
    "PatientComments": TEXT.filter(lambda text: "\\" not in text),
    "StudyDescription": TEXT,
    "AccessionNumber": several(pieces("A", "a", "1", "2", "?", "*")),
    "StudyDate": several(DATE),
    "StudyTime": several(TIME),
    "PatientWeight": several(st.sampled_from(("60", "60.5", "60.50", "6.1e1"))),
    "PregnancyStatus": several(st.sampled_from(("1", "4"))),
    "ModalitiesInStudy": several(pieces("C", "T", "MR", "*", "?")),
    "StudyInstanceUID": st.lists(st.integers(0, POPULATION + 3), min_size=1, max_size=5).map(
        lambda numbers: "\\".join(f"1.2.9.{number}" for number in numbers)
    ),
}
ITEM = {"CodeValue": several(pieces("CT0", "1", "2", "*", "?")), "CodeMeaning": TEXT}
ASKED = st.builds(
    Asked,
    st.one_of(
        st.sampled_from(sorted(KEYS)).flatmap(lambda keyword: st.fixed_dictionaries({keyword: KEYS[keyword]})),
        st.fixed_dictionaries({}, optional=KEYS),
        st.fixed_dictionaries({"StudyDate": DATE, "StudyTime": TIME}),
    ),
    st.one_of(st.just({}), st.fixed_dictionaries({}, optional=ITEM)),
    st.sampled_from(("folded", "folded", "exact", "words")),
    st.booleans(),
)


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, int]]:
    """How many queries found something, and not all: the test must not agree on nothing."""
    counts = {"some": 0, "all": 0}
    yield counts
    assert counts["some"] > counts["all"] / 5, counts


@hypothesis_settings(max_examples=500, deadline=None, derandomize=True)
@given(ASKED)
def test_the_index_finds_what_a_naive_matcher_finds(stored: Stored, seen: dict[str, int], asked: Asked) -> None:
    images = stored.images
    expected = {ds.StudyInstanceUID for ds in images if matches(ds, asked)}
    seen["all"] += 1
    seen["some"] += 0 < len(expected) < len(images)
    found: Any = [match["0020000D"]["Value"][0] for match in stored.archive.browse(asked.query())]
    assert len(found) == len(set(found))
    assert set(found) == expected
