"""Retrieve transactions (PS3.18 10.4): media types, transfer syntaxes, statuses, as the clauses say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from PIL import Image

from archive.errors import InvalidQuery, NotAcceptable
from tests.corpus import storage_objects
from tests.web_server import dataset, part10, shared_web, store, store_files  # noqa: F401
from viewer_api.media_types import ANYTHING, Offer, accepted, choose, media_type_of_syntax

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NAMES = ("emri_small_jpeg_ls_lossless.dcm", "CT_small.dcm", "color3d_jpeg_baseline.dcm", "test-SR.dcm")
JLS, JPEG = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.50"
MPEG4 = "1.2.840.10008.1.2.4.102"


def named(name: str) -> Path:
    return next(path for path in storage_objects() if path.name == name)


def url(name: str) -> str:
    ds = pydicom.dcmread(named(name), stop_before_pixels=True)
    return f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> Iterator[httpx.Client]:  # noqa: F811
    store_files(shared_web, *map(named, NAMES))
    yield shared_web


def get(web: httpx.Client, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
    return web.get(path, headers={**({"Accept": accept} if accept is not None else {}), **headers})


# 8.7.3.5.2, 8.7.8: the transfer syntax of instances


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "multipart"),
        ("*/*", "multipart"),
        ("*", "multipart"),
        ('multipart/related; type="application/dicom"', "multipart"),
        ("multipart/related;type=application/dicom;transfer-syntax=1.2.840.10008.1.2.1", "multipart"),
        ("multipart/related", "multipart"),
        ("application/dicom", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        (
            "application/dicom; transfer-syntax=1.2.840.10008.1.2",
            "application/dicom; transfer-syntax=1.2.840.10008.1.2",
        ),
        ('application/dicom; transfer-syntax="*"', f"application/dicom; transfer-syntax={JLS}"),
        (f"application/dicom; transfer-syntax={JLS}", f"application/dicom; transfer-syntax={JLS}"),
        (
            f"application/dicom; transfer-syntax={JPEG}, application/dicom; transfer-syntax=*;q=0.1",
            f"application/dicom; transfer-syntax={JLS}",
        ),
        ("application/dicom;q=0.2, application/zip;q=0.9", "application/zip"),
        ("text/html, application/dicom;q=0.9", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ],
)
def test_8_7_instances_come_in_the_form_most_wanted(web: httpx.Client, accept: str | None, content_type: str) -> None:
    response = get(web, url(NAMES[0]), accept)
    assert response.status_code == 200
    given = response.headers["content-type"]
    if content_type == "multipart":
        assert given.startswith('multipart/related; type="application/dicom"; boundary=')
    else:
        assert given == content_type


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/dicom; transfer-syntax=" + JPEG, "application/dicom;q=0", "rubbish", "image/png"],
)
def test_8_7_what_cannot_be_given_is_406(web: httpx.Client, accept: str) -> None:
    response = get(web, url(NAMES[0]), accept)
    assert response.status_code == 406
    assert response.headers["content-type"] == "application/problem+json"


def test_8_3_3_1_the_accept_query_parameter_goes_before_the_header(web: httpx.Client) -> None:
    address = url(NAMES[1]) + "/metadata?accept=application/dicom+json"
    assert get(web, address, "text/html").headers["content-type"] == "application/dicom+json"
    assert get(web, url(NAMES[1]) + "?accept=application/dicom", "text/html").status_code == 200


def test_10_4_3_instances_that_cannot_be_given_are_left_out_with_206(web: httpx.Client) -> None:
    video = dataset(Rows=16, Columns=16, BitsAllocated=8, SamplesPerPixel=3, NumberOfFrames=2)
    video.add_new(0x7FE00010, "OB", pydicom.encaps.encapsulate([b"\x00\x00\x01\xba" * 8, b"more"]))
    video["PixelData"].is_undefined_length = True
    image = dataset(StudyInstanceUID=video.StudyInstanceUID, SeriesInstanceUID=video.SeriesInstanceUID)
    # Warned of: the frames of a video cannot be told apart.
    stored = store(web, part10(video, MPEG4), part10(image))
    assert "00081198" not in stored.json(), stored.json()
    study = f"/dicom-web/studies/{video.StudyInstanceUID}"
    explicit = get(web, study, "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert (explicit.status_code, explicit.content.count(b"DICM")) == (206, 1)
    # Without a syntax asked for, a video comes as it is stored rather than not at all, and says so.
    default = get(web, study)
    assert (default.status_code, default.content.count(b"DICM")) == (200, 2)
    assert f"application/dicom; transfer-syntax={MPEG4}".encode() in default.content
    one = f"{study}/series/{video.SeriesInstanceUID}/instances/{video.SOPInstanceUID}"
    stream = get(web, one + "/bulkdata/7FE00010", "video/mp4")
    assert (stream.headers["content-type"], stream.content) == ("video/mp4", b"\x00\x00\x01\xba" * 8 + b"more")
    assert get(web, one + "/thumbnail").headers["content-type"] == "image/png"
    # Table 8.7.4-1: a video is a rendered media type itself. Players ask for what they play.
    for accept in (None, "*/*", "video/*", "video/mp4"):
        rendered = get(web, one + "/rendered", accept)
        assert (rendered.headers["content-type"], rendered.content) == ("video/mp4", stream.content)
    part = web.get(one + "/rendered", headers={"Range": "bytes=30-33"})
    assert (part.status_code, part.content) == (206, b"\x01\xbamo")
    assert get(web, one + "/rendered", "image/jpeg").status_code == 406


# 10.4.1.1.2: frames


@pytest.mark.parametrize(
    ("accept", "part", "decoded"),
    [
        (None, "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", True),
        ("multipart/related; type=application/octet-stream", None, True),
        ('multipart/related; type="*/*"', None, True),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", None, False),
        ("multipart/related; type=image/jls", f"image/jls; transfer-syntax={JLS}", False),
        ("multipart/related; type=image/x-jls", f"image/jls; transfer-syntax={JLS}", False),
        (f'multipart/related; type="image/jls"; transfer-syntax={JLS}', None, False),
        ("multipart/related; type=image/jpeg, multipart/related; type=image/*;q=0.5", None, False),
        ("multipart/related; type=image/*; transfer-syntax=*", f"image/jls; transfer-syntax={JLS}", False),
    ],
)
def test_frames_come_decoded_or_as_stored(
    web: httpx.Client, accept: str | None, part: str | None, decoded: bool
) -> None:
    response = get(web, url(NAMES[0]) + "/frames/3", accept)
    assert response.status_code == 200
    head, body = response.content.split(b"\r\n\r\n", 1)
    if part is not None:
        assert f"Content-Type: {part}".encode() in head
    assert (len(body.rsplit(b"\r\n--", 1)[0]) == 64 * 64 * 2) is decoded


def test_one_frame_may_come_alone(web: httpx.Client) -> None:
    response = get(web, url(NAMES[2]) + "/frames/7", "image/jpeg")
    assert response.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG}"
    assert Image.open(io.BytesIO(response.content)).size == (640, 480)
    assert get(web, url(NAMES[2]) + "/frames/7,8", "image/jpeg").status_code == 406
    assert (
        get(web, url(NAMES[2]) + "/frames/7", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70").status_code == 406
    )


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        *((good, 200) for good in ("1", "1,2", "2-4", "10,1", "1%2C2")),
        *((beyond, 404) for beyond in ("11", "1,11", "9-11")),
        *((wrong, 400) for wrong in ("99999999999", "0", "x", "1,", "-1", "4-2", "1;2", "٣")),
        # A blank at the end of a path is not looked at, and without it this is no resource.
        ("%20", 404),
    ],
)
def test_10_4_1_1_2_frame_lists(web: httpx.Client, frames: str, status: int) -> None:
    assert get(web, url(NAMES[0]) + f"/frames/{frames}").status_code == status


@pytest.mark.parametrize("suffix", ["", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"])
def test_10_4_3_unknown_is_404_and_no_uid_is_400(web: httpx.Client, suffix: str) -> None:
    study, rest = url(NAMES[0]).split("/series/")
    assert get(web, f"/dicom-web/studies/1.2.3.9/series/{rest}{suffix}").status_code == 404
    assert get(web, f"{study}/series/1.2.3/instances/1.2.3{suffix}").status_code == 404
    assert get(web, url(NAMES[0]) + f"x{suffix}").status_code == 400
    assert get(web, f"/dicom-web/studies/{'1' * 65}/series/{rest}{suffix}").status_code == 400


# 10.4.1.1.4: metadata


def test_metadata_says_when_it_has_not_changed(web: httpx.Client) -> None:
    address = url(NAMES[1]) + "/metadata"
    first = get(web, address)
    again = get(web, address, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert get(web, address, **{"If-None-Match": 'W/"other"'}).status_code == 200


def test_metadata_of_a_study_is_in_order_and_may_be_compressed(web: httpx.Client) -> None:
    study, series = "1.2.3.77", "1.2.3.77.1"
    objects = [
        dataset(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=f"{series}.{n}", InstanceNumber=n)
        for n in range(40, 0, -1)
    ]
    assert store(web, *map(part10, objects)).status_code == 200
    for path in (f"/dicom-web/studies/{study}", f"/dicom-web/studies/{study}/series/{series}"):
        response = get(web, path + "/metadata", "application/json")
        assert response.headers["content-type"] == "application/json"
        assert response.headers["content-encoding"] == "gzip"
        assert [each["00200013"]["Value"][0] for each in response.json()] == list(range(1, 41))
    assert response.json()[0]["00100010"]["Value"] == [{"Alphabetic": "NGUYỄN^VĂN AN"}]


# 10.4.1.1.3, 8.3.5: rendered


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        ("/rendered", "*/*", "image/jpeg"),
        ("/rendered", "image/png", "image/png"),
        ("/rendered", "image/gif, image/png;q=0.5", "image/gif"),
        ("/rendered?accept=image/png", "image/jpeg", "image/png"),
        ("/frames/120/rendered", "image/*", "image/jpeg"),
        ("/thumbnail", "image/png", "image/png"),
        ("/frames/2/thumbnail", "*/*", "image/jpeg"),
    ],
)
def test_rendered_media_types(web: httpx.Client, path: str, accept: str, content_type: str) -> None:
    response = get(web, url(NAMES[2]) + path, accept)
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert Image.open(io.BytesIO(response.content)).width in (640, 256)


def test_several_rendered_frames_come_in_parts(web: httpx.Client) -> None:
    response = get(web, url(NAMES[2]) + "/frames/1,60/rendered", 'multipart/related; type="image/png"')
    assert response.headers["content-type"].startswith('multipart/related; type="image/png"')
    assert response.content.count(b"\x89PNG") == 2
    assert get(web, url(NAMES[2]) + "/frames/1,60/rendered", "image/png").status_code == 406
    study = url(NAMES[2]).split("/series/")[0]
    assert get(web, study + "/rendered").content.count(b"Content-Type: image/jpeg") >= 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("window=40,400,linear", 200),
        ("window=40,400", 200),
        ("window=40,400,sigmoid&viewport=100,100", 200),
        ("window=40,0,linear", 400),
        ("window=40", 400),
        ("window=a,b", 400),
        ("window=1,2,cubic", 400),
        ("viewport=100,100,10,10,50,50", 200),
        ("viewport=100,100,,,,", 200),
        ("viewport=0,100", 400),
        ("viewport=100", 400),
        ("viewport=nan,inf", 400),
        ("viewport=100000,1", 400),
        ("viewport=100,100,900,900,10,10", 400),
        ("viewport=60000,60000", 406),
        ("quality=1", 200),
        ("quality=0", 400),
        ("quality=101", 400),
        ("quality=best", 400),
        ("annotation=patient&unknown=1", 200),
    ],
)
def test_8_3_5_query_parameters(web: httpx.Client, query: str, status: int) -> None:
    assert get(web, url(NAMES[1]) + f"/rendered?{query}").status_code == status


def test_a_window_changes_the_picture(web: httpx.Client) -> None:
    narrow, wide = (get(web, url(NAMES[1]) + f"/rendered?window=0,{width},linear").content for width in (10, 4000))
    assert narrow != wide


def test_what_has_no_image_is_406_and_has_a_placeholder(web: httpx.Client) -> None:
    for suffix in ("/rendered", "/frames/1/rendered"):
        response = get(web, url(NAMES[3]) + suffix)
        assert response.status_code == 406
        assert "Comprehensive SR has no image" in response.json()["detail"]
    for accept, form in (("*/*", "PNG"), ("image/jpeg", "JPEG")):
        thumbnail = get(web, url(NAMES[3]) + "/thumbnail", accept)
        assert Image.open(io.BytesIO(thumbnail.content)).format == form


def test_10_4_1_1_5_thumbnails_are_small_private_and_revalidated(web: httpx.Client) -> None:
    instance = url(NAMES[1])
    series = instance.split("/instances/")[0]
    for address in (instance, series, series.split("/series/")[0], instance + "/frames/1"):
        response = get(web, address + "/thumbnail")
        assert max(Image.open(io.BytesIO(response.content)).size) == 256
        assert response.headers["cache-control"].startswith("private")
        again = get(web, address + "/thumbnail", **{"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        small = get(web, address + "/thumbnail?viewport=32,32")
        assert max(Image.open(io.BytesIO(small.content)).size) == 32
        assert small.headers["etag"] != response.headers["etag"]


# 10.4.1.1.5: bulk data


def test_bulk_data_by_range(web: httpx.Client) -> None:
    address, pixels = url(NAMES[1]) + "/bulkdata/7FE00010", pydicom.dcmread(named(NAMES[1])).PixelData
    for header, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(pixels)),
        ("bytes=-5", len(pixels) - 5, len(pixels)),
        ("bytes=30000-99999999", 30000, len(pixels)),
    ):
        response = get(web, address, "application/octet-stream", Range=header)
        assert (response.status_code, response.content) == (206, pixels[start:end])
        assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(pixels)}"
    assert get(web, address, "application/octet-stream", Range=f"bytes={len(pixels)}-").status_code == 416
    assert get(web, address, "application/octet-stream", Range="bytes=0-1,x").content == pixels


@pytest.mark.parametrize("path", ["00100010/0", "0040A730/0/00080100/0", "99990001", "xyz", "0040A730/x/00080100", ""])
def test_bulk_data_that_is_not_there_is_404(web: httpx.Client, path: str) -> None:
    assert get(web, url(NAMES[3]) + f"/bulkdata/{path}").status_code == 404


def test_a_document_comes_as_what_it_is_but_never_as_a_page(web: httpx.Client) -> None:
    for mime, given in (("application/pdf", "application/pdf"), ("text/html", None)):
        document = dataset(
            SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
            Modality="DOC",
            MIMETypeOfEncapsulatedDocument=mime,
            EncapsulatedDocument=b"%PDF-1.4 " + b"x" * 2000 + b" ",
        )
        assert store(web, part10(document)).status_code == 200
        study = f"/dicom-web/studies/{document.StudyInstanceUID}/series/{document.SeriesInstanceUID}"
        address = f"{study}/instances/{document.SOPInstanceUID}/bulkdata/00420011"
        response = get(web, address, mime)
        assert response.status_code == (200 if given else 406)
        if given:
            assert (response.headers["content-type"], response.content[:4]) == (given, b"%PDF")
        assert get(web, address).headers["content-type"] == "application/octet-stream"


# 8.7.1, RFC 9110 12.5.1: what is accepted


def test_ranges_are_ordered_by_quality_then_by_how_specific_they_are() -> None:
    ranges = accepted('image/*;q=0.5, */*;q=0.1, image/png;q=0.5, multipart/related; type="image/jpeg", a/b;q=0')
    assert [each.media_type for each in ranges] == ["image/jpeg", "image/png", "image/*", "*/*"]
    assert accepted(None) == accepted("") == [ANYTHING]


def test_quoted_values_may_hold_separators() -> None:
    (one,) = accepted('multipart/related; type="application/dicom"; x="a,b;c=\\"d"; transfer-syntax="*"')
    assert (one.media_type, one.transfer_syntax, one.parameters["x"]) == ("application/dicom", "*", 'a,b;c="d')


def test_an_endless_accept_header_is_refused() -> None:
    with pytest.raises(InvalidQuery):
        accepted("a/b," * 5000)


def test_the_first_offer_that_is_wanted_most_is_chosen() -> None:
    offers = (Offer("image/jpeg", False), Offer("image/png", False), Offer("image/png", True))
    assert choose(accepted("*/*"), offers)[0] == offers[0]
    assert choose(accepted("image/*;q=0.1, image/png"), offers)[0] == offers[1]
    assert choose(accepted("multipart/related"), offers)[0] == offers[2]
    with pytest.raises(NotAcceptable, match='multipart/related; type="image/png"'):
        choose(accepted("text/plain"), offers)


def test_every_syntax_has_a_media_type() -> None:
    assert media_type_of_syntax(JLS) == "image/jls"
    assert media_type_of_syntax("1.2.840.10008.1.2.4.201") == "image/jphc"
    assert media_type_of_syntax("1.2.840.10008.1.2.1") == "application/octet-stream"
