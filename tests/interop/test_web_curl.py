"""curl: what a script of an administrator would use, and each form of answer that other clients do not ask for."""

from __future__ import annotations

import json
import zipfile
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tests.interop.matrix import (
    BULK_DATA,
    CURL,
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
    STOW_METADATA,
    STUDY,
    THUMBNAIL,
    WADO_URI,
    XML,
    ZIP,
    case,
)
from tests.interop.programs import assert_same, received, run
from tests.interop.site import saved
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
_NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def curl(address: str, folder: Path, *options: str) -> tuple[int, str, bytes]:
    """Status, media type and content of an answer."""
    body = folder / "body"
    body.unlink(missing_ok=True)
    done = run("curl", "-sS", "-g", "-o", str(body), "-w", "%{http_code} %{content_type}", *options, address)
    assert done.code == 0, done.output
    status, _, kind = done.output.partition(" ")
    return int(status), kind, body.read_bytes() if body.exists() else b""


def accept(what: str) -> tuple[str, str]:
    return "-H", f"Accept: {what}"


def found(address: str, folder: Path, *options: str) -> Any:
    status, kind, body = curl(address, folder, *options)
    assert (status, kind) == (200, "application/dicom+json"), body
    return json.loads(body)


def parts(kind: str, body: bytes) -> list[bytes]:
    """The parts of a multipart answer, as the e-mail package of Python reads them."""
    message = message_from_bytes(f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode() + body)
    assert message.get_content_type() == "multipart/related"
    pieces = body.split(b"--" + str(message.get_boundary()).encode())[1:-1]
    return [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces]


def objects(kind: str, body: bytes) -> dict[str, Dataset]:
    return by_uid([dcmread(BytesIO(part)) for part in parts(kind, body)])


@case(CURL, "GET", SEARCH, "studies, series and instances; by keyword and tag, wildcard, range of dates, list of UIDs")
def test_curl_searches(web: Web, tmp_path: Path) -> None:
    first = web.site.study(0)
    study, series, _ = named(first[0])
    for query, wanted in (
        ("PatientID=BN000*", set(web.studies)),
        ("00100020=BN0002", {web.site.study(2)[0].StudyInstanceUID}),
        ("StudyDate=20261115-20261130", {web.site.study(1)[0].StudyInstanceUID, web.site.study(2)[0].StudyInstanceUID}),
        (f"StudyInstanceUID={','.join(list(web.studies)[:2])}", set(list(web.studies)[:2])),
    ):
        assert set(values(found(f"{web.url}/studies?{query}", tmp_path), STUDY_UID)) == wanted
    matches = found(f"{web.url}/studies/{study}/series?Modality=CT", tmp_path)
    assert set(values(matches, SERIES_UID)) == {image.SeriesInstanceUID for image in first}
    matches = found(f"{web.url}/studies/{study}/series/{series}/instances?Rows=16", tmp_path)
    wanted = {image.SOPInstanceUID for image in first if image.SeriesInstanceUID == series}
    assert set(values(matches, INSTANCE_UID)) == wanted


@case(CURL, "GET", FUZZY, "two words of a name without accents, in any order")
def test_curl_searches_fuzzily(web: Web, tmp_path: Path) -> None:
    query = ("-G", "--data-urlencode", "PatientName=duc nguyen", "-d", "fuzzymatching=true", "-d", "AccessionNumber=A1")
    (match,) = found(f"{web.url}/studies", tmp_path, *query)
    assert match["00100010"]["Value"] == [{"Alphabetic": "Nguyễn^Văn Đức"}]


@case(CURL, "GET", FIELDS, "repeated, as a list, and `all`")
def test_curl_includes_fields(web: Web, tmp_path: Path) -> None:
    only = f"{web.url}/series?AccessionNumber=W1"
    for query in ("includefield=00080080,Manufacturer", "includefield=InstitutionName&includefield=00080070"):
        (match,) = found(f"{only}&{query}", tmp_path)
        assert match["00080080"]["Value"] == ["Bệnh viện Đa khoa tỉnh"]
        assert match["00080070"]["Value"] == ["Hãng ảnh"]
    (match,) = found(f"{only}&includefield=all", tmp_path)
    assert match["00080070"]["Value"] == ["Hãng ảnh"]


@case(CURL, "GET", PAGING, "one at a time in a fixed order; the total is in X-Total-Count")
def test_curl_pages(web: Web, tmp_path: Path) -> None:
    head = tmp_path / "head"
    pages = [
        found(f"{web.url}/studies?PatientID=BN000*&limit=1&offset={start}", tmp_path, "-D", str(head))
        for start in range(4)
    ]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert {values(page, STUDY_UID)[0] for page in pages[:3]} == web.studies.keys()
    assert "x-total-count: 3" in head.read_text().lower()


@case(CURL, "GET", XML, "each match is a document of the Native DICOM Model")
def test_curl_searches_in_xml(web: Web, tmp_path: Path) -> None:
    form = accept('multipart/related; type="application/dicom+xml"')
    status, kind, body = curl(f"{web.url}/studies?PatientID=BN0002", tmp_path, *form)
    assert status == 200
    (document,) = map(ElementTree.fromstring, parts(kind, body))
    said = {each.get("keyword"): each for each in document.iter(f"{_NATIVE}DicomAttribute")}
    assert said["StudyInstanceUID"].findtext(f"{_NATIVE}Value") == web.site.study(2)[0].StudyInstanceUID
    name = said["PatientName"].find(f"{_NATIVE}PersonName/{_NATIVE}Alphabetic")
    assert name is not None
    assert name.findtext(f"{_NATIVE}FamilyName") == "Trần" and name.findtext(f"{_NATIVE}GivenName") == "Thị B"


@case(CURL, "GET", STUDY, "multipart, without an Accept header, and as stored")
def test_curl_retrieves_studies(web: Web, tmp_path: Path) -> None:
    for study, images in web.studies.items():
        for options in ((), accept('multipart/related; type="application/dicom"; transfer-syntax=*')):
            status, kind, body = curl(f"{web.url}/studies/{study}", tmp_path, *options)
            assert status == 200
            assert_same(images, objects(kind, body))


@case(CURL, "GET", SERIES, "the objects of one series alone")
def test_curl_retrieves_series(web: Web, tmp_path: Path) -> None:
    study, series, _ = named(web.site.images[0])
    _, kind, body = curl(f"{web.url}/studies/{study}/series/{series}", tmp_path)
    wanted = [image for image in web.site.study(0) if image.SeriesInstanceUID == series]
    assert_same(wanted, objects(kind, body))


@case(CURL, "GET", INSTANCE, "as one DICOM file, decoded and as stored")
def test_curl_retrieves_instances(web: Web, tmp_path: Path) -> None:
    for image in web.site.images:
        for syntax in ("1.2.840.10008.1.2.1", "*"):
            form = accept(f'application/dicom; transfer-syntax="{syntax}"')
            status, kind, body = curl(web.address(image), tmp_path, *form)
            assert (status, kind.partition(";")[0]) == (200, "application/dicom"), body
            got = dcmread(BytesIO(body))
            assert syntax in ("*", got.file_meta.TransferSyntaxUID)
            assert_same([image], by_uid([got]))


@case(CURL, "GET", FRAMES, "several frames as stored in JPEG-LS, one decoded as a single part; none there is 404")
def test_curl_retrieves_frames(web: Web, tmp_path: Path) -> None:
    frames = f"{web.address(web.multi)}/frames"
    encoded = list(generate_frames(web.multi.PixelData, number_of_frames=10))
    _, kind, body = curl(f"{frames}/2,10", tmp_path, *accept('multipart/related; type="image/jls"'))
    assert parts(kind, body) == [encoded[1], encoded[9]]
    _, kind, body = curl(f"{frames}/4", tmp_path, *accept('multipart/related; type="application/octet-stream"'))
    assert parts(kind, body) == [web.multi.pixel_array[3].tobytes()]
    assert curl(f"{frames}/11", tmp_path)[0] == 404


@case(CURL, "GET", METADATA, "JSON, compressed in transit, unchanged (304), and XML")
def test_curl_retrieves_metadata(web: Web, tmp_path: Path) -> None:
    image, tags = web.site.images[0], tmp_path / "tags"
    address = f"{web.address(image)}/metadata"
    (metadata,) = found(address, tmp_path, "--compressed", "--etag-save", str(tags))
    assert_described(image, metadata)
    assert curl(address, tmp_path, "--compressed", "--etag-compare", str(tags))[0] == 304
    _, kind, body = curl(address, tmp_path, *accept('multipart/related; type="application/dicom+xml"'))
    (document,) = map(ElementTree.fromstring, parts(kind, body))
    said = {each.get("keyword"): each for each in document.iter(f"{_NATIVE}DicomAttribute")}
    assert said["StudyDescription"].findtext(f"{_NATIVE}Value") == "CT sọ não"


@case(CURL, "GET", BULK_DATA, "the address in the metadata, whole and by `--range`")
def test_curl_retrieves_bulk_data(web: Web, tmp_path: Path) -> None:
    image = web.site.images[0]
    (metadata,) = found(f"{web.address(image)}/metadata", tmp_path)
    address = metadata["7FE00010"]["BulkDataURI"]
    single = accept("application/octet-stream")
    assert curl(address, tmp_path, *single)[::2] == (200, image.PixelData)
    assert curl(address, tmp_path, *single, "--range", "100-199")[::2] == (206, image.PixelData[100:200])


@case(CURL, "GET", RENDERED, "PNG and JPEG; viewport and window by parameters")
def test_curl_retrieves_rendered(web: Web, tmp_path: Path) -> None:
    image = web.site.images[0]
    for form in ("png", "jpeg"):
        status, kind, body = curl(f"{web.address(image)}/rendered?quality=100", tmp_path, *accept(f"image/{form}"))
        assert (status, kind) == (200, f"image/{form}")
        assert_picture(body, image, form.upper())
    query = "viewport=64,64&window=2048,4096,linear"
    assert_picture(curl(f"{web.address(image)}/rendered?{query}", tmp_path, *accept("image/png"))[2], image)


@case(CURL, "GET", THUMBNAIL, "of a study, series, instance and frame")
def test_curl_retrieves_thumbnails(web: Web, tmp_path: Path) -> None:
    image = web.site.images[-1]  # alone in its study
    study, series, _ = named(image)
    for place in (
        f"{web.url}/studies/{study}",
        f"{web.url}/studies/{study}/series/{series}",
        web.address(image),
        f"{web.address(image)}/frames/1",
    ):
        status, _, body = curl(f"{place}/thumbnail", tmp_path, *accept("image/png"))
        assert status == 200
        assert_picture(body, image)


@case(CURL, "GET", ZIP, "a study as a zip of DICOM files, each as it was sent; unzipped by another program")
def test_curl_retrieves_zip(web: Web, tmp_path: Path) -> None:
    study, images = next(iter(web.studies.items()))
    status, kind, body = curl(f"{web.url}/studies/{study}", tmp_path, *accept("application/zip"))
    assert (status, kind.partition(";")[0]) == (200, "application/zip")
    with zipfile.ZipFile(BytesIO(body)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unzipped")
    assert_same(images, received(tmp_path / "unzipped"))


def posted(web: Web, folder: Path, kind: str, content: Path) -> Any:
    """What STOW-RS says to a body."""
    header = ("-H", f"Content-Type: {kind}", *accept("application/dicom+json"))
    status, _, body = curl(f"{web.url}/studies", folder, *header, "--data-binary", f"@{content}")
    assert status == 200, body
    return json.loads(body)


@case(CURL, "POST", STOW, "one file as it is (`application/dicom`), and several in a body of parts")
def test_curl_stores(web: Web, tmp_path: Path) -> None:
    images = [plain(PatientID="CURL1", seed=number) for number in (21, 22, 23)]
    files = [saved(image, tmp_path / f"{number}.dcm") for number, image in enumerate(images)]
    posted(web, tmp_path, "application/dicom", files[0])
    body = tmp_path / "parts"
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    body.write_bytes(b"".join(head + file.read_bytes() + b"\r\n" for file in files[1:]) + b"--b--\r\n")
    report = posted(web, tmp_path, 'multipart/related; type="application/dicom"; boundary=b', body)
    assert len(report["00081199"]["Value"]) == 2
    web.assert_stored(images)


@case(CURL, "POST", STOW_METADATA, "JSON and the pixel data beside it become the object that they describe")
def test_curl_stores_metadata(web: Web, tmp_path: Path) -> None:
    image = plain(PatientID="CURL2", seed=24)
    described = image.to_json_dict(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "pixels/1")
    body = tmp_path / "parts"
    body.write_bytes(
        b"--b\r\nContent-Type: application/dicom+json\r\n\r\n"
        + json.dumps([described]).encode()
        + b"\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Location: pixels/1\r\n\r\n"
        + image.PixelData
        + b"\r\n--b--\r\n"
    )
    posted(web, tmp_path, 'multipart/related; type="application/dicom+json"; boundary=b', body)
    web.assert_stored([image])


@case(CURL, "GET", WADO_URI, "the object, decoded and as stored, and its picture in any size")
def test_curl_by_wado_uri(web: Web, tmp_path: Path) -> None:
    for image in (web.site.images[0], web.site.images[-1]):
        study, series, instance = named(image)
        uids = f"{web.url}/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
        _, _, body = curl(f"{uids}&contentType=application/dicom", tmp_path)
        assert_same([image], by_uid([dcmread(BytesIO(body))]))
        status, kind, body = curl(f"{uids}&contentType=image/png&rows=32", tmp_path)
        assert (status, kind) == (200, "image/png")
        assert_picture(body, image)
