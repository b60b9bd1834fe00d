"""The DICOMweb plug-in of Orthanc as a client: another archive that searches here, fetches from here and sends to here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.interop.matrix import (
    BULK_DATA,
    FIELDS,
    FRAMES,
    FUZZY,
    INSTANCE,
    METADATA,
    ORTHANC_WEB,
    PAGING,
    RENDERED,
    SEARCH,
    SERIES,
    STOW,
    STUDY,
    THUMBNAIL,
    WADO_URI,
    XML,
    ZIP,
    case,
)
from tests.interop.orthanc import WEB_PLUGIN, Orthanc, orthanc
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
    path,
    plain,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@dataclass
class Plugin:
    """Orthanc, told to do something at the server ``pacs``, which is the archive."""

    orthanc: Orthanc

    def do(self, what: str, **body: Any) -> Any:
        return self.orthanc.post(f"/dicom-web/servers/pacs/{what}", body)

    def search(self, place: str, **arguments: str) -> list[dict[str, Any]]:
        """Matches as Orthanc writes them: a value each, by tag."""
        found: list[dict[str, Any]] = self.do("qido", Uri=place, Arguments=arguments)
        return found

    def get(self, place: str, arguments: Mapping[str, str] | None = None, accept: str = "") -> tuple[str, bytes]:
        """Media type and content of an answer that Orthanc passes on."""
        headers = {"Accept": accept} if accept else {}
        body = {"Uri": place, "Arguments": dict(arguments or {}), "HttpHeaders": headers}
        answer = self.orthanc.http.post("/dicom-web/servers/pacs/get", content=json.dumps(body)).raise_for_status()
        return answer.headers["content-type"], answer.content

    def retrieve(self, **resource: str) -> dict[str, Dataset]:
        """Have it fetch something; what it has then."""
        self.orthanc.clear()
        self.do("retrieve", Resources=[resource], Synchronous=True)
        return self.orthanc.holds()


@pytest.fixture(scope="module")
def client(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    servers = {"pacs": {"Url": web.url, "HasDelete": False, "ChunkedTransfers": True}}
    dicomweb = {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Servers": servers}
    folder = tmp_path_factory.mktemp("orthanc") / "web"
    with orthanc(web.site, folder, Plugins=[str(WEB_PLUGIN.resolve())], DicomWeb=dicomweb) as started:
        yield Plugin(started)


def found(matches: list[dict[str, Any]], tag: str) -> set[str]:
    return {match[tag]["Value"] for match in matches}


def parts(kind: str, body: bytes) -> list[bytes]:
    boundary = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode()).get_boundary()
    pieces = body.split(b"--" + str(boundary).encode())[1:-1]
    return [piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces]


@case(ORTHANC_WEB, "/servers/{name}/qido", SEARCH, "studies, series and instances")
def test_orthanc_web_searches(web: Web, client: Plugin) -> None:
    assert found(client.search("/studies", PatientID="BN000*"), STUDY_UID) == web.studies.keys()
    first = web.site.study(0)
    study, series, _ = named(first[0])
    matches = client.search(f"/studies/{study}/series")
    assert found(matches, SERIES_UID) == {image.SeriesInstanceUID for image in first}
    matches = client.search(f"/studies/{study}/series/{series}/instances")
    wanted = {image.SOPInstanceUID for image in first if image.SeriesInstanceUID == series}
    assert found(matches, INSTANCE_UID) == wanted
    assert found(client.search("/instances", PatientID="BN0002"), INSTANCE_UID) == {web.site.images[-1].SOPInstanceUID}


@case(ORTHANC_WEB, "/servers/{name}/qido", FUZZY, "words of a name without accents")
def test_orthanc_web_searches_fuzzily(web: Web, client: Plugin) -> None:
    (match,) = client.search("/studies", PatientName="tran thi", fuzzymatching="true")
    assert match["00100010"]["Value"] == "Trần^Thị B"


@case(
    ORTHANC_WEB, "/servers/{name}/qido", FIELDS, "attributes of the study and of the equipment in a search for series"
)
def test_orthanc_web_includes_fields(web: Web, client: Plugin) -> None:
    (match,) = client.search("/series", AccessionNumber="W1", includefield="InstitutionName,00080070")
    assert match["00080080"]["Value"] == "Bệnh viện Đa khoa tỉnh"
    assert match["00080070"]["Value"] == "Hãng ảnh"


@case(ORTHANC_WEB, "/servers/{name}/qido", PAGING, "three pages of one study make up the whole")
def test_orthanc_web_pages(web: Web, client: Plugin) -> None:
    pages = [client.search("/studies", PatientID="BN000*", limit="1", offset=str(start)) for start in range(3)]
    assert {uid for page in pages for uid in found(page, STUDY_UID)} == web.studies.keys()


@case(ORTHANC_WEB, "/servers/{name}/get", XML, "a search passed through with an Accept header")
def test_orthanc_web_searches_in_xml(web: Web, client: Plugin) -> None:
    asked = {"PatientID": "BN0002"}
    kind, body = client.get("/studies", asked, 'multipart/related; type="application/dicom+xml"')
    (document,) = map(ElementTree.fromstring, parts(kind, body))
    assert web.site.study(2)[0].StudyInstanceUID in {each.text for each in document.iter()}


@case(ORTHANC_WEB, "/servers/{name}/retrieve", STUDY, "each study arrives whole, one of them held in RLE")
def test_orthanc_web_retrieves_studies(web: Web, client: Plugin) -> None:
    for study, images in web.studies.items():
        assert_same(images, client.retrieve(Study=study))


@case(ORTHANC_WEB, "/servers/{name}/retrieve", SERIES, "one series alone")
def test_orthanc_web_retrieves_series(web: Web, client: Plugin) -> None:
    study, series, _ = named(web.site.images[0])
    wanted = [image for image in web.site.study(0) if image.SeriesInstanceUID == series]
    assert_same(wanted, client.retrieve(Study=study, Series=series))


@case(ORTHANC_WEB, "/servers/{name}/retrieve", INSTANCE, "one image, and one of ten frames in JPEG-LS")
def test_orthanc_web_retrieves_instances(web: Web, client: Plugin) -> None:
    for image in (web.site.images[1], web.multi):
        study, series, instance = named(image)
        (got,) = client.retrieve(Study=study, Series=series, Instance=instance).values()
        assert got.SOPInstanceUID == instance
        assert (got.pixel_array == image.pixel_array).all()


@case(ORTHANC_WEB, "/servers/{name}/get", FRAMES, "two frames of ten, decoded")
def test_orthanc_web_retrieves_frames(web: Web, client: Plugin) -> None:
    form = 'multipart/related; type="application/octet-stream"'
    pixels = web.multi.pixel_array
    got = parts(*client.get(f"{path(web.multi)}/frames/2,9", accept=form))
    assert got == [pixels[1].tobytes(), pixels[8].tobytes()]


@case(ORTHANC_WEB, "/servers/{name}/get", METADATA, "of a study: every element but the pixels")
def test_orthanc_web_retrieves_metadata(web: Web, client: Plugin) -> None:
    images = by_uid(web.site.study(0))
    _, body = client.get(f"/studies/{web.site.images[0].StudyInstanceUID}/metadata")
    metadata = {each[INSTANCE_UID]["Value"][0]: each for each in json.loads(body)}
    assert metadata.keys() == images.keys()
    for uid, image in images.items():
        assert_described(image, metadata[uid])


@case(ORTHANC_WEB, "/servers/{name}/get", BULK_DATA, "pixel data by the address in the metadata")
def test_orthanc_web_retrieves_bulk_data(web: Web, client: Plugin) -> None:
    image = web.site.images[0]
    (metadata,) = json.loads(client.get(f"{path(image)}/metadata")[1])
    address = metadata["7FE00010"]["BulkDataURI"]
    assert address.startswith(web.url)
    _, body = client.get(address.removeprefix(web.url), accept="application/octet-stream")
    assert body == image.PixelData


@case(ORTHANC_WEB, "/servers/{name}/get", RENDERED, "PNG")
def test_orthanc_web_retrieves_rendered(web: Web, client: Plugin) -> None:
    image = web.site.images[0]
    assert_picture(client.get(f"{path(image)}/rendered", accept="image/png")[1], image)


@case(ORTHANC_WEB, "/servers/{name}/get", THUMBNAIL, "of an instance, and in a size of its own")
def test_orthanc_web_retrieves_thumbnails(web: Web, client: Plugin) -> None:
    image = web.site.images[0]
    for arguments in ({}, {"viewport": "32,32"}):
        assert_picture(client.get(f"{path(image)}/thumbnail", arguments, "image/png")[1], image)


@case(ORTHANC_WEB, "/servers/{name}/get, then its own upload of a zip", ZIP, "a study in one file, which Orthanc takes")
def test_orthanc_web_retrieves_zip(web: Web, client: Plugin) -> None:
    client.orthanc.clear()
    study, images = next(iter(web.studies.items()))
    _, body = client.get(f"/studies/{study}", accept="application/zip")
    client.orthanc.http.post("/instances", content=body).raise_for_status()
    assert_same(images, client.orthanc.holds())


@case(ORTHANC_WEB, "/servers/{name}/stow", STOW, "a study of two images by chunks; stored as Orthanc holds them")
def test_orthanc_web_stores(web: Web, client: Plugin) -> None:
    client.orthanc.clear()
    first = plain(PatientID="STOW2", seed=31)
    second = plain(PatientID="STOW2", seed=32, StudyInstanceUID=first.StudyInstanceUID)
    (study,) = {client.orthanc.upload(image)["ParentStudy"] for image in (first, second)}
    client.do("stow", Resources=[study], Synchronous=True)
    web.assert_stored([first, second])


@case(ORTHANC_WEB, "/servers/{name}/get", WADO_URI, "an object that is held in RLE, decoded")
def test_orthanc_web_by_wado_uri(web: Web, client: Plugin) -> None:
    image = web.site.images[-1]
    study, series, instance = named(image)
    asked = {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance}
    _, body = client.get("/wado", {**asked, "contentType": "application/dicom"})
    assert_same([image], by_uid([dcmread(BytesIO(body))]))
