"""STOW-RS of files that lack their preamble or file meta information: stored where they can be told, refused clearly."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from archive.errors import CannotParse
from archive.standard.file_format import NeedMoreBytes
from archive.standard.received_file import read_received
from tests.web_server import dataset, multipart, part10, shared_web, store  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
REFERENCED, FAILED, NAMELESS = "00081199", "00081198", "0008119A"


@pytest.fixture
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    yield shared_web


def encoded(ds: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def compressed() -> Dataset:
    ds = dataset(Rows=4, Columns=4, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, SamplesPerPixel=1)
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.add_new(0x7FE00010, "OB", encapsulate([b"\xff\xd8\xff\xf7 no image \xff\xd9"]))
    ds["PixelData"].is_undefined_length = True
    return ds


def given(web: httpx.Client, ds: Dataset, syntax: str) -> bytes:
    """The dataset as it is stored, and as of which transfer syntax."""
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    answer = web.get(path, headers=AS_STORED)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    file = pydicom.dcmread(DicomBytesIO(answer.content))
    assert file.file_meta.TransferSyntaxUID == syntax
    assert file.SOPInstanceUID == ds.SOPInstanceUID
    return answer.content


def post(web: httpx.Client, body: bytes, path: str = "/dicom-web/studies", **headers: str) -> httpx.Response:
    return web.post(path, content=body, headers={"Content-Type": "application/dicom", **headers})


@pytest.mark.parametrize("left_out", [128, 132])
def test_without_preamble_a_file_is_as_good_as_any(web: httpx.Client, left_out: int) -> None:
    ds = dataset()
    answer = post(web, part10(ds)[left_out:])
    assert answer.status_code == 200, answer.text
    assert given(web, ds, ExplicitVRLittleEndian).endswith(encoded(ds, ExplicitVRLittleEndian))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("one_study", [False, True])
def test_a_dataset_alone_is_stored_as_it_came_and_this_is_said(web: httpx.Client, syntax: str, one_study: bool) -> None:
    ds = dataset()
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}" if one_study else "/dicom-web/studies"
    answer = post(web, encoded(ds, syntax), path)
    assert answer.status_code == 202, answer.text
    (item,) = answer.json()[REFERENCED]["Value"]
    assert item["00081196"]["Value"] == [0xB007]
    assert given(web, ds, syntax).endswith(encoded(ds, syntax))


def test_in_parts_each_is_taken_for_what_it_is(web: httpx.Client) -> None:
    objects = [dataset() for _ in range(4)]
    bare = [encoded(objects[0], ImplicitVRLittleEndian), encoded(objects[1], ExplicitVRLittleEndian)]
    answer = store(web, bare[0], part10(objects[2]), bare[1], part10(objects[3])[128:])
    assert answer.status_code == 202
    assert len(answer.json()[REFERENCED]["Value"]) == 4


def test_the_transfer_syntax_beside_the_file_is_believed(web: httpx.Client) -> None:
    for announce in (f"application/dicom; transfer-syntax={JPEGLSLossless}",):
        ds = compressed()
        body = encoded(ds, ExplicitVRLittleEndian)
        answer = post(web, body, **{"Content-Type": announce})
        assert answer.status_code == 200, answer.text
        assert given(web, ds, JPEGLSLossless).endswith(body)
        ds = compressed()
        body = encoded(ds, ExplicitVRLittleEndian)
        parts = multipart(body, content_type=announce)
        answer = post(
            web, parts, **{"Content-Type": 'multipart/related; type="application/dicom"; boundary=part-boundary'}
        )
        assert answer.status_code == 200, answer.text
        assert given(web, ds, JPEGLSLossless).endswith(body)


def test_compressed_pixels_without_a_transfer_syntax_are_refused(web: httpx.Client) -> None:
    ds = compressed()
    for announce in ("application/dicom", "application/dicom; transfer-syntax=*"):
        answer = post(web, encoded(ds, ExplicitVRLittleEndian), **{"Content-Type": announce})
        assert answer.status_code == 409
        (item,) = answer.json()[NAMELESS]["Value"]
        assert "compressed" in item["00000902"]["Value"][0]
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}"
    assert web.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"GIF89a" + bytes(300),
        b"\x08\x00",
        b"\x08\x00\x05\x00CS",
        b"\x10\x00\x10\x00PN\x04\x00A^B ",
        b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff",
        b"DICM\x02\x00",
        b"\x08\x00\x18\x00UI\x04\x001.2\x00" * 40,
        encoded(dataset(), ExplicitVRLittleEndian)[:-3],
        encoded(dataset(SOPInstanceUID=None), ExplicitVRLittleEndian),
    ],
)
def test_what_is_no_object_is_refused(web: httpx.Client, body: bytes) -> None:
    answer = post(web, body)
    assert answer.status_code == 409
    assert REFERENCED not in answer.json()


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"])
def test_files_of_others_without_meta_information(web: httpx.Client, name: str) -> None:
    path = get_testdata_file(name)
    assert path is not None
    with open(path, "rb") as file:
        content = file.read()
    answer = post(web, content)
    assert answer.status_code in (202, 409), answer.text
    # Refused only for what they lack: these are no whole objects.
    if answer.status_code == 409:
        (item,) = answer.json().get(NAMELESS, answer.json().get(FAILED))["Value"]
        assert "UID" in item["00000902"]["Value"][0]


@pytest.mark.parametrize("cut", [128, 132])
def test_a_head_that_comes_in_pieces_is_waited_for(cut: int) -> None:
    file = part10(dataset())
    whole = read_received(file[cut:])
    assert whole.dataset_offset == read_received(file).dataset_offset - cut
    for length in range(len(file) - cut):
        try:
            found = read_received(file[cut : cut + length])
        except NeedMoreBytes as need:
            assert length < need.minimum <= len(file)
        else:
            assert found == whole


def test_the_end_is_the_end() -> None:
    for head in (b"", b"\x08\x00\x18", b"DICM\x02\x00\x10\x00UI\x40\x00", b"\x02\x00\x10\x00"):
        with pytest.raises(CannotParse):
            read_received(head, at_end=True)
