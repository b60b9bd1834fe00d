"""The npm packages dicomweb-client and dcmjs, which viewers of the web are made of, in Chromium."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from playwright.sync_api import Page
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tests.e2e.browser import chromium
from tests.interop.matrix import (
    BULK_DATA,
    FIELDS,
    FRAMES,
    FUZZY,
    INSTANCE,
    METADATA,
    NPM,
    PAGING,
    RENDERED,
    SEARCH,
    SERIES,
    STOW,
    STUDY,
    THUMBNAIL,
    WADO_URI,
    case,
)
from tests.interop.npm import install
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
    part10_of,
    plain,
    values,
)

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::UserWarning")]

# Buffers travel between the page and the test in base64.
_LIBRARY = """
window.asText = buffer => {
    let text = '';
    for (const byte of new Uint8Array(buffer)) { text += String.fromCharCode(byte); }
    return btoa(text);
};
window.asBuffer = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer;
window.call = async (url, method, options) => {
    const client = new DICOMwebClient.api.DICOMwebClient({ url });
    const found = await client[method](options);
    const list = Array.isArray(found) ? found : [found];
    return list.some(each => each instanceof ArrayBuffer) ? list.map(asText) : found;
};
"""


@dataclass
class Client:
    """The library in a page of the archive's own origin."""

    page: Page
    url: str

    def call(self, method: str, **options: Any) -> Any:
        """What a method of DICOMwebClient gives."""
        return self.page.evaluate("([url, method, options]) => call(url, method, options)", [self.url, method, options])

    def bytes_of(self, method: str, **options: Any) -> list[bytes]:
        return [base64.b64decode(text) for text in self.call(method, **options)]

    def objects(self, method: str, **options: Any) -> dict[str, Dataset]:
        return by_uid([dcmread(BytesIO(each)) for each in self.bytes_of(method, **options)])


@pytest.fixture(scope="module")
def client(web: Web) -> Iterator[Client]:
    packages = install()
    with chromium() as browser, browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(f"{str(web.http.base_url).rstrip('/')}/health/live")
        for bundle in ("dicomweb-client/build/dicomweb-client.js", "dcmjs/build/dcmjs.js"):
            page.add_script_tag(path=packages / bundle)
        page.add_script_tag(content=_LIBRARY)
        yield Client(page, web.url)


def uids(image: Dataset, depth: int = 3) -> dict[str, str]:
    """UIDs as the client takes them, of study, series and instance."""
    names = ("studyInstanceUID", "seriesInstanceUID", "sopInstanceUID")
    return dict(list(zip(names, named(image), strict=True))[:depth])


@case(NPM, "searchFor*", SEARCH, "studies, series and instances")
def test_npm_searches(web: Web, client: Client) -> None:
    ours = {"PatientID": "BN000*"}
    assert set(values(client.call("searchForStudies", queryParams=ours), STUDY_UID)) == web.studies.keys()
    first = web.site.study(0)
    found = client.call("searchForSeries", **uids(first[0], 1))
    assert set(values(found, SERIES_UID)) == {image.SeriesInstanceUID for image in first}
    found = client.call("searchForInstances", **uids(first[0], 2))
    wanted = {image.SOPInstanceUID for image in first if image.SeriesInstanceUID == first[0].SeriesInstanceUID}
    assert set(values(found, INSTANCE_UID)) == wanted
    found = client.call("searchForInstances", queryParams=ours)
    assert set(values(found, INSTANCE_UID)) == {image.SOPInstanceUID for image in web.site.images}


@case(NPM, "searchForStudies", FUZZY, "a name in other order and without accents")
def test_npm_searches_fuzzily(web: Web, client: Client) -> None:
    (found,) = client.call("searchForStudies", queryParams={"PatientName": "thi tran", "fuzzymatching": True})
    assert found["00100010"]["Value"] == [{"Alphabetic": "Trần^Thị B"}]


@case(NPM, "searchForSeries", FIELDS, "a list; dcmjs naturalizes the match")
def test_npm_includes_fields(web: Web, client: Client) -> None:
    asked = {"AccessionNumber": "W1", "includefield": "InstitutionName,Manufacturer"}
    matches = client.call("searchForSeries", queryParams=asked)
    found = client.page.evaluate("match => dcmjs.data.DicomMetaDictionary.naturalizeDataset(match)", matches[0])
    assert found["InstitutionName"] == "Bệnh viện Đa khoa tỉnh"
    assert found["Manufacturer"] == "Hãng ảnh"


@case(NPM, "searchForStudies", PAGING, "three pages of one study make up the whole")
def test_npm_pages(web: Web, client: Client) -> None:
    pages = [
        client.call("searchForStudies", queryParams={"PatientID": "BN000*", "limit": 1, "offset": start})
        for start in range(4)
    ]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert {values(page, STUDY_UID)[0] for page in pages[:3]} == web.studies.keys()


@case(NPM, "retrieveStudy", STUDY, "each study whole, one of them held in RLE")
def test_npm_retrieves_studies(web: Web, client: Client) -> None:
    for images in web.studies.values():
        assert_same(images, client.objects("retrieveStudy", **uids(images[0], 1)))


@case(NPM, "retrieveSeries", SERIES, "one series alone")
def test_npm_retrieves_series(web: Web, client: Client) -> None:
    first = web.site.images[0]
    wanted = [image for image in web.site.study(0) if image.SeriesInstanceUID == first.SeriesInstanceUID]
    assert_same(wanted, client.objects("retrieveSeries", **uids(first, 2)))


@case(NPM, "retrieveInstance; dcmjs `DicomMessage.readFile`", INSTANCE, "dcmjs reads name and pixels as they are")
def test_npm_retrieves_instances(web: Web, client: Client) -> None:
    image = web.site.images[-1]
    read = """async ([url, uids]) => {
        const client = new DICOMwebClient.api.DICOMwebClient({ url });
        const file = dcmjs.data.DicomMessage.readFile(await client.retrieveInstance(uids));
        const found = dcmjs.data.DicomMetaDictionary.naturalizeDataset(file.dict);
        return {
            name: found.PatientName[0].Alphabetic, rows: found.Rows, syntax: file.meta['00020010'].Value[0],
            pixels: asText(file.dict['7FE00010'].Value[0]),
        };
    }"""
    found = client.page.evaluate(read, [client.url, uids(image)])
    assert (found["name"], found["rows"]) == ("Trần^Thị B", image.Rows)
    assert found["syntax"] == "1.2.840.10008.1.2.1"
    assert base64.b64decode(found["pixels"]) == image.PixelData


@case(NPM, "retrieveInstanceFrames", FRAMES, "frames of ten, decoded and as stored in JPEG-LS")
def test_npm_retrieves_frames(web: Web, client: Client) -> None:
    pixels = web.multi.pixel_array
    got = client.bytes_of("retrieveInstanceFrames", **uids(web.multi), frameNumbers=[10, 1])
    assert got == [pixels[9].tobytes(), pixels[0].tobytes()]
    encoded = list(generate_frames(web.multi.PixelData, number_of_frames=10))
    jls = [{"mediaType": "image/jls", "transferSyntaxUID": "1.2.840.10008.1.2.4.80"}]
    got = client.bytes_of("retrieveInstanceFrames", **uids(web.multi), frameNumbers=[2, 3], mediaTypes=jls)
    assert got == encoded[1:3]


@case(NPM, "retrieve*Metadata", METADATA, "of a study, series and instance: every element but the pixels")
def test_npm_retrieves_metadata(web: Web, client: Client) -> None:
    images = by_uid(web.site.study(0))
    first = web.site.images[0]
    found = {values([each], INSTANCE_UID)[0]: each for each in client.call("retrieveStudyMetadata", **uids(first, 1))}
    assert found.keys() == images.keys()
    for uid, image in images.items():
        assert_described(image, found[uid])
    assert len(client.call("retrieveSeriesMetadata", **uids(first, 2))) == 2
    (metadata,) = client.call("retrieveInstanceMetadata", **uids(first))
    assert_described(first, metadata)


@case(NPM, "retrieveBulkData", BULK_DATA, "pixel data by the address in the metadata")
def test_npm_retrieves_bulk_data(web: Web, client: Client) -> None:
    image = web.site.images[0]
    (metadata,) = client.call("retrieveInstanceMetadata", **uids(image))
    assert client.bytes_of("retrieveBulkData", BulkDataURI=metadata["7FE00010"]["BulkDataURI"]) == [image.PixelData]


@case(NPM, "retrieveInstanceRendered, retrieveInstanceFramesRendered", RENDERED, "PNG of an instance and of a frame")
def test_npm_retrieves_rendered(web: Web, client: Client) -> None:
    image, png = web.site.images[0], [{"mediaType": "image/png"}]
    assert_picture(client.bytes_of("retrieveInstanceRendered", **uids(image), mediaTypes=png)[0], image)
    frame = client.bytes_of("retrieveInstanceFramesRendered", **uids(image), frameNumbers=[1], mediaTypes=png)
    assert_picture(frame[0], image)


@case(NPM, "retrieveInstanceThumbnail, retrieveInstanceFramesThumbnail", THUMBNAIL, "PNG of an instance and of a frame")
def test_npm_retrieves_thumbnails(web: Web, client: Client) -> None:
    image, png = web.site.images[0], [{"mediaType": "image/png"}]
    assert_picture(client.bytes_of("retrieveInstanceThumbnail", **uids(image), mediaTypes=png)[0], image)
    frame = client.bytes_of("retrieveInstanceFramesThumbnail", **uids(image), frameNumbers=[1], mediaTypes=png)
    assert_picture(frame[0], image)


@case(NPM, "dcmjs `DicomDict.write`; storeInstances", STOW, "files that dcmjs wrote; stored as it was told")
def test_npm_stores(web: Web, client: Client) -> None:
    images = [plain(PatientID="STOW3", seed=41), plain(PatientID="STOW3", seed=42)]
    write = """async ([url, files]) => {
        const client = new DICOMwebClient.api.DICOMwebClient({ url });
        const datasets = files.map(file => dcmjs.data.DicomMessage.readFile(asBuffer(file)).write());
        return JSON.parse(await client.storeInstances({ datasets }));
    }"""
    files = [base64.b64encode(part10_of(image)).decode() for image in images]
    report = client.page.evaluate(write, [client.url, files])
    assert len(report["00081199"]["Value"]) == 2 and "00081198" not in report
    web.assert_stored(images)


@case(NPM, "buildInstanceWadoURIUrl", WADO_URI, "the object as stored, and decoded")
def test_npm_by_wado_uri(web: Web, client: Client) -> None:
    image = web.site.images[-1]
    fetched = """async ([url, options]) => {
        const client = new DICOMwebClient.api.DICOMwebClient({ url, wadoURLPrefix: 'wado' });
        return asText(await (await fetch(client.buildInstanceWadoURIUrl(options))).arrayBuffer());
    }"""
    for syntax in ("*", "1.2.840.10008.1.2.1"):
        text = client.page.evaluate(fetched, [client.url, {**uids(image), "transferSyntax": syntax}])
        assert_same([image], by_uid([dcmread(BytesIO(base64.b64decode(text)))]))
