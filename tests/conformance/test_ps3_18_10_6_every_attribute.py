"""PS3.18 8.3.4, 10.6: each attribute of the tables of the conformance statement, in each form, at each level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from archive.attributes import BY_LEVEL, COMPUTED, Attribute, levels_down_to
from archive.records import Level
from archive.standard.xml_reader import read_native_xml
from tests.web_server import dataset, fresh_archive, part10, serving, store
from viewer_api.app import create_app

STUDY, OTHER = "1.2.826.91", "1.2.826.92"
RESOURCES = {Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
# By VR: what the object has, a pattern or range that it is in, and what it is not.
SAMPLES: dict[str, tuple[Any, str, str]] = {
    "AS": ("045Y", "045Y", "046Y"),
    "CS": ("ALPHA", "ALP*", "BETA"),
    "DA": ("20250102", "20250101-20250103", "20250103-"),
    "DS": ("61.5", "61.50", "62"),
    "IS": (7, "7", "8"),
    "LO": ("Khoa Nội tổng hợp", "Khoa N?i*", "Khoa Ngoại"),
    "LT": ("Ghi chú", "Ghi*", "Khác"),
    "PN": ("LÊ^THỊ HỒNG", "le^thi*", "TRAN*"),
    "SH": ("SH-1", "SH?1", "SH-2"),
    "ST": ("Số 1 Lê Lợi", "Số*", "Số 2"),
    "TM": ("101500", "1000-1100", "110000-"),
    "UI": ("1.2.826.99", "1.2.3,1.2.826.99", "1.2.826.98"),
    "UL": (7, "7", "8"),
    "US": (7, "7", "8"),
}
FIXED = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": f"{STUDY}.1",
    "SOPInstanceUID": f"{STUDY}.1.1",
    "PatientSex": "F",
    "Modality": "CT",
    "BitsAllocated": 16,
    "NumberOfFrames": 7,
    "PatientID": "PID 1",
    "TimezoneOffsetFromUTC": "+0700",
    "PregnancyStatus": 4,
}
PATTERNS = {
    "PatientSex": "F",
    "Modality": "C?",
    "BitsAllocated": "16",
    "TimezoneOffsetFromUTC": "+0700",
    "PregnancyStatus": "4",
}
MADE_BY_US = ("AvailableTransferSyntaxUID",)
STORED = [attribute for level in BY_LEVEL for attribute in BY_LEVEL[level]]
PLAIN = [attribute for attribute in STORED if attribute.vr != "SQ" and attribute.keyword not in MADE_BY_US]
SEQUENCES = [attribute for attribute in STORED if attribute.vr == "SQ"]


def value_of(attribute: Attribute) -> Any:
    return FIXED.get(attribute.keyword, SAMPLES[attribute.vr][0])


@pytest.fixture(scope="module")
def web(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One object that has every attribute of the index, and one that has none that it need not have."""
    full = dataset(**{attribute.keyword: value_of(attribute) for attribute in PLAIN})
    for attribute in SEQUENCES:
        item = Dataset()
        item.CodeValue = "C-1"
        setattr(full, attribute.keyword, [item])
    empty = dataset(
        StudyInstanceUID=OTHER,
        SeriesInstanceUID=f"{OTHER}.1",
        SOPInstanceUID=f"{OTHER}.1.1",
        **dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber")),
        **dict.fromkeys(("StudyDescription", "SeriesNumber", "InstanceNumber"), None),
        PatientID="PID 2",
        Modality="MR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
    )
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("every")) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=f"{url}/dicom-web", timeout=60) as client,
    ):
        stored = store_both(url, full, empty)
        assert stored.status_code in (200, 202), stored.text
        assert "00081198" not in stored.json()
        yield client


def store_both(url: str, *made: Dataset) -> httpx.Response:
    with httpx.Client(base_url=url, timeout=60) as client:
        return store(client, *map(part10, made))


def found(web: httpx.Client, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
    response = web.get(path, params=query)
    assert response.status_code == 200, (path, query, response.text)
    assert response.headers["x-total-count"] == str(len(response.json()))
    matches: list[dict[str, Any]] = response.json()
    return matches


def studies(matches: list[dict[str, Any]]) -> list[str]:
    return [match["0020000D"]["Value"][0] for match in matches]


def paths(attribute: Attribute) -> list[str]:
    """Every resource at whose level the attribute can be matched."""
    below = [RESOURCES[level] for level in RESOURCES if attribute.level in levels_down_to(level)]
    if Level.SERIES in levels_down_to(Level.IMAGE) and attribute.level is not Level.IMAGE:
        below.append(f"studies/{STUDY}/series")
    return [*below, f"studies/{STUDY}/instances", f"studies/{STUDY}/series/{STUDY}.1/instances"]


@pytest.mark.parametrize("attribute", PLAIN, ids=lambda attribute: attribute.keyword)
def test_8_3_4_1_each_attribute_is_matched_by_each_of_its_names(web: httpx.Client, attribute: Attribute) -> None:
    """``{dicomTag} / {dicomKeyword}``: what is so is found, by value and by pattern, and nothing else is."""
    value = value_of(attribute)
    pattern, wrong = SAMPLES[attribute.vr][1:]
    pattern = PATTERNS.get(attribute.keyword, str(value) if attribute.keyword in FIXED else pattern)
    wrong = {"Modality": "US", "NumberOfFrames": "9"}.get(attribute.keyword, wrong)
    for path in paths(attribute):
        if attribute.keyword == "Modality" and path == "studies":
            continue
        if path in ("studies", "series", "instances"):
            for name in (attribute.keyword, attribute.key.lower(), attribute.keyword.lower()):
                assert studies(found(web, path, {name: str(value)})) == [STUDY]
        (match,) = found(web, path, {attribute.key: str(value)})
        assert studies(found(web, path, {attribute.keyword: pattern})) == [STUDY], pattern
        assert match[attribute.key]["vr"] == attribute.vr
        assert match[attribute.key]["Value"], "a matching key is in the result (10.6.3.3)"
        if attribute.keyword.removesuffix("InstanceUID") in ("Study", "Series") and str(value) in path:
            # The query contradicts the path: that is a mistake, and said to be one.
            assert web.get(path, params={attribute.keyword: wrong}).status_code == 400
        else:
            assert found(web, path, {attribute.keyword: wrong}) == []


@pytest.mark.parametrize("attribute", SEQUENCES, ids=lambda attribute: attribute.keyword)
def test_8_3_4_1_each_sequence_is_matched_by_its_items(web: httpx.Client, attribute: Attribute) -> None:
    for path in paths(attribute):
        for name in (f"{attribute.keyword}.CodeValue", f"{attribute.key}.00080100", f"{attribute.keyword}.00080100"):
            (match,) = found(web, path, {name: "C-*"})
            assert match[attribute.key]["Value"][0]["00080100"]["Value"] == ["C-1"]
            assert found(web, path, {name: "C-2"}) == []


@pytest.mark.parametrize("level", RESOURCES)
def test_8_3_4_3_includefield_by_each_name_of_each_attribute_alone_and_in_a_list(
    web: httpx.Client, level: Level
) -> None:
    path, one = RESOURCES[level], {"StudyInstanceUID": STUDY}
    known = [
        attribute
        for each in levels_down_to(level)
        for attribute in (*BY_LEVEL[each], *(COMPUTED[each] if each is not Level.PATIENT else ()))
    ]
    (everything,) = found(web, path, {**one, "includefield": "all"})
    assert {attribute.key for attribute in known} <= everything.keys()
    (by_default,) = found(web, path, one)
    for attribute in known:
        for name in (attribute.keyword, attribute.key):
            (match,) = found(web, path, {**one, "includefield": name})
            assert match.keys() == by_default.keys() | {attribute.key}
            assert match[attribute.key] == everything[attribute.key]
    (listed,) = found(web, path, {**one, "includefield": ",".join(attribute.keyword for attribute in known)})
    assert listed == everything
    (of_both,) = found(web, path, {**one, "includefield": ",".join([known[0].key, known[-1].keyword])})
    assert of_both.keys() == by_default.keys() | {known[0].key, known[-1].key}


def test_10_6_3_3_what_is_asked_for_and_has_no_value_is_there_without(web: httpx.Client) -> None:
    (match,) = found(web, "instances", {"StudyInstanceUID": OTHER, "includefield": "all"})
    for attribute in PLAIN:
        if attribute.keyword in ("PatientName", "StudyDate", "OperatorsName", "ContentLabel", "SeriesNumber"):
            assert match[attribute.key] == {"vr": attribute.vr}, attribute.keyword


@pytest.mark.parametrize("level", RESOURCES)
def test_10_6_3_the_xml_says_what_the_json_says(web: httpx.Client, level: Level) -> None:
    """8.7.3.2: a part for each match; read back, it is the same dataset."""
    query = {"includefield": "all", "PatientID": "PID*"}
    as_json = found(web, RESOURCES[level], query)
    response = web.get(
        RESOURCES[level], params=query, headers={"accept": 'multipart/related; type="application/dicom+xml"'}
    )
    assert response.headers["x-total-count"] == str(len(as_json)) == "2"
    boundary = response.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = response.content.split(b"--" + boundary)[1:-1]
    documents = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]
    assert [as_numbers(read_native_xml(document)) for document in documents] == as_json


def as_numbers(found: Any) -> Any:
    """Decimal strings as numbers, as JSON has them."""
    for element in found.values():
        if element["vr"] == "DS" and "Value" in element:
            element["Value"] = [float(value) for value in element["Value"]]
        elif element["vr"] == "SQ":
            for item in element.get("Value", ()):
                as_numbers(item)
    return found


@pytest.mark.parametrize("path", [*RESOURCES.values(), f"studies/{STUDY}/series", f"studies/{STUDY}/instances"])
def test_10_6_3_1_nothing_found(web: httpx.Client, path: str) -> None:
    """200 with an empty list (since 2020c; before, 204); XML has no document without a dataset: 204."""
    empty = web.get(path, params={"PatientID": "NOBODY"})
    assert (empty.status_code, empty.json(), empty.headers["x-total-count"]) == (200, [], "0")
    xml = {"accept": 'multipart/related; type="application/dicom+xml"'}
    empty = web.get(path, params={"PatientID": "NOBODY"}, headers=xml)
    assert (empty.status_code, empty.content, empty.headers["x-total-count"]) == (204, b"", "0")
    behind = web.get(path, params={"offset": "50"})
    assert (behind.status_code, behind.json()) == (200, [])
    assert behind.headers["x-total-count"] != "0"


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("hong", True),
        ("HỒNG", True),
        ("thi le", True),
        ("Hồ", True),
        ("le hong", True),
        ("ong", False),
        ("hongg", False),
        ("le tran", False),
    ],
)
@pytest.mark.parametrize("keyword", ["PatientName", "ReferringPhysicianName", "NameOfPhysiciansReadingStudy"])
def test_8_3_4_2_fuzzy_matching_of_the_beginning_of_any_part(
    web: httpx.Client, keyword: str, name: str, matches: bool
) -> None:
    wanted = [STUDY] if matches else []
    assert studies(found(web, "studies", {keyword: name, "fuzzymatching": "true"})) == wanted
    assert studies(found(web, "instances", {keyword: name, "fuzzymatching": "true"})) == wanted
