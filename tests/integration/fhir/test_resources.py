"""Every resource made of all test data is one of R4, and all its references lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydicom.dataset import Dataset

from archive.core import Archive
from archive.demo import SETTINGS
from archive.demo.load import load as load_demo
from config.settings import load as load_settings
from tests.corpus import storage_objects
from tests.factories import ct_image, encode, store_bytes
from tests.integration.archive.support import unchecked
from tests.integration.fhir.support import get, matches, pages, references
from tests.web_server import fresh_archive, serving, store
from tests.worklist import put
from viewer_api.app import create_app

KINDS = ("ImagingStudy", "Patient", "ServiceRequest", "Endpoint", "Organization")


@pytest.fixture(scope="module")
def archive(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """The demo province, the whole corpus, and what senders do to values."""
    demo = load_settings(SETTINGS, environ={})
    facilities = [each.model_dump() for each in demo.facilities]
    facilities += [{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}]
    with fresh_archive(postgres, tmp_path_factory.mktemp("fhir"), facilities=facilities) as archive:
        load_demo(archive)
        _dirty(archive)
        yield archive


@pytest.fixture(scope="module")
def web(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        # Some of the corpus are refused; what is taken is what counts.
        assert store(client, *(path.read_bytes() for path in storage_objects())).status_code == 202
        yield client


def _put(archive: Archive, image: Dataset) -> None:
    store_bytes(archive, encode(image), image.SOPClassUID, image.SOPInstanceUID)


def _dirty(archive: Archive) -> None:
    names = [
        "",
        "^",
        "^^^^",
        "=",
        "A=",
        "=漢^字=かん^じ",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "  ",
        "NGUYỄN VĂN\tAN",
        "X" * 300,
    ]
    with unchecked():
        for number, name in enumerate(names):
            image = ct_image(PatientID=f"D{number}", PatientName=name, PatientSex="?", PatientBirthDate="18000101")
            image.ReferringPhysicianName = name
            image.NameOfPhysiciansReadingStudy = [name, "TRẦN^BÌNH"]
            image.BodyPartExamined = "  KHÔNG  RÕ "
            image.Laterality = "L"
            image.StudyDescription = "a\x0bb"
            _put(archive, image)
        odd = ct_image(
            PatientID="",
            StudyDate="",
            StudyTime="",
            AccessionNumber="",
            Modality="",
            SeriesNumber=-5,
            StudyDescription=None,
        )
        _put(archive, odd)
        odd = ct_image(PatientID="ODD", TimezoneOffsetFromUTC="-9959", StudyTime="235960", SeriesDate="20200101")
        _put(archive, odd)
        _put(archive, ct_image(PatientID="ODD 2", TimezoneOffsetFromUTC="+0900", PatientBirthDate="nonsense"))
    put(archive, PatientID="KHÔNG ẢNH", AccessionNumber="NEW", RequestedProcedureDescription=None)
    image = ct_image(PatientID="CÓ ẢNH")
    _put(archive, image)
    put(
        archive,
        PatientID="CÓ ẢNH",
        AccessionNumber="OLD",
        StudyInstanceUID=str(image.StudyInstanceUID),
        PatientName="A",
    )


def test_every_resource_is_valid_and_every_reference_leads_somewhere(web: httpx.Client, archive: Archive) -> None:
    found = {
        kind: {each["id"]: each for page in pages(web, f"{kind}?_count=40") for each in matches(page)} for kind in KINDS
    }
    assert all(found[kind] for kind in KINDS), {kind: len(each) for kind, each in found.items()}
    assert len(found["ImagingStudy"]) == get(web, "ImagingStudy?_summary=count")["total"] > 60
    for resources in found.values():
        for resource in resources.values():
            contained = {each["id"] for each in resource.get("contained", ())}
            for reference in references(resource):
                kind, _, key = reference.rpartition("/")
                assert key in found[kind] if kind else reference.removeprefix("#") in contained, reference
    empty = [str(each) for resources in found.values() for each in resources.values() if "''" in str(each)]
    assert not empty
    # One of each is also what a read gives.
    for kind, resources in found.items():
        for key, resource in list(resources.items())[:30]:
            assert get(web, f"{kind}/{key}") == resource
