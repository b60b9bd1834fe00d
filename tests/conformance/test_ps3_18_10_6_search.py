"""PS3.18 10.6: Search Transaction, held against the text of the standard and an independent client."""

from __future__ import annotations

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from archive.core import Archive
from config.services import IngestSettings
from tests.web_server import dataset, part10, serving, shared_web, store  # noqa: F401
from viewer_api.app import create_app

STUDY, SERIES, INSTANCE = "1.2.826.1", "1.2.826.1.1", "1.2.826.1.1.1"


@pytest.fixture(scope="module")
def filled(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    first = dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=INSTANCE, Rows=16, Columns=16)
    assert (
        store(shared_web, part10(first), part10(dataset(PatientID="BN0002", StudyDate="20200101"))).status_code == 200
    )
    return shared_web


def test_10_6_1_every_search_resource_answers(filled: httpx.Client) -> None:
    """Table 10.6.1-1."""
    for path in (
        "/studies",
        f"/studies/{STUDY}/series",
        f"/studies/{STUDY}/series/{SERIES}/instances",
        f"/studies/{STUDY}/instances",
        "/series",
        "/instances",
    ):
        response = filled.get(f"/dicom-web{path}")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/dicom+json"
        assert response.json()


def test_10_6_3_1_no_match_is_200_and_an_empty_list(filled: httpx.Client) -> None:
    """Table 10.6.3-1, as of 2025: earlier editions had 204."""
    response = filled.get("/dicom-web/studies?PatientID=NOBODY")
    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["x-total-count"] == "0"


def test_10_6_3_3_1_study_attributes(filled: httpx.Client) -> None:
    """Table 10.6.3-3: attributes that a study match contains."""
    match = filled.get(f"/dicom-web/studies?StudyInstanceUID={STUDY}").json()[0]
    for tag in (
        "00080020",  # StudyDate
        "00080030",  # StudyTime
        "00080050",  # AccessionNumber
        "00080056",  # InstanceAvailability
        "00080061",  # ModalitiesInStudy
        "00080090",  # ReferringPhysicianName
        "00081190",  # RetrieveURL
        "00100010",  # PatientName
        "00100020",  # PatientID
        "00100030",  # PatientBirthDate
        "00100040",  # PatientSex
        "0020000D",  # StudyInstanceUID
        "00200010",  # StudyID
        "00201206",  # NumberOfStudyRelatedSeries
        "00201208",  # NumberOfStudyRelatedInstances
    ):
        assert tag in match, tag
    assert list(match) == sorted(match)
    assert match["00201208"]["Value"] == [1]
    assert match["00081190"] == {
        "vr": "UR",
        "Value": [f"{filled.base_url}/dicom-web/studies/{STUDY}".replace("//d", "/d")],
    }


def test_10_6_3_3_2_series_attributes(filled: httpx.Client) -> None:
    """Table 10.6.3-4: those of the study are there too where the resource does not fix it."""
    own = {"00080060", "0008103E", "00081190", "0020000E", "00200011", "00201209", "00400244", "00400245"}
    fixed = filled.get(f"/dicom-web/studies/{STUDY}/series").json()[0]
    assert own <= fixed.keys()
    free = filled.get("/dicom-web/series").json()[0]
    assert own | {"00100010", "00080020", "00080061"} <= free.keys()
    assert fixed["00081190"]["Value"][0].endswith(f"/studies/{STUDY}/series/{SERIES}")


def test_10_6_3_3_3_instance_attributes(filled: httpx.Client) -> None:
    """Table 10.6.3-5."""
    own = {"00080016", "00080018", "00081190", "00200013", "00280010", "00280011", "00280100", "00280008"}
    fixed = filled.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances").json()[0]
    assert own <= fixed.keys()
    assert own | {"00080060", "00200011"} <= filled.get(f"/dicom-web/studies/{STUDY}/instances").json()[0].keys()
    everything = filled.get("/dicom-web/instances").json()
    assert all(own | {"00080060", "00100010", "0020000D"} <= match.keys() for match in everything)
    assert fixed["00081190"]["Value"][0].endswith(f"/series/{SERIES}/instances/{INSTANCE}")


def test_10_6_3_3_matching_keys_are_in_the_result(filled: httpx.Client) -> None:
    match = filled.get(f"/dicom-web/studies/{STUDY}/series?StudyDescription=CT*").json()[0]
    assert match["00081030"]["Value"] == ["CT ngực"]


@pytest.fixture(scope="module")
def ordered(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    """A study of two series for requests of two items, and a study for none."""
    first = [_request("R1", "S1", "71020"), _request("R2", "S2", "71250")]
    second = [_request("R1", "S2", "71250")]
    patient = {"PatientID": "ORDERED", "PatientName": "LÊ^THỊ C"}
    common = {**patient, "StudyInstanceUID": "1.2.826.7"}
    stored = [
        dataset(**common, SeriesInstanceUID="1.2.826.7.1", RequestAttributesSequence=first),
        dataset(**common, SeriesInstanceUID="1.2.826.7.2", RequestAttributesSequence=second),
        dataset(**patient, StudyInstanceUID="1.2.826.8", SeriesInstanceUID="1.2.826.8.1", StudyID="8"),
    ]
    assert store(shared_web, *map(part10, stored)).status_code == 200
    return shared_web


def _request(procedure: str, step: str, code: str) -> Dataset:
    item, coded = Dataset(), Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = procedure, step
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = code, "C4", f"Chụp {code}"
    item.ScheduledProtocolCodeSequence = [coded]
    return item


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("RequestAttributesSequence.ScheduledProcedureStepID=S1", {"1"}),
        ("RequestAttributesSequence.ScheduledProcedureStepID=S2", {"1", "2"}),
        ("RequestAttributesSequence.ScheduledProcedureStepID=S*", {"1", "2"}),
        ("00400275.00400009=S1", {"1"}),
        ("RequestAttributesSequence.00400009=S3", set()),
        ("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue=71020", {"1"}),
        ("00400275.00400008.00080100=7*", {"1", "2"}),
        ("00400275.00400008.CodeMeaning=Ch%E1%BB%A5p%2071250", {"1", "2"}),
        ("RequestAttributesSequence.ScheduledProcedureStepID=", {"1", "2", "8"}),
        # Both of the same item, so not the first series: it has R1 and S2 in different ones.
        ("00400275.RequestedProcedureID=R1&00400275.ScheduledProcedureStepID=S2", {"2"}),
        ("00400275.RequestedProcedureID=R2&00400275.ScheduledProtocolCodeSequence.CodeValue=71020", set()),
        ("00400275.RequestedProcedureID=R2&SeriesInstanceUID=1.2.826.7.2", set()),
    ],
)
def test_8_3_4_1_attributes_of_items_are_matched(ordered: httpx.Client, query: str, found: set[str]) -> None:
    """``{attributeID} = {dicomTag} / {dicomKeyword} / {dicomTag}"."{attributeID} / {dicomKeyword}"."{attributeID}``."""
    response = ordered.get(f"/dicom-web/series?PatientID=ORDERED&{query}")
    assert response.status_code == 200, response.text
    series = {"1.2.826.7.1": "1", "1.2.826.7.2": "2", "1.2.826.8.1": "8"}
    assert {series[match["0020000E"]["Value"][0]] for match in response.json()} == found


def test_10_6_3_3_a_sequence_that_is_searched_is_returned_whole(ordered: httpx.Client) -> None:
    (match,) = ordered.get("/dicom-web/series?RequestAttributesSequence.ScheduledProcedureStepID=S1").json()
    items = match["00400275"]["Value"]
    assert [item["00401001"]["Value"] for item in items] == [["R1"], ["R2"]]
    assert items[1]["00400008"]["Value"][0]["00080104"]["Value"] == ["Chụp 71250"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("StudyID=%22%22", {"7"}),
        ("StudyID=%22%22&emptyvaluematching=true", {"7"}),
        ("StudyID=&emptyvaluematching=true", {"7", "8"}),
        ("StudyID=8&emptyvaluematching=false", {"8"}),
        ("StudyID=8%5C9", {"8"}),
        ("StudyID=8%5C9&multiplevaluematching=true", {"8"}),
        ("StudyID=9&StudyID=8&multiplevaluematching=true", {"8"}),
        ("StudyID=8&multiplevaluematching=false", {"8"}),
        ("StudyInstanceUID=1.2.826.7,1.2.826.8&multiplevaluematching=false", {"7", "8"}),
    ],
)
def test_8_3_4_empty_and_several_values(ordered: httpx.Client, query: str, found: set[str]) -> None:
    """Empty Value and Multiple Value Matching (PS3.4 C.2.2.2.7, C.2.2.2.8); a list of UIDs is neither."""
    response = ordered.get(f"/dicom-web/studies?PatientID=ORDERED&{query}")
    assert response.status_code == 200, response.text
    assert {match["0020000D"]["Value"][0][-1] for match in response.json()} == found


def test_8_3_4_4_2_a_cut_result_carries_a_warning(archive: Archive) -> None:
    """The server gives fewer than asked for, and says that there are more."""
    archive.settings = archive.settings.model_copy(update={"ingest": IngestSettings(query_limit=2)})
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert store(client, *(part10(dataset()) for _ in range(3))).status_code == 200
        cut = client.get("/dicom-web/studies")
        assert len(cut.json()) == 2
        assert cut.headers["warning"].startswith("299 ")
        assert "There are 1 additional results that can be requested" in cut.headers["warning"]
        assert cut.headers["x-total-count"] == "3"
        assert "warning" not in client.get("/dicom-web/studies?limit=1").headers
        assert "warning" not in client.get("/dicom-web/studies?offset=2").headers


def test_an_independent_client_finds_the_same(filled: httpx.Client) -> None:
    client = DICOMwebClient(url=f"{str(filled.base_url).rstrip('/')}/dicom-web")
    studies = [Dataset.from_json(match) for match in client.search_for_studies(search_filters={"PatientID": "BN0001"})]
    assert [study.StudyInstanceUID for study in studies] == [STUDY]
    assert str(studies[0].PatientName) == "NGUYỄN^VĂN AN"
    series = [Dataset.from_json(match) for match in client.search_for_series(STUDY, fields=["Manufacturer"])]
    assert [found.SeriesInstanceUID for found in series] == [SERIES]
    instances = client.search_for_instances(STUDY, SERIES, limit=5, offset=0)
    assert [Dataset.from_json(match).SOPInstanceUID for match in instances] == [INSTANCE]
    assert (
        len(client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "nguyen"}, get_remaining=True))
        == 2
    )
