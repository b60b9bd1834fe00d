"""QIDO-RS over a real server and index: keys, parameters, media types. The clauses are in tests/conformance."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.web_server import dataset, part10, shared_web, store  # noqa: F401

STUDY, OTHER = "1.2.3.10", "1.2.3.20"


@pytest.fixture(scope="module")
def filled(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    """Two studies: a CT of two series and three instances, and an MR of one."""
    stored = store(
        shared_web,
        *(
            part10(
                dataset(
                    StudyInstanceUID=STUDY,
                    SeriesInstanceUID=f"{STUDY}.{series}",
                    SOPInstanceUID=f"{STUDY}.{series}.{number}",
                    SeriesNumber=series,
                    InstanceNumber=number,
                    SeriesDescription=f"series {series}",
                )
            )
            for series, number in ((1, 1), (1, 2), (2, 1))
        ),
        part10(
            dataset(
                StudyInstanceUID=OTHER,
                SeriesInstanceUID=f"{OTHER}.1",
                SOPInstanceUID=f"{OTHER}.1.1",
                PatientName="TRẦN^THỊ ĐÀO",
                PatientID="BN0002",
                AccessionNumber="A2",
                StudyDate="20240115",
                Modality="MR",
            )
        ),
    )
    assert stored.status_code == 200, stored.text
    return shared_web


def _values(response: httpx.Response, key: str) -> list[Any]:
    assert response.status_code == 200, response.text
    return [match[key]["Value"][0] for match in response.json()]


def _studies(client: httpx.Client, query: str) -> list[str]:
    return _values(client.get(f"/dicom-web/studies?{query}"), "0020000D")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [STUDY, OTHER]),
        ("PatientID=BN0002", [OTHER]),
        ("00100020=BN0002", [OTHER]),
        ("0020000D=" + STUDY, [STUDY]),
        ("0020000d=" + STUDY, [STUDY]),
        ("PatientID=BN*", [STUDY, OTHER]),
        ("PatientID=BN000%3F", [STUDY, OTHER]),
        ("PatientName=TR%E1%BA%A6N*", [OTHER]),
        ("PatientName=dao&fuzzymatching=true", [OTHER]),
        ("PatientName=nguyen%20an&fuzzymatching=true", [STUDY]),
        ("PatientName=dao&fuzzymatching=false", []),
        ("StudyDate=20250301", [STUDY]),
        ("StudyDate=20240101-20241231", [OTHER]),
        ("StudyDate=20240101-", [STUDY, OTHER]),
        ("StudyDate=-20241231", [OTHER]),
        ("ModalitiesInStudy=MR", [OTHER]),
        ("ModalitiesInStudy=MR,CT", [STUDY, OTHER]),
        ("ModalitiesInStudy=MR&ModalitiesInStudy=CT", [STUDY, OTHER]),
        ("AccessionNumber=A1", [STUDY]),
        ("PatientID=", [STUDY, OTHER]),
        (f"StudyInstanceUID={STUDY},{OTHER}", [STUDY, OTHER]),
        (f"StudyInstanceUID={STUDY}&StudyInstanceUID={OTHER}", [STUDY, OTHER]),
        (f"StudyInstanceUID={STUDY}%5C{OTHER}", [STUDY, OTHER]),
        ("StudyInstanceUID=9.9.9", []),
        ("limit=1", [STUDY]),
        ("limit=1&offset=1", [OTHER]),
        ("offset=2", []),
        ("limit=0", []),
        ("_=1700000000", [STUDY, OTHER]),
    ],
)
def test_studies_are_found(filled: httpx.Client, query: str, found: list[str]) -> None:
    assert _studies(filled, query) == found


@pytest.mark.parametrize(
    ("path", "instances"),
    [
        ("/series", 3),
        (f"/studies/{STUDY}/series", 2),
        (f"/studies/{OTHER}/series", 1),
        ("/instances", 4),
        (f"/studies/{STUDY}/instances", 3),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances", 2),
        (f"/studies/{STUDY}/series/{OTHER}.1/instances", 0),
        (f"/studies/{STUDY}/series?Modality=MR", 0),
        (f"/studies/{STUDY}/series?SeriesDescription=series%202", 1),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances?InstanceNumber=2", 1),
        ("/instances?PatientID=BN0002", 1),
    ],
)
def test_series_and_instances_are_found(filled: httpx.Client, path: str, instances: int) -> None:
    response = filled.get(f"/dicom-web{path}")
    assert len(response.json()) == instances
    assert response.headers["x-total-count"] == str(instances)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("PatientNam=x", "PatientNam"),
        ("0010GGGG=x", "0010GGGG"),
        ("00109999=x", "00109999"),
        ("PixelData=x", "PixelData"),
        ("RequestAttributesSequence.ScheduledProcedureStepID=1", "RequestAttributesSequence"),
        ("ProcedureCodeSequence=1", "ProcedureCodeSequence"),
        ("ProcedureCodeSequence.ContextGroupExtensionCreatorUID=x", "ContextGroupExtensionCreatorUID"),
        ("ProcedureCodeSequence.EquivalentCodeSequence=x", "EquivalentCodeSequence"),
        ("ProcedureCodeSequence.00091001=x", "00091001"),
        ("ProcedureCodeSequence.=x", "''"),
        ("=x", "''"),
        ("PatientID.CodeValue=x", "PatientID"),
        ("SourceImageSequence.CodeValue=x", "SourceImageSequence"),
        (".".join(["00081032"] * 5000) + "=x", "sequences"),
        ("emptyvaluematching=perhaps", "emptyvaluematching"),
        ("emptyvaluematching=false&StudyID=%22%22", "emptyvaluematching=false"),
        ("multiplevaluematching=false&StudyID=1%5C2", "multiplevaluematching=false"),
        ("Nonsense.PatientID=1", "Nonsense"),
        ("includefield=Nonsense", "Nonsense"),
        ("limit=many", "limit"),
        ("limit=-1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=1.5", "offset"),
        ("fuzzymatching=perhaps", "fuzzymatching"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyDate=20251340", "StudyDate"),
        ("PatientID=a&PatientID=b", "PatientID"),
        ("StudyInstanceUID=abc", "StudyInstanceUID"),
        ("SeriesDescription=x", "SeriesDescription"),
        ("NumberOfStudyRelatedInstances=3", "NumberOfStudyRelatedInstances"),
    ],
)
def test_what_cannot_be_understood_is_named(filled: httpx.Client, query: str, named: str) -> None:
    response = filled.get(f"/dicom-web/studies?{query}")
    assert response.status_code == 400, response.text
    assert named in response.json()["detail"]


def test_too_long_queries_are_refused(filled: httpx.Client) -> None:
    many = "&".join(f"StudyInstanceUID=1.{n}" for n in range(201))
    assert filled.get(f"/dicom-web/studies?{many}").status_code == 400


@pytest.mark.parametrize("uid", ["..%2F..%2Fetc", "1.2.x", "1" * 65, "%C4%90"])
def test_a_path_that_holds_no_uid_is_refused(filled: httpx.Client, uid: str) -> None:
    assert filled.get(f"/dicom-web/studies/{uid}/series").status_code in (400, 404)


def test_a_uid_of_the_query_may_not_contradict_the_path(filled: httpx.Client) -> None:
    assert filled.get(f"/dicom-web/studies/{STUDY}/series?StudyInstanceUID={STUDY}").status_code == 200
    assert filled.get(f"/dicom-web/studies/{STUDY}/series?StudyInstanceUID={OTHER}").status_code == 400


@pytest.mark.parametrize(
    "includefield",
    [
        "includefield=OperatorsName&includefield=Manufacturer",
        "includefield=OperatorsName,Manufacturer",
        "includefield=00081070,00080070",
        "includefield=all",
    ],
)
def test_includefield_adds_attributes(filled: httpx.Client, includefield: str) -> None:
    plain, more = (filled.get(f"/dicom-web/studies/{STUDY}/series?{query}").json()[0] for query in ("", includefield))
    assert {"00081070", "00080070"} <= more.keys() - plain.keys()


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("*/*", "application/dicom+json"),
        ("application/json;q=0.5, application/dicom+json", "application/dicom+json"),
        ("application/xml, application/*;q=0.1", "application/dicom+json"),
    ],
)
def test_json_is_given_as_asked(filled: httpx.Client, accept: str, answered: str) -> None:
    response = filled.get("/dicom-web/studies", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"] == answered


@pytest.mark.parametrize("accept", ["text/html", "application/dicom+xml", "image/jpeg"])
def test_other_media_types_are_not_acceptable(filled: httpx.Client, accept: str) -> None:
    response = filled.get("/dicom-web/studies", headers={"Accept": accept})
    assert response.status_code == 406
    assert "application/dicom+json" in response.json()["detail"]


def test_the_accept_parameter_stands_in_for_the_header(filled: httpx.Client) -> None:
    assert filled.get("/dicom-web/studies?accept=application/json").headers["content-type"] == "application/json"
