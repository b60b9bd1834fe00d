"""Range requests (RFC 9110 13.1.5, 14), and content codings (12.5.3), as the clauses say."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from fastapi import HTTPException
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian

from tests.corpus import storage_objects
from tests.web_server import dataset, part10, shared_web, store, store_files  # noqa: F401
from viewer_api.media_types import takes_gzip
from viewer_api.ranges import MOST_RANGES, parse

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CT, COMPRESSED = "CT_small.dcm", "emri_small_jpeg_ls_lossless.dcm"
PATHS = {path.name: path for path in storage_objects() if path.name in (CT, COMPRESSED)}
OCTETS = {"Accept": "application/octet-stream"}
DICOM = {"Accept": "application/dicom; transfer-syntax=*"}


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    store_files(shared_web, *PATHS.values())
    yield shared_web


def url(ds: pydicom.Dataset) -> str:
    return f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def read(name: str) -> pydicom.Dataset:
    return pydicom.dcmread(PATHS[name])


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("bytes=5-9999", [(5, 100)]),
        ("BYTES=1-2", [(1, 3)]),
        ("bytes=50-59,0-9, -5", [(50, 60), (0, 10), (95, 100)]),
        ("bytes=,0-9,,", [(0, 10)]),
        ("bytes=0-9,200-300", [(0, 10)]),
        # Ignored: other units, what is no range, and more than there is.
        (None, None),
        ("", None),
        ("lines=1-2", None),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=0-9,x", None),
        ("bytes=0-99,0-99", None),
        ("bytes=" + ",".join(["0-0"] * (MOST_RANGES + 1)), None),
        ("bytes=" + "9" * 19 + "-", None),
    ],
)
def test_14_2_a_range_is_parsed_or_ignored(header: str | None, found: object) -> None:
    assert parse(header, 100) == found


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_15_5_17_what_is_not_there_cannot_be_asked_for(header: str, size: int) -> None:
    with pytest.raises(HTTPException) as raised:
        parse(header, size)
    assert raised.value.status_code == 416
    assert raised.value.headers == {"Content-Range": f"bytes */{size}"}


def byteranges(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", response.headers["content-type"])
    assert boundary is not None
    assert len(response.content) == int(response.headers["content-length"])
    pieces = response.content.split(f"--{boundary[1]}".encode())
    assert pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        named = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n"))
        assert named["Content-Type"]
        found.append((named["Content-Range"], body.removesuffix(b"\r\n")))
    return found


def test_14_6_several_ranges_come_in_parts(web: httpx.Client) -> None:
    ds = read(CT)
    pixels, address = ds.PixelData, url(ds) + "/bulkdata/7FE00010"
    response = web.get(address, headers={**OCTETS, "Range": "bytes=100-199, 0-9, -4"})
    assert response.status_code == 206
    size = len(pixels)
    assert byteranges(response) == [
        (f"bytes 100-199/{size}", pixels[100:200]),
        (f"bytes 0-9/{size}", pixels[:10]),
        (f"bytes {size - 4}-{size - 1}/{size}", pixels[-4:]),
    ]


def test_14_2_a_download_of_an_object_goes_on_where_it_broke_off(web: httpx.Client) -> None:
    address = url(read(CT))
    whole = web.get(address, headers=DICOM)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.content[128:132] == b"DICM"
    tag, size = whole.headers["etag"], len(whole.content)
    rest = web.get(address, headers={**DICOM, "Range": "bytes=1000-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    assert web.get(address, headers={**DICOM, "If-None-Match": tag}).status_code == 304
    assert web.get(address, headers={**DICOM, "Range": f"bytes={size}-"}).status_code == 416


@pytest.mark.parametrize("condition", ['"other"', "Sun, 22 Nov 2026 12:00:00 GMT", "weak"])
def test_13_1_5_if_range_of_something_else_gives_everything(web: httpx.Client, condition: str) -> None:
    address = url(read(CT))
    whole = web.get(address, headers=DICOM)
    condition = "W/" + whole.headers["etag"] if condition == "weak" else condition
    again = web.get(address, headers={**DICOM, "Range": "bytes=0-9", "If-Range": condition})
    assert (again.status_code, again.content) == (200, whole.content)


def test_14_3_what_is_in_parts_says_that_it_has_no_ranges(web: httpx.Client) -> None:
    ds = read(CT)
    for path, accept in (
        ("", 'multipart/related; type="application/dicom"'),
        ("", "application/zip"),
        ("/frames/1", 'multipart/related; type="application/octet-stream"'),
        ("/bulkdata/7FE00010", 'multipart/related; type="application/octet-stream"'),
        ("/rendered", 'multipart/related; type="image/png"'),
        ("/metadata", "application/dicom+json"),
    ):
        response = web.get(url(ds) + path, headers={"Accept": accept, "Range": "bytes=0-9"})
        assert (response.status_code, response.headers["accept-ranges"]) == (200, "none"), path
        assert len(response.content) > 1000


def test_a_frame_has_ranges(web: httpx.Client) -> None:
    ds = read(CT)
    address = url(ds) + "/frames/1"
    whole = web.get(address, headers=OCTETS)
    part = web.get(address, headers={**OCTETS, "Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, ds.PixelData[2:6])
    assert web.get(address, headers={**OCTETS, "If-None-Match": whole.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("header", ["bytes=1-2", "bytes=3-8", "bytes=4095-4096", "bytes=-3", "bytes=0-"])
def test_words_that_are_turned_round_have_ranges(web: httpx.Client, header: str) -> None:
    size = 9000
    values = np.arange(size // 2, dtype="<u2")
    image = dataset(Rows=10, Columns=450, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelData = values.astype(">u2").tobytes()
    image["PixelData"].VR = "OW"
    assert store(web, big_endian(image)).status_code == 200
    response = web.get(url(image) + "/bulkdata/7FE00010", headers={**OCTETS, "Range": header})
    ((start, end),) = parse(header, size) or ()
    assert response.content == values.tobytes()[start:end]


def big_endian(image: pydicom.Dataset) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = False, False
    write_dataset(body, image)
    meta = part10(pydicom.Dataset(), ExplicitVRBigEndian)
    return meta + body.getvalue()


def test_the_fragments_of_a_video_are_one_stream(web: httpx.Client) -> None:
    pieces = [bytes([number]) * (2 * number) for number in range(1, 200)]
    pieces.insert(50, b"x" * 40_000)
    video = dataset(Rows=16, Columns=16, BitsAllocated=8, SamplesPerPixel=3, NumberOfFrames=2)
    video.add_new(0x7FE00010, "OB", encapsulate(pieces))
    video["PixelData"].is_undefined_length = True
    assert store(web, part10(video, "1.2.840.10008.1.2.4.102")).status_code == 202
    stream, address = b"".join(pieces), url(video) + "/bulkdata/7FE00010"
    whole = web.get(address, headers={"Accept": "video/mp4"})
    assert (whole.content, whole.headers["content-length"]) == (stream, str(len(stream)))
    for start, end in ((0, 2), (1, 7), (2000, 45_000), (len(stream) - 3, len(stream))):
        part = web.get(address, headers={"Accept": "video/mp4", "Range": f"bytes={start}-{end - 1}"})
        assert (part.status_code, part.content) == (206, stream[start:end])


def test_frames_that_are_decoded_have_ranges(web: httpx.Client) -> None:
    address = url(read(COMPRESSED)) + "/bulkdata/7FE00010"
    whole = web.get(address, headers=OCTETS)
    frame = len(whole.content) // 10
    for start, end in ((0, 1), (frame - 1, frame + 1), (3 * frame, 4 * frame), (2 * frame + 5, 6 * frame - 5)):
        part = web.get(address, headers={**OCTETS, "Range": f"bytes={start}-{end - 1}"})
        assert (part.status_code, part.content) == (206, whole.content[start:end])


# 12.5.3: content codings


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, gzip;q=0.1", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0, gzip", True),
        ("gzipped", False),
        ("identity", False),
        ("", False),
    ],
)
def test_12_5_3_gzip_is_given_to_whoever_takes_it(web: httpx.Client, header: str, taken: bool) -> None:
    assert takes_gzip(header) == taken
    for path in ("/openapi.json", f"{url(read(COMPRESSED))}/metadata"):
        with web.stream("GET", path, headers={"Accept-Encoding": header}) as response:
            assert (response.headers.get("content-encoding") == "gzip") == taken
            assert "accept-encoding" in response.headers["vary"].lower()
            raw = b"".join(response.iter_raw())
        assert raw.startswith(b"\x1f\x8b") == taken
        assert (gzip.decompress(raw) if taken else raw)[:1] in (b"{", b"[")


def test_5_3_a_header_that_is_repeated_is_a_list(web: httpx.Client) -> None:
    headers = [("Accept-Encoding", "identity"), ("Accept-Encoding", "gzip;q=0.5")]
    assert web.get("/openapi.json", headers=headers).headers["content-encoding"] == "gzip"


def test_13_1_2_frames_in_parts_are_not_given_again_to_whom_has_them(web: httpx.Client) -> None:
    """Viewers ask in this form; what they have of a study is not sent again when it is opened again."""
    address = url(read(COMPRESSED)) + "/frames/1"
    parts = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    first = web.get(address, headers=parts)
    tag = first.headers["etag"]
    assert tag.startswith("W/")
    assert (first.headers["cache-control"], first.headers["vary"]) == ("private, no-cache", "Accept")
    for named in (tag, f'"other", {tag}', "*"):
        again = web.get(address, headers={**parts, "If-None-Match": named})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "private, no-cache"
    # Another frame, the same as a single part, and decoded are something else.
    for other, headers in (
        (address[:-1] + "2", parts),
        (address + ",2", parts),
        (address, {"Accept": "application/octet-stream; transfer-syntax=*"}),
        (address, {"Accept": 'multipart/related; type="application/octet-stream"'}),
    ):
        assert web.get(other, headers={**headers, "If-None-Match": tag}).status_code == 200
