"""A study on a disc (IHE PDI): whatever reads discs must find what the archive has."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archive.core import Archive
from tests.corpus import storage_objects
from tests.e2e.browser import ARGUMENTS, CHROMIUM
from tests.media import file_set
from tests.web_server import part10, serving, store
from viewer_api.app import create_app

STUDY = generate_uid()
FILES = {
    "CT_small.dcm": 1,
    "JPEG2000.dcm": 1,
    "color3d_jpeg_baseline.dcm": 120,
    "reportsi.dcm": 0,
}


def _sample(name: str) -> Dataset:
    (path,) = [each for each in storage_objects() if each.name == name][:1]
    found = dcmread(path)
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = STUDY, generate_uid(), generate_uid()
    found.PatientID, found.PatientName, found.SpecificCharacterSet = "BN1", "NGUYỄN^VĂN & AN", "ISO_IR 192"
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    return found


@pytest.fixture(scope="module")
def samples() -> dict[str, Dataset]:
    return {name: _sample(name) for name in FILES}


@pytest.fixture
def disc(archive: Archive, samples: dict[str, Dataset], tmp_path: Path) -> Iterator[Path]:
    """The disc, unpacked."""
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=120) as client:
        for sample in samples.values():
            buffer = BytesIO()
            sample.save_as(buffer)
            assert store(client, buffer.getvalue()).status_code == 200
        given = client.post("/links/disc", data={"study": STUDY})
        assert given.status_code == 200, given.text
        assert given.headers["content-type"] == "application/zip"
        told = client.get("/delivery/records", params={"study": STUDY}).json()["deliveries"]
        assert [each["mode"] for each in told] == ["dicom_media"]
    folder = tmp_path / "disc"
    with zipfile.ZipFile(BytesIO(given.content)) as file:
        assert file.testzip() is None
        file.extractall(folder)
    yield folder


def test_the_directory_leads_to_every_object(disc: Path, samples: dict[str, Dataset]) -> None:
    with file_set(disc / "DICOMDIR") as medium:
        found = {str(each.SOPInstanceUID): each for each in medium}
        assert found.keys() == {str(each.SOPInstanceUID) for each in samples.values()}
        for sample in samples.values():
            entry = found[str(sample.SOPInstanceUID)]
            given = dcmread(entry.path)
            assert (
                given.file_meta.TransferSyntaxUID == entry.ReferencedTransferSyntaxUIDInFile == ExplicitVRLittleEndian
            )
            assert given.SOPInstanceUID == sample.SOPInstanceUID
            assert entry.PatientName == "NGUYỄN^VĂN & AN"
            if "PixelData" in sample and sample.file_meta.TransferSyntaxUID.is_compressed is False:
                assert np.array_equal(given.pixel_array, sample.pixel_array)


def test_names_fit_every_file_system(disc: Path) -> None:
    for path in disc.rglob("*"):
        assert re.fullmatch(r"[A-Z0-9_]{1,8}(\.[A-Z0-9]{1,3})?", path.name), path
        assert len(path.relative_to(disc).parts) <= 8


def test_dcmtk_reads_the_files(disc: Path) -> None:
    files = [path for path in (disc / "DICOM").rglob("*") if path.is_file()]
    assert len(files) == len(FILES)
    for path in (disc / "DICOMDIR", *files):
        subprocess.run(["dcmdump", "+F", "-q", str(path)], check=True, stdout=subprocess.DEVNULL)


def test_the_page_shows_every_picture_and_the_report(disc: Path) -> None:
    page = (disc / "INDEX.HTM").read_text(encoding="utf-8")
    assert "NGUYỄN VĂN &amp; AN" in page
    listed = re.findall(r"IHE_PDI/[\w/]+\.JPG", page.replace("&#34;", '"'))
    assert len(set(listed)) == sum(FILES.values())
    for path in set(listed):
        with Image.open(disc / path) as picture:
            assert picture.format == "JPEG"
    readme = (disc / "README.TXT").read_bytes()
    assert readme.startswith(b"\xef\xbb\xbf")
    assert "INDEX.HTM" in readme.decode("utf-8-sig")


def test_it_can_be_scrolled_without_a_server(disc: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"file://{disc}/INDEX.HTM")
        stack = page.locator(".stack", has=page.locator("input[max='120']"))
        assert stack.locator("output").inner_text() == "61 / 120"
        before = stack.locator("img").get_attribute("src")
        stack.locator(".view").hover()
        page.mouse.wheel(0, 100)
        page.wait_for_function("document.querySelector(\"input[max='120']\").value === '62'")
        assert stack.locator("img").get_attribute("src") != before
        page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        browser.close()


def test_nothing_is_given_of_what_is_not_there(archive: Archive) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert client.post("/links/disc", data={"study": "1.2.3"}).status_code == 404
        assert client.post("/delivery/records", json={"study": "1.2.3", "mode": "film"}).status_code == 404
        assert client.post("/delivery/records", json={"study": "1.2.3", "mode": "fax"}).status_code == 400


def test_film_is_noted_by_hand(archive: Archive, samples: dict[str, Dataset]) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert store(client, part10(samples["CT_small.dcm"])).status_code == 200
        noted = client.post("/delivery/records", json={"study": STUDY, "mode": "film"})
        assert noted.status_code == 201
        assert [each["mode"] for each in noted.json()["deliveries"]] == ["film"]
