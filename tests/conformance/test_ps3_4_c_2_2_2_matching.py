"""PS3.4 C.2.2.2: every matching type, at each level, against a real index."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import CTImageStorage, MRImageStorage

from archive.attributes import BY_LEVEL, COMPUTED, KNOWN, LEVELS
from archive.core import Archive
from archive.errors import InvalidQuery
from archive.records import EVERYTHING, Level, Nested, Query, Scope
from archive.search import search
from config.settings import load
from tests.conftest import TEMPLATE
from tests.factories import SOURCE, ct_image, store
from tests.integration.archive.support import sql

NAMES = {
    "P1": "Nguyễn^Văn Đức",
    "P2": "Nguyễn^Thị Bé",
    "P3": "NGUYEN",
    "P4": "Nguyenx^An",
    "P5": "Trần^Đức Anh",
    "P6": "Wang^XiaoDong=王^小东",
    "P7": "",
    "P8": "100%_sure^O'Brien\u0301",
}
EVERYONE = frozenset(NAMES)


def _fill(archive: Archive) -> None:
    for n, (patient_id, name) in enumerate(NAMES.items()):
        image = ct_image(
            PatientID=patient_id,
            PatientName=name,
            PatientSex="F" if n % 2 else "M",
            PatientBirthDate=f"19{60 + n}0115",
            PatientWeight=60 + n / 2,
            PatientBirthTime="1015" if n == 0 else "101530.5",
            StudyInstanceUID=f"1.2.3.{n}",
            SeriesInstanceUID=f"1.2.3.{n}.1",
            SOPInstanceUID=f"1.2.3.{n}.1.1",
            StudyDate=f"2026010{n + 1}" if n != 6 else "",
            StudyTime=("10", "1030", "103015", "103015.5", "110000", "235959", "", "000000")[n],
            AccessionNumber=f"A{n}",
            StudyDescription=(
                "CT sọ não",
                "CT ngực",
                "MR gối",
                "100% done",
                "a_b",
                "axb",
                "a\\b" if n == 9 else "ab",
                "",
            )[n],
            InstitutionName=("BVĐK tỉnh", "BVĐK huyện")[n % 2],
            ReferringPhysicianName="Lê^Bác Sĩ",
            NameOfPhysiciansReadingStudy=["Phạm^Đọc", "Vũ^Xem"],
            StationName=f"CT{n}",
            SeriesDate=f"2026010{n + 1}",
            SeriesNumber=n,
            BodyPartExamined="HEAD",
            InstanceNumber=n,
            AdditionalPatientHistory="ho\\sốt",
        )
        store(archive, image)
    mr = ct_image(
        PatientID="P1",
        PatientName=NAMES["P1"],
        StudyInstanceUID="1.2.3.0",
        SeriesInstanceUID="1.2.3.0.2",
        SOPInstanceUID="1.2.3.0.2.1",
        SOPClassUID=MRImageStorage,
        Modality="MR",
        Rows=8,
        Columns=32,
        InstanceNumber=2,
    )
    store(archive, mr)


@pytest.fixture(scope="module")
def filled(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive for all tests of this file, none of which changes it."""
    name = f"matching_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
    head, _, query = postgres.partition("?")
    settings = load(
        environ={},
        data_dir=tmp_path_factory.mktemp("matching"),
        database={"url": f"{head.rsplit('/', 1)[0]}/{name}?{query}", "pool_size": 2},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "A"}],
    )
    with Archive.open(settings) as opened:
        _fill(opened)
        yield opened


@pytest.fixture
def own(archive: Archive) -> Archive:
    """The same for a test that changes it."""
    _fill(archive)
    return archive


def ask(archive: Archive, level: Level = Level.STUDY, *, fuzzy: bool = False, **keys: str) -> set[str]:
    """The patients (P1 ...) of the matches of a query by keywords."""
    wanted = {tag_for_keyword(keyword) or 0: value for keyword, value in keys.items()}
    result = archive.search(Query(level, wanted, fuzzy=fuzzy, include="all"))
    return {match["00100020"]["Value"][0] for match in result.matches}


def patients(numbers: str) -> set[str]:
    return {f"P{number}" for number in numbers}


def check(
    archive: Archive, cases: list[tuple[dict[str, str], str]], level: Level = Level.STUDY, **options: Any
) -> None:
    found = {str(keys): ask(archive, level, **options, **keys) for keys, _ in cases}
    assert found == {str(keys): patients(numbers) for keys, numbers in cases}


def test_c_2_2_2_1_single_value(filled: Archive) -> None:
    check(
        filled,
        [
            ({"PatientID": "P3"}, "3"),
            ({"PatientID": " P3 "}, "3"),
            ({"PatientID": "p3"}, ""),
            ({"PatientID": "P"}, ""),
            ({"AccessionNumber": "A4"}, "5"),
            ({"StudyInstanceUID": "1.2.3.4"}, "5"),
            ({"StudyDate": "20260102"}, "2"),
            ({"PatientSex": "F"}, "2468"),
            ({"PatientBirthDate": "19600115"}, "1"),
            ({"StudyDescription": "CT sọ não"}, "1"),
            ({"StudyDescription": "CT so nao"}, ""),
            ({"InstitutionName": "BVĐK huyện"}, "2468"),
            ({"PatientWeight": "60"}, "1"),
            ({"PatientWeight": "60.50"}, "2"),
            ({"PatientSex": "F", "AccessionNumber": "A1"}, "2"),
            ({"PatientSex": "M", "AccessionNumber": "A1"}, ""),
            ({"AdditionalPatientHistory": "ho\\sốt"}, "12345678"),
            ({"AdditionalPatientHistory": "ho"}, ""),
        ],
    )
    check(
        filled, [({"SeriesNumber": "3"}, "4"), ({"StationName": "CT5"}, "6"), ({"Modality": "MR"}, "1")], Level.SERIES
    )
    check(
        filled,
        [({"InstanceNumber": "3"}, "4"), ({"Rows": "8"}, "1"), ({"Columns": "16", "Rows": "8"}, "")],
        Level.IMAGE,
    )
    check(filled, [({"SOPInstanceUID": "1.2.3.5.1.1"}, "6"), ({"SOPClassUID": MRImageStorage}, "1")], Level.IMAGE)
    check(filled, [({"PatientID": "P3"}, "3"), ({"PatientSex": "F"}, "2468")], Level.PATIENT)


def test_c_2_2_2_2_list_of_uid(filled: Archive) -> None:
    check(filled, [({"StudyInstanceUID": "1.2.3.1\\1.2.3.2\\9.9"}, "23"), ({"StudyInstanceUID": "9.9"}, "")])
    check(filled, [({"SOPClassesInStudy": MRImageStorage}, "1")])
    check(filled, [({"SOPClassesInStudy": f"{MRImageStorage}\\{CTImageStorage}"}, "12345678")])
    check(filled, [({"SeriesInstanceUID": "1.2.3.1.1\\1.2.3.0.2"}, "12")], Level.SERIES)
    check(filled, [({"SOPInstanceUID": "1.2.3.1.1.1\\1.2.3.0.2.1"}, "12")], Level.IMAGE)
    for wrong in ("1.2*", "abc", "1.2\\"):
        with pytest.raises(InvalidQuery):
            ask(filled, StudyInstanceUID=wrong)


@pytest.mark.parametrize("value", ["", "*", "**", " "])
def test_c_2_2_2_3_universal(filled: Archive, value: str) -> None:
    for level in Level:
        keys = {attribute.keyword: value for attribute in KNOWN.values()}
        assert ask(filled, level, **keys) == EVERYONE


def test_c_2_2_2_4_wildcard(filled: Archive) -> None:
    check(
        filled,
        [
            ({"PatientID": "P*"}, "12345678"),
            ({"PatientID": "*3"}, "3"),
            ({"PatientID": "?3"}, "3"),
            ({"PatientID": "???"}, ""),
            ({"StudyDescription": "CT*"}, "12"),
            ({"StudyDescription": "100%*"}, "4"),
            ({"StudyDescription": "%*"}, ""),
            ({"StudyDescription": "a_b*"}, "5"),
            ({"StudyDescription": "a?b*"}, "56"),
            ({"InstitutionName": "*tỉnh"}, "1357"),
            ({"ModalitiesInStudy": "M*"}, "1"),
            ({"ModalitiesInStudy": "?T"}, "12345678"),
        ],
    )
    check(filled, [({"StationName": "CT?"}, "12345678"), ({"BodyPartExamined": "*EA*"}, "12345678")], Level.SERIES)
    # These have no wild cards.
    check(filled, [({"StudyDescription": "\\*"}, "12345678")])


def test_c_2_2_2_5_range_of_dates(filled: Archive) -> None:
    check(
        filled,
        [
            ({"StudyDate": "20260102-20260104"}, "234"),
            ({"StudyDate": "20260105-"}, "568"),
            ({"StudyDate": "-20260102"}, "12"),
            ({"StudyDate": "20260104-20260102"}, ""),
            ({"PatientBirthDate": "19660101-"}, "78"),
        ],
    )
    check(filled, [({"SeriesDate": "20260102-20260104"}, "234"), ({"SeriesDate": "-20260102"}, "12")], Level.SERIES)
    check(filled, [({"SeriesDate": "20260105-"}, "5678"), ({"SeriesDate": "20260105"}, "5")], Level.SERIES)
    check(filled, [({"PatientBirthDate": "-19600115"}, "1")], Level.PATIENT)
    for wrong in ("2026-01-01", "-", "20260101-x", "20261301"):
        with pytest.raises(InvalidQuery):
            ask(filled, StudyDate=wrong)
        with pytest.raises(InvalidQuery):
            ask(filled, Level.SERIES, SeriesDate=wrong)


def test_c_2_2_2_5_range_of_times(filled: Archive) -> None:
    check(
        filled,
        [
            ({"StudyTime": "10"}, "1234"),
            ({"StudyTime": "1030"}, "234"),
            ({"StudyTime": "103015"}, "34"),
            ({"StudyTime": "103015.5"}, "4"),
            ({"StudyTime": "1030-11"}, "2345"),
            ({"StudyTime": "-1029"}, "18"),
            ({"StudyTime": "2300-"}, "6"),
            ({"StudyTime": "10:30:15"}, "34"),
            ({"PatientBirthTime": "1015"}, "12345678"),
            ({"PatientBirthTime": "101500"}, "1"),
            ({"PatientBirthTime": "101530-"}, "2345678"),
            ({"PatientBirthTime": "-1014"}, ""),
        ],
    )
    for wrong in ("noon", "25", "-"):
        with pytest.raises(InvalidQuery):
            ask(filled, StudyTime=wrong)


def test_multiple_values_match_when_one_does(filled: Archive) -> None:
    check(
        filled,
        [
            ({"ModalitiesInStudy": "MR"}, "1"),
            ({"ModalitiesInStudy": "MR\\US"}, "1"),
            ({"ModalitiesInStudy": "US"}, ""),
            ({"Modality": "MR"}, "1"),
            ({"NameOfPhysiciansReadingStudy": "Vũ^Xem"}, "12345678"),
            ({"NameOfPhysiciansReadingStudy": "vu xem"}, "12345678"),
            ({"NameOfPhysiciansReadingStudy": "pham^D*"}, "12345678"),
            ({"NameOfPhysiciansReadingStudy": "Vũ"}, ""),
            ({"PatientID": "P1\\P3"}, "13"),
        ],
    )


def test_names_match_without_accents_and_case(filled: Archive) -> None:
    check(
        filled,
        [
            ({"PatientName": "nguyen van duc"}, "1"),
            ({"PatientName": "NGUYEN^VAN DUC"}, "1"),
            ({"PatientName": "Nguyễn^Văn Đức"}, "1"),
            ({"PatientName": "Nguye\u0302\u0303n^Va\u0306n \u0110u\u031b\u0301c"}, "1"),
            ({"PatientName": "NGUYEN^VAN*"}, "1"),
            ({"PatientName": "nguyễn*"}, "1234"),
            ({"PatientName": "NGUYEN^*"}, "123"),
            ({"PatientName": "NGUYEN^*^*"}, "123"),
            ({"PatientName": "NGUYEN"}, "3"),
            ({"PatientName": "*ĐỨC*"}, "15"),
            ({"PatientName": "Đức"}, ""),
            ({"PatientName": "Nguy?n"}, "3"),
            ({"PatientName": "100%*"}, "8"),
            ({"PatientName": "100%_sure^O'Brien"}, "8"),
            ({"PatientName": "1000_sure*"}, ""),
            ({"ReferringPhysicianName": "le bac si"}, "12345678"),
            ({"ReferringPhysicianName": "LE*"}, "12345678"),
            ({"ReferringPhysicianName": "si"}, ""),
        ],
    )
    check(filled, [({"PatientName": "tran duc anh"}, "5")], Level.PATIENT)
    check(filled, [({"PatientName": "tran duc anh"}, "5")], Level.IMAGE)


def test_a_name_matches_by_each_of_its_component_groups(filled: Archive) -> None:
    check(
        filled,
        [
            ({"PatientName": "Wang^XiaoDong"}, "6"),
            ({"PatientName": "wang*"}, "6"),
            ({"PatientName": "*dong"}, "6"),
            ({"PatientName": "王^小东"}, "6"),
            ({"PatientName": "王*"}, "6"),
            ({"PatientName": "=王^小东"}, "6"),
            ({"PatientName": "Wang^XiaoDong=王^小东"}, "6"),
            ({"PatientName": "小东"}, ""),
        ],
    )


def test_fuzzy_matching_finds_the_beginning_of_any_part(filled: Archive) -> None:
    check(
        filled,
        [
            ({"PatientName": "Đức"}, "15"),
            ({"PatientName": "duc nguyen"}, "1"),
            ({"PatientName": "ngu"}, "1234"),
            ({"PatientName": "guyen"}, ""),
            ({"PatientName": "xiao"}, "6"),
            ({"PatientName": "王"}, "6"),
            ({"PatientName": "100%"}, "8"),
            ({"PatientName": "10_"}, ""),
            ({"PatientName": "van*"}, "1"),
            ({"PatientName": "?"}, "12345678"),
            ({"ReferringPhysicianName": "bac"}, "12345678"),
            ({"NameOfPhysiciansReadingStudy": "xem"}, "12345678"),
        ],
        fuzzy=True,
    )


def test_c_2_2_2_6_the_key_of_a_sequence_is_an_item(filled: Archive) -> None:
    assert ask(filled, ReferencedStudySequence="") == EVERYONE
    with pytest.raises(InvalidQuery, match="ReferencedStudySequence cannot be matched with a value"):
        ask(filled, ReferencedStudySequence="x")


def test_c_2_2_2_7_empty_values(filled: Archive) -> None:
    """Two quotation marks match what has no value."""
    check(
        filled,
        [
            ({"PatientName": '""'}, "7"),
            ({"StudyDescription": '""'}, "8"),
            ({"StudyDate": '""'}, "7"),
            ({"StudyTime": '""'}, "7"),
            ({"StudyID": '""'}, ""),
            ({"ModalitiesInStudy": '""'}, ""),
            ({"NameOfPhysiciansReadingStudy": '""'}, ""),
            ({"OtherPatientNames": '""'}, "12345678"),
            ({"PatientComments": '""', "StudyDescription": '""'}, "8"),
            ({"ReferringPhysicianName": '""'}, ""),
        ],
    )
    check(filled, [({"Laterality": '""'}, "12345678"), ({"StationName": '""'}, "1")], Level.SERIES)
    check(filled, [({"VerificationFlag": '""'}, "12345678"), ({"Rows": '""'}, "")], Level.IMAGE)


def test_c_2_2_2_8_several_values(filled: Archive) -> None:
    """One that matches will do, in every VR."""
    check(
        filled,
        [
            ({"StudyDate": "20260101\\20260103-20260104"}, "134"),
            ({"StudyTime": "11\\23"}, "56"),
            ({"PatientWeight": "60\\60.5"}, "12"),
            ({"AccessionNumber": "A1\\A7\\B*"}, "28"),
            ({"PatientName": "TRAN*\\WANG*"}, "56"),
        ],
    )
    check(filled, [({"SeriesNumber": "3\\4"}, "45"), ({"SeriesDate": "20260101\\20260102"}, "12")], Level.SERIES)


def test_c_2_2_2_5_dates_and_times_combined(filled: Archive) -> None:
    """From a moment to a moment, not at these times on each of these days."""
    day_by_day = {"StudyDate": "20260101-20260104", "StudyTime": "1030-1031"}
    check(filled, [(day_by_day, "234")])
    cases = [
        (day_by_day, "234"),
        ({"StudyDate": "20260102-20260106", "StudyTime": "1031-10"}, "345"),
        ({"StudyDate": "20260102-20260106", "StudyTime": "1030-235959"}, "23456"),
        ({"StudyDate": "20260104-", "StudyTime": "1031-"}, "568"),
        ({"StudyDate": "-20260102", "StudyTime": "-1029"}, "1"),
        ({"StudyDate": "20260101-20260101", "StudyTime": "0900-1000"}, "1"),
        ({"StudyDate": "20260102", "StudyTime": "10-11"}, "2"),
        ({"StudyDate": "20260102-20260103", "StudyTime": "1030"}, "23"),
        ({"PatientBirthDate": "19600115-19620115", "PatientBirthTime": "1016-101529"}, "2"),
    ]
    for keys, numbers in cases:
        wanted = {tag_for_keyword(keyword) or 0: value for keyword, value in keys.items()}
        found = filled.search(Query(Level.STUDY, wanted, combined=True, include="all")).matches
        assert {match["00100020"]["Value"][0] for match in found} == patients(numbers), keys


def test_names_exactly(filled: Archive) -> None:
    cases = {
        "Nguyễn^Văn Đức": "1",
        "Nguye\u0302\u0303n^Va\u0306n \u0110u\u031b\u0301c": "1",
        "Nguyễn^Văn Đức^^": "1",
        "nguyễn^văn đức": "",
        "NGUYEN": "3",
        "Nguyen*": "4",
        "Nguyễn*": "12",
        "Nguy?n*": "124",
        "Nguyễn^Văn?Đức": "1",
        "Nguyễn Văn Đức": "",
        "王^小东": "6",
        "Wang*": "6",
        "Wang^XiaoDong=王^小东": "6",
        "*Đức*": "15",
        '""': "7",
    }
    for name, numbers in cases.items():
        result = filled.search(Query(Level.STUDY, {0x00100010: name}, names="exact", include="all"))
        assert {match["00100020"]["Value"][0] for match in result.matches} == patients(numbers), name
    for name, count in (("Lê^Bác Sĩ", 8), ("le^bac si", 0), ("Lê*", 8)):
        assert filled.search(Query(Level.STUDY, {0x00080090: name}, names="exact")).total == count
    for name, count in (("Vũ^Xem", 8), ("vu^xem", 0), ("Phạm^?ọc", 8)):
        assert filled.search(Query(Level.STUDY, {0x00081060: name}, names="exact")).total == count


def test_names_by_words_as_an_option(filled: Archive) -> None:
    for name, numbers in (("duc nguyen", "1"), ("ĐỨC", "15"), ("guyen", "")):
        result = filled.search(Query(Level.STUDY, {0x00100010: name}, names="words", include="all"))
        assert {match["00100020"]["Value"][0] for match in result.matches} == patients(numbers), name


def test_every_attribute_is_matched_at_its_level_and_below_or_refused_with_a_sentence(filled: Archive) -> None:
    samples = {"DA": "20260101", "TM": "10", "IS": "1", "DS": "1", "US": "1", "UI": "1.2"}
    refused = set()
    for attribute in KNOWN.values():
        for level in LEVELS:
            query = Query(level, {attribute.tag: samples.get(attribute.vr, "A?")})
            if attribute.vr == "SQ":
                query = Query(level, sequences={attribute.tag: Nested({0x00080100: "A?"})})
            try:
                archive_result = filled.search(query)
            except InvalidQuery as error:
                assert "cannot be matched" in str(error) or "returned but not matched" in str(error)
                if LEVELS.index(level) >= LEVELS.index(attribute.level):
                    refused.add(attribute.keyword)
            else:
                assert archive_result.total >= 0
                assert LEVELS.index(level) >= LEVELS.index(attribute.level) or attribute.keyword == "Modality"
    computed = {attribute.keyword for found in COMPUTED.values() for attribute in found}
    assert refused == computed - {"ModalitiesInStudy", "SOPClassesInStudy", "InstanceAvailability"}


HOSTILE = (
    "'; DROP TABLE study; --",
    "' OR '1'='1",
    '" OR ""="',
    "\\' OR 1=1 --",
    "%(name)s :name {0} $1",
    "zz\\",
    "%",
    "_",
    "[a-z]*",
    "\N{PILE OF POO}*",
    "x" * 20000 + "*",
)


def test_hostile_values_match_nothing_and_break_nothing(filled: Archive) -> None:
    for attribute in (each for level in BY_LEVEL.values() for each in level):
        for value in HOSTILE:
            for fuzzy in (False, True) if attribute.vr == "PN" else (False,):
                try:
                    result = filled.search(Query(Level.IMAGE, {attribute.tag: value}, fuzzy=fuzzy, limit=1))
                except InvalidQuery as error:
                    assert attribute.keyword in str(error)
                    assert len(str(error)) < 200
                else:
                    assert not result.matches, (attribute.keyword, value)
    assert ask(filled) == EVERYONE


def test_what_no_text_holds_is_refused(filled: Archive) -> None:
    for attribute in KNOWN.values():
        for value in ("a\0b", "\ud800"):
            with pytest.raises(InvalidQuery):
                filled.search(Query(Level.IMAGE, {attribute.tag: value}))


def test_limits_offsets_and_totals(filled: Archive) -> None:
    everything = filled.search(Query(Level.STUDY))
    assert (everything.total, everything.truncated, len(everything.owners)) == (8, False, 8)
    pages = [filled.search(Query(Level.STUDY, limit=3, offset=offset)) for offset in (0, 3, 6, 9, 100_000)]
    assert [len(page.matches) for page in pages] == [3, 3, 2, 0, 0]
    assert {page.total for page in pages} == {8}
    assert not any(page.truncated for page in pages)
    assert [match for page in pages for match in page.matches] == everything.matches
    none = filled.search(Query(Level.STUDY, limit=0))
    assert (none.matches, none.total) == ([], 8)
    assert filled.search(Query(Level.STUDY, limit=1 << 80)).total == 8
    for wrong in (Query(Level.STUDY, limit=-1), Query(Level.STUDY, offset=-1)):
        with pytest.raises(InvalidQuery):
            filled.search(wrong)


def test_the_cap_says_that_it_cut(filled: Archive) -> None:
    for limit, offset, cut in (
        (None, 0, True),
        (3, 0, False),
        (4, 0, True),
        (None, 5, False),
        (None, 4, True),
        (9, 6, False),
    ):
        result = search(filled.reader, Query(Level.STUDY, limit=limit, offset=offset), EVERYTHING, cap=3)
        assert (len(result.matches), result.total) == (min(3, 8 - offset), 8)
        assert result.truncated is cut, (limit, offset)


def test_order_is_newest_first_and_undated_last(filled: Archive) -> None:
    found = [match["0020000D"]["Value"][0] for match in filled.search(Query(Level.STUDY)).matches]
    assert found == [f"1.2.3.{n}" for n in (7, 5, 4, 3, 2, 1, 0, 6)]
    series = filled.search(Query(Level.SERIES, {0x0020000D: "1.2.3.0"})).matches
    assert [match["0020000E"]["Value"][0] for match in series] == ["1.2.3.0.1", "1.2.3.0.2"]


def test_what_is_returned(filled: Archive) -> None:
    (match,) = filled.search(Query(Level.STUDY, {0x00100020: "P1"})).matches
    for attribute in (*BY_LEVEL[Level.STUDY], *BY_LEVEL[Level.PATIENT], *COMPUTED[Level.STUDY]):
        assert (attribute.key in match) is attribute.default, attribute.keyword
    assert match["00080061"]["Value"] == ["CT", "MR"]
    assert (match["00201206"]["Value"], match["00201208"]["Value"]) == ([2], [2])
    assert list(match) == sorted(match)
    (asked,) = filled.search(
        Query(Level.STUDY, {0x00100020: "P1"}, include=frozenset({0x00101030, 0x00081060}))
    ).matches
    assert asked["00101030"] == {"vr": "DS", "Value": [60.0]}
    assert asked["00081060"]["Value"] == [{"Alphabetic": "Phạm^Đọc"}, {"Alphabetic": "Vũ^Xem"}]
    for level in LEVELS:
        complete = filled.search(Query(level, include="all")).matches[0]
        for attribute in (*BY_LEVEL[level], *COMPUTED[level]):
            assert attribute.key in complete
            assert complete[attribute.key]["vr"] == attribute.vr


def test_counts_of_a_patient_cover_what_the_caller_may_see(own: Archive) -> None:
    store(own, ct_image(PatientID="P1"), replace(SOURCE, facility="86002"))
    keys = {0x00100020: "P1"}
    counts = ("00201200", "00201202", "00201204")
    for scope, expected in ((None, [2, 3, 3]), ("86001", [1, 2, 2]), ("86002", [1, 1, 1])):
        seen = Scope(frozenset({scope}) if scope else None)
        (match,) = own.search(Query(Level.PATIENT, keys, include="all"), seen).matches
        assert [match[key]["Value"][0] for key in counts] == expected


def test_parents_without_instances_are_not_seen(own: Archive) -> None:
    sql(
        own,
        "INSERT INTO patient (issuer, identity, patient_id, name, name_fold, sex, attributes) VALUES ('86001', 'E', 'E', '', '', '', '{}')",
    )
    sql(
        own,
        """INSERT INTO study (study_instance_uid, patient_id, facility_id, accession_number, study_id, study_description,
                              referring_physician_fold, attributes)
           SELECT '9.9', patient.id, facility.id, '', '', '', '', '{}' FROM patient, facility WHERE identity = 'E' LIMIT 1""",
    )
    sql(
        own,
        """INSERT INTO series (study_id, series_instance_uid, modality, series_description, body_part_examined, attributes)
           SELECT id, '9.9.' || n, 'CT', '', '', '{}' FROM study, generate_series(1, 2) AS n WHERE study_instance_uid IN ('9.9', '1.2.3.0')""",
    )
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE):
        assert ask(own, level) == EVERYONE
    assert len(own.search(Query(Level.SERIES, {0x0020000D: "1.2.3.0"})).matches) == 2
    assert not own.search(Query(Level.STUDY, {0x0020000D: "9.9"})).matches
