"""PS3.18 10.5: Store Transaction, held against the text of the standard and an independent client."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from archive.core import Archive
from archive.errors import ArchiveError
from config.services import IngestSettings
from tests.web_server import dataset, part10, serving, store, web  # noqa: F401
from viewer_api.app import create_app
from viewer_api.problems import PROBLEMS, problem_of

# PS3.18 Table I.2-2 and PS3.4 Table B.2-1, the values that may be in Failure Reason (0008,1197).
DEFINED = {0x0110, 0x0111, 0x0122, 0x0124, 0x0272, 0xA700, 0xA900, 0xC000, 0xC122}


def test_i_2_2_every_failure_reason_is_defined() -> None:
    assert {problem.failure_reason for problem in PROBLEMS.values()} <= DEFINED


def test_i_2_2_the_table_of_reasons_is_total() -> None:
    def tree(cls: type[ArchiveError]) -> Iterator[type[ArchiveError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from tree(child)

    for cls in tree(ArchiveError):
        assert problem_of(cls).failure_reason in DEFINED
        assert cls in PROBLEMS or problem_of(cls) != PROBLEMS[ArchiveError]


def test_10_5_3_1_all_stored_is_200(web: httpx.Client) -> None:  # noqa: F811
    """Table 10.5.3-1, and the Store Instances Response Module of Table I.2-1."""
    made = dataset()
    response = store(web, part10(made))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    report = Dataset.from_json(response.json())
    root = str(web.base_url).rstrip("/") + "/dicom-web"
    assert report.RetrieveURL == f"{root}/studies/{made.StudyInstanceUID}"
    (item,) = report.ReferencedSOPSequence
    assert item.ReferencedSOPClassUID == made.SOPClassUID
    assert item.ReferencedSOPInstanceUID == made.SOPInstanceUID
    assert item.RetrieveURL == f"{report.RetrieveURL}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
    assert "FailedSOPSequence" not in report and "WarningReason" not in item


def test_10_5_3_1_some_stored_is_202(web: httpx.Client) -> None:  # noqa: F811
    assert store(web, part10(dataset()), b"x").status_code == 202


def test_10_5_3_1_none_stored_is_409(web: httpx.Client) -> None:  # noqa: F811
    response = store(web, b"x", b"y")
    assert response.status_code == 409
    assert len(response.json()["0008119A"]["Value"]) == 2


def test_10_5_3_the_same_instance_again_is_a_success(web: httpx.Client) -> None:  # noqa: F811
    file = part10(dataset())
    assert [store(web, file).status_code for _ in range(3)] == [200, 200, 200]


def test_10_5_3_other_content_under_the_same_uid(archive: Archive) -> None:
    """By the default policy both are kept; where the policy is to refuse, the reason is 0111 (duplicate)."""
    first = dataset()
    second = dataset(
        **{keyword: first[keyword].value for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")},
        StudyDescription="changed",
    )
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert store(client, part10(first)).status_code == 200
        assert store(client, part10(second)).status_code == 200


def test_10_5_3_conflict_where_the_policy_is_to_refuse(archive: Archive) -> None:
    refusing = archive.settings.model_copy(update={"ingest": IngestSettings(conflict="reject")})
    first = dataset()
    second = dataset(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        StudyDescription="changed",
    )
    with (
        Archive.open(refusing) as strict,
        serving(create_app(strict)) as url,
        httpx.Client(base_url=url) as client,
    ):
        assert store(client, part10(first)).status_code == 200
        response = store(client, part10(second))
    assert response.status_code == 409
    (item,) = response.json()["00081198"]["Value"]
    assert item["00081197"]["Value"] == [0x0111]
    assert item["00081155"]["Value"] == [first.SOPInstanceUID]


def test_10_5_1_a_study_resource_takes_only_its_study(web: httpx.Client) -> None:  # noqa: F811
    made = dataset()
    right, wrong = f"/dicom-web/studies/{made.StudyInstanceUID}", "/dicom-web/studies/1.2.3"
    assert store(web, part10(made), path=wrong).status_code == 409
    assert store(web, part10(made), path=right).status_code == 200


def test_an_independent_client_stores(web: httpx.Client) -> None:  # noqa: F811
    client = DICOMwebClient(url=f"{str(web.base_url).rstrip('/')}/dicom-web")
    files = [dcmread(DicomBytesIO(part10(dataset()))) for _ in range(3)]
    report = client.store_instances(files)
    stored = {item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence}
    assert stored == {file.SOPInstanceUID for file in files}
    with pytest.raises(Exception, match="409"):
        client.store_instances([files[0]], study_instance_uid="1.2.3.4")
