"""dicomweb-client of Python: what a program in a hospital or a study in research would use."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames

from tests.interop.matrix import (
    BULK_DATA,
    DICOMWEB_CLIENT,
    FIELDS,
    FRAMES,
    FUZZY,
    INSTANCE,
    METADATA,
    PAGING,
    RENDERED,
    SEARCH,
    SERIES,
    STOW,
    STUDY,
    case,
)
from tests.interop.programs import assert_same
from tests.interop.web import (
    INSTANCE_UID,
    SERIES_UID,
    STUDY_UID,
    Web,
    assert_described,
    assert_picture,
    by_uid,
    named,
    plain,
    values,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def client(web: Web) -> Iterator[DICOMwebClient]:
    opened = DICOMwebClient(web.url)
    yield opened
    opened._session.close()


@case(DICOMWEB_CLIENT, "search_for_*", SEARCH, "studies, series and instances, below a study or series and without one")
def test_python_searches(web: Web, client: DICOMwebClient) -> None:
    ours = {"PatientID": "BN000*"}
    assert set(values(client.search_for_studies(search_filters=ours), STUDY_UID)) == web.studies.keys()
    first = web.site.study(0)
    study, series, _ = named(first[0])
    wanted = {image.SeriesInstanceUID for image in first}
    assert set(values(client.search_for_series(study), SERIES_UID)) == wanted
    wanted = {image.SOPInstanceUID for image in first if image.SeriesInstanceUID == series}
    assert set(values(client.search_for_instances(study, series), INSTANCE_UID)) == wanted
    assert set(values(client.search_for_instances(study), INSTANCE_UID)) == {each.SOPInstanceUID for each in first}
    every = {(image.StudyInstanceUID, image.SeriesInstanceUID) for image in web.site.images}
    found = client.search_for_series(search_filters=ours)
    assert set(zip(values(found, STUDY_UID), values(found, SERIES_UID), strict=True)) == every
    found = client.search_for_instances(search_filters=ours)
    assert set(values(found, INSTANCE_UID)) == {image.SOPInstanceUID for image in web.site.images}


@case(DICOMWEB_CLIENT, "search_for_studies", FUZZY, "a Vietnamese given name without accents, in lower case")
def test_python_searches_fuzzily(web: Web, client: DICOMwebClient) -> None:
    (found,) = client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "thi tran"})
    assert found["00100010"]["Value"] == [{"Alphabetic": "Trần^Thị B"}]
    assert client.search_for_studies(fuzzymatching=False, search_filters={"PatientName": "thi tran"}) == []


@case(
    DICOMWEB_CLIENT, "search_for_*", FIELDS, "attributes by keyword and tag; without a value they are there and empty"
)
def test_python_includes_fields(web: Web, client: DICOMwebClient) -> None:
    only = {"StudyInstanceUID": str(web.told.StudyInstanceUID)}
    (found,) = client.search_for_studies(fields=["InstitutionName", "00101010"], search_filters=only)
    assert found["00080080"]["Value"] == ["Bệnh viện Đa khoa tỉnh"]
    assert found["00101010"] == {"vr": "AS"}
    (found,) = client.search_for_series(fields=["all"], search_filters=only)
    assert found["00080070"]["Value"] == ["Hãng ảnh"]
    assert "00080070" not in client.search_for_series(search_filters=only)[0]


@case(DICOMWEB_CLIENT, "search_for_instances", PAGING, "pages of two make up the whole, by hand and by `get_remaining`")
def test_python_pages(web: Web, client: DICOMwebClient) -> None:
    ours, wanted = {"PatientID": "BN000*"}, sorted(image.SOPInstanceUID for image in web.site.images)
    pages = [client.search_for_instances(limit=2, offset=start, search_filters=ours) for start in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert sorted(uid for page in pages for uid in values(page, INSTANCE_UID)) == wanted
    assert (
        sorted(values(client.search_for_instances(limit=2, get_remaining=True, search_filters=ours), INSTANCE_UID))
        == wanted
    )


@case(DICOMWEB_CLIENT, "retrieve_study", STUDY, "each object of each study; what is held in RLE is decoded")
def test_python_retrieves_studies(web: Web, client: DICOMwebClient) -> None:
    for study, images in web.studies.items():
        assert_same(images, by_uid(client.retrieve_study(study)))
        assert_same(images, by_uid(list(client.iter_study(study))))


@case(DICOMWEB_CLIENT, "retrieve_series", SERIES, "the objects of one series alone")
def test_python_retrieves_series(web: Web, client: DICOMwebClient) -> None:
    study, series, _ = named(web.site.images[0])
    wanted = [image for image in web.site.study(0) if image.SeriesInstanceUID == series]
    assert_same(wanted, by_uid(client.retrieve_series(study, series)))


@case(DICOMWEB_CLIENT, "retrieve_instance", INSTANCE, "decoded, and as stored in JPEG-LS and RLE")
def test_python_retrieves_instances(web: Web, client: DICOMwebClient) -> None:
    for image in (web.site.images[0], web.site.images[-1], web.multi):
        got = client.retrieve_instance(*named(image), media_types=("application/dicom",))
        assert got.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert (got.pixel_array == image.pixel_array).all()
    got = client.retrieve_instance(*named(web.multi))
    assert got.file_meta.TransferSyntaxUID == web.multi.file_meta.TransferSyntaxUID
    assert got.PixelData == web.multi.PixelData


@case(
    DICOMWEB_CLIENT, "retrieve_instance_frames", FRAMES, "frames of ten in the order asked for, decoded and as stored"
)
def test_python_retrieves_frames(web: Web, client: DICOMwebClient) -> None:
    decoded = client.retrieve_instance_frames(*named(web.multi), [10, 1], media_types=("application/octet-stream",))
    pixels = web.multi.pixel_array
    assert decoded == [pixels[9].tobytes(), pixels[0].tobytes()]
    encoded = list(generate_frames(web.multi.PixelData, number_of_frames=10))
    jls = (("image/jls", "1.2.840.10008.1.2.4.80"),)
    assert client.retrieve_instance_frames(*named(web.multi), [3, 2], media_types=jls) == [encoded[2], encoded[1]]


@case(DICOMWEB_CLIENT, "retrieve_*_metadata", METADATA, "of a study, series and instance: every element but the pixels")
def test_python_retrieves_metadata(web: Web, client: DICOMwebClient) -> None:
    first = web.site.study(0)
    study, series, _ = named(first[0])
    found = {each[INSTANCE_UID]["Value"][0]: each for each in client.retrieve_study_metadata(study)}
    assert found.keys() == {image.SOPInstanceUID for image in first}
    for image in first:
        assert_described(image, found[image.SOPInstanceUID])
    assert len(client.retrieve_series_metadata(study, series)) == 2
    assert_described(first[1], client.retrieve_instance_metadata(*named(first[1])))


@case(DICOMWEB_CLIENT, "retrieve_bulkdata", BULK_DATA, "pixel data by the address in the metadata")
def test_python_retrieves_bulk_data(web: Web, client: DICOMwebClient) -> None:
    image = web.site.images[0]
    address = client.retrieve_instance_metadata(*named(image))["7FE00010"]["BulkDataURI"]
    # The client leaves the port out of the Host header, from which the addresses in answers are made.
    address = address.replace("127.0.0.1/", urlsplit(client.base_url).netloc + "/")
    assert client.retrieve_bulkdata(address) == [image.PixelData]


@case(DICOMWEB_CLIENT, "retrieve_*_rendered", RENDERED, "an instance as PNG and JPEG, and a frame, show what is stored")
def test_python_retrieves_rendered(web: Web, client: DICOMwebClient) -> None:
    image = web.site.images[0]
    assert_picture(client.retrieve_instance_rendered(*named(image), media_types=("image/png",)), image)
    best = {"quality": "100"}
    picture = client.retrieve_instance_rendered(*named(image), media_types=("image/jpeg",), params=best)
    assert_picture(picture, image, "JPEG")
    frame = client.retrieve_instance_frames_rendered(*named(image), [1], media_types=("image/png",))
    assert_picture(frame, image)


@case(DICOMWEB_CLIENT, "store_instances", STOW, "two objects at once, and one more into their study; stored as sent")
def test_python_stores(web: Web, client: DICOMwebClient) -> None:
    first = plain(PatientID="STOW1", seed=11)
    second = plain(PatientID="STOW1", seed=12, StudyInstanceUID=first.StudyInstanceUID)
    third = plain(PatientID="STOW1", seed=13, StudyInstanceUID=first.StudyInstanceUID)
    answer = client.store_instances([first, second])
    assert {item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence} == {
        first.SOPInstanceUID,
        second.SOPInstanceUID,
    }
    answer = client.store_instances([third], study_instance_uid=str(first.StudyInstanceUID))
    assert "FailedSOPSequence" not in answer
    web.assert_stored([first, second, third])
