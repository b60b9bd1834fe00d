"""Instances and frames compressed without loss on request (PS3.18 8.7.3.4, 8.7.3.5, 9.1.2.3.2, 10.4.3)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from tests.conformance.test_ps3_18_10_4_retrieve import get, named, url
from tests.factories import ct_image
from tests.web_server import part10, shared_web, store, store_files  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CT, MULTI, ONE_BIT, REPORT = "CT_small.dcm", "emri_small_jpeg_ls_lossless.dcm", "liver.dcm", "test-SR.dcm"
TYPES = {
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
}
JLS, RLE = TYPES["image/jls"], TYPES["image/dicom-rle"]


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    store_files(shared_web, *map(named, (CT, MULTI, ONE_BIT, REPORT)))
    yield shared_web


def parts(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Content type and content of the parts of a response."""
    assert response.status_code in (200, 206), response.text
    boundary = response.headers["content-type"].split("boundary=")[1].split(";")[0].encode()
    given = []
    for piece in response.content.split(b"--" + boundary)[1:-1]:
        head, content = piece.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().strip().splitlines())
        given.append((headers["Content-Type"], content[:-2]))
    return given


def decoded(stream: bytes, syntax: str, like: pydicom.Dataset) -> np.ndarray:
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(ds, name, like[name].value)
    ds.PhotometricInterpretation = like.PhotometricInterpretation
    ds.PixelData = pydicom.encaps.encapsulate([stream])
    return get_decoder(UID(syntax)).as_array(ds, index=0)[0]


@pytest.mark.parametrize(("kind", "syntax"), TYPES.items())
def test_8_7_3_5_an_instance_in_the_transfer_syntax_asked_for(web: httpx.Client, kind: str, syntax: str) -> None:
    source = pydicom.dcmread(named(CT))
    response = get(web, url(CT), f"application/dicom; transfer-syntax={syntax}")
    assert response.status_code == 200
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    assert int(response.headers["content-length"]) == len(response.content)
    ds = pydicom.dcmread(io.BytesIO(response.content))
    assert ds.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(ds.pixel_array, source.pixel_array)
    by_uri = {
        "requestType": "WADO",
        "studyUID": source.StudyInstanceUID,
        "seriesUID": source.SeriesInstanceUID,
        "objectUID": source.SOPInstanceUID,
        "contentType": "application/dicom",
        "transferSyntax": syntax,
    }
    assert web.get("/dicom-web/wado", params=by_uri).content == response.content


@pytest.mark.parametrize(("kind", "syntax"), TYPES.items())
@pytest.mark.parametrize("name", [CT, MULTI])
@pytest.mark.parametrize("form", ["{kind}", "{kind}; transfer-syntax={syntax}", "*/*; transfer-syntax={syntax}"])
def test_8_7_3_4_a_frame_in_the_media_type_asked_for(
    web: httpx.Client, name: str, kind: str, syntax: str, form: str
) -> None:
    source = pydicom.dcmread(named(name))
    number = int(source.get("NumberOfFrames", 1))
    wanted = form.format(kind=kind, syntax=syntax)
    if not wanted.startswith("*"):
        wanted = 'multipart/related; type="{}"{}'.format(*wanted.partition(";")[::2]).replace('" ', '"; ')
    ((content_type, stream),) = parts(get(web, f"{url(name)}/frames/{number}", wanted))
    assert content_type == f"{kind}; transfer-syntax={syntax}"
    np.testing.assert_array_equal(decoded(stream, syntax, source), pixel_array(source, index=number - 1))


def test_8_7_3_4_frames_alone_and_as_octets(web: httpx.Client) -> None:
    source = pydicom.dcmread(named(CT))
    alone = get(web, url(CT) + "/frames/1", "image/jls")
    assert alone.headers["content-type"] == f"image/jls; transfer-syntax={JLS}"
    assert int(alone.headers["content-length"]) == len(alone.content)
    np.testing.assert_array_equal(decoded(alone.content, JLS, source), source.pixel_array)
    octets = f'multipart/related; type="application/octet-stream"; transfer-syntax={JLS}'
    ((content_type, stream),) = parts(get(web, url(CT) + "/frames/1", octets))
    assert (content_type, stream) == (f"application/octet-stream; transfer-syntax={JLS}", alone.content)


def test_8_7_1_the_next_wish_counts_where_the_first_cannot_be(web: httpx.Client) -> None:
    one_bit = url(ONE_BIT)
    for accept in ("image/jls", f"application/octet-stream; transfer-syntax={RLE}", "image/jpeg"):
        assert get(web, one_bit + "/frames/1", accept).status_code == 406
    both = get(web, one_bit + "/frames/1", "image/jls, application/octet-stream;q=0.5")
    assert both.headers["content-type"].startswith("application/octet-stream")
    plain = f"application/dicom; transfer-syntax={JLS}, application/dicom; transfer-syntax=1.2.840.10008.1.2;q=0.5"
    for name in (ONE_BIT, REPORT):
        assert get(web, url(name), f"application/dicom; transfer-syntax={JLS}").status_code == 406
        given = get(web, url(name), plain)
        assert given.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2"


def test_10_4_3_what_cannot_be_compressed_is_left_out_with_206(web: httpx.Client) -> None:
    """A study of an image and an image of 32 bits: known before a byte is given, whatever is asked first."""
    first = ct_image()
    second = ct_image(
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber=2
    )
    values = np.frombuffer(second.PixelData, "<i2").astype("<i4")
    second.BitsAllocated, second.PixelData = 32, values.tobytes()
    assert store(web, part10(first), part10(second)).status_code == 200
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={JLS}'
    response = get(web, f"/dicom-web/studies/{first.StudyInstanceUID}", accept)
    assert response.status_code == 206
    ((content_type, file),) = parts(response)
    assert content_type == f"application/dicom; transfer-syntax={JLS}"
    assert pydicom.dcmread(io.BytesIO(file)).SOPInstanceUID == first.SOPInstanceUID


def test_nothing_is_compressed_with_loss(web: httpx.Client) -> None:
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"):
        assert get(web, url(CT), f"application/dicom; transfer-syntax={syntax}").status_code == 406
        accept = f"application/octet-stream; transfer-syntax={syntax}"
        assert get(web, url(CT) + "/frames/1", accept).status_code == 406
