"""What is clear is taken, however it is written: by viewers, gateways and scripts that read the standard in a hurry."""

from __future__ import annotations

import io
import socket
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.web_server import BOUNDARY, dataset, multipart, part10, shared_web, store  # noqa: F401

STUDY = "1.2.826.55"
SERIES = f"/studies/{STUDY}/series/{STUDY}.1"
INSTANCE = f"{SERIES}/instances/{STUDY}.1.1"
DICOM, JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"


@pytest.fixture(scope="module")
def filled(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    pixels = {
        "Rows": 4,
        "Columns": 4,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    made = dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.1", **pixels)
    made.add_new(0x7FE00010, "OB", bytes(range(16)))
    assert store(shared_web, part10(made)).status_code == 200
    return shared_web


def get(client: httpx.Client, path: str, accept: str | None = None) -> httpx.Response:
    headers = {} if accept is None else {"Accept": accept}
    response = client.get(f"/dicom-web{path}", headers=headers)
    assert response.status_code == 200, (path, accept, response.text)
    return response


# -- what is accepted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/studies", f"{SERIES}/metadata", f"/studies/{STUDY}/instances", "/workitems"])
@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("*", JSON),
        ("application/*", JSON),
        ("application/json", "application/json"),
        ("application/dicom+json", JSON),
        ("Application/DICOM+JSON", JSON),
        ("application/dicom+json;charset=utf-8", JSON),
        ("application/dicom+json; profile=x; odd", JSON),
        ("application/dicom+json;q=1.0;level=1", JSON),
        ("application/dicom+json,", JSON),
        (",, application/dicom+json", JSON),
        ("application/dicom+json; q=high", JSON),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.9, application/dicom+json;q=0.8", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.1", JSON),
        ("nonsense, application/json", "application/json"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        ("multipart/related; type=application/dicom+xml", "multipart/related"),
        ('multipart/related;type="application/dicom+xml"', "multipart/related"),
        ("multipart/related; type='application/dicom+xml', */*;q=0.1", None),
    ],
)
def test_datasets_come_however_they_are_asked_for(
    filled: httpx.Client, path: str, accept: str | None, given: str | None
) -> None:
    if path == "/workitems" and given == "multipart/related":
        return  # there is none, so there is no part
    response = get(filled, path, accept)
    assert given is None or response.headers["content-type"].partition(";")[0] == given


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ('multipart/related; type="application/dicom"', "multipart/related"),
        ("multipart/related; type=application/dicom", "multipart/related"),
        ("multipart/related;type=application/dicom;transfer-syntax=*", "multipart/related"),
        ('multipart/related; transfer-syntax="*"; type="application/dicom"', "multipart/related"),
        ('multipart/related; type="application/dicom"; boundary=x', "multipart/related"),
        ("multipart/related", "multipart/related"),
        ("Multipart/Related; Type=Application/DICOM", "multipart/related"),
        ("multipart/*", "multipart/related"),
        ("*/*", "multipart/related"),
        (None, "multipart/related"),
        ("application/dicom", DICOM),
        ("application/dicom; transfer-syntax=*", DICOM),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", DICOM),
        ("application/dicom; transfer-syntax='1.2.840.10008.1.2.1', */*", None),
        ("application/dicom;transfer-syntax=1.2.840.10008.1.2.1;odd=1", DICOM),
    ],
)
def test_an_instance_comes_however_it_is_asked_for(filled: httpx.Client, accept: str | None, given: str | None) -> None:
    response = get(filled, INSTANCE, accept)
    assert given is None or response.headers["content-type"].partition(";")[0] == given
    assert b"DICM" in response.content


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ('multipart/related; type="application/octet-stream"', "multipart/related"),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", "multipart/related"),
        ("multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", "multipart/related"),
        ("application/octet-stream", OCTETS),
        ("application/octet-stream; transfer-syntax=*", OCTETS),
        ("*/*", "multipart/related"),
        ("*/*;transfer-syntax=*", "multipart/related"),
        (None, "multipart/related"),
        (
            "multipart/related; type=image/jphc; transfer-syntax=1.2.840.10008.1.2.4.96, "
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            "multipart/related",
        ),
    ],
)
def test_a_frame_comes_however_it_is_asked_for(filled: httpx.Client, accept: str | None, given: str) -> None:
    response = get(filled, f"{INSTANCE}/frames/1", accept)
    assert response.headers["content-type"].partition(";")[0] == given
    assert bytes(range(16)) in response.content


@pytest.mark.parametrize(
    "query",
    [
        "accept=application/json",
        "accept=application/dicom%2Bjson",
        "accept=application/dicom+json",
        "Accept=*/*",
        "accept=",
    ],
)
def test_the_accept_parameter_however_it_is_encoded(filled: httpx.Client, query: str) -> None:
    assert get(filled, f"/studies?{query}").json()


# -- addresses ---------------------------------------------------------------------------------------------------------

SLASHES = [
    "/studies/",
    "//studies",
    "//studies//",
    f"/studies//{STUDY}/series",
    f"{SERIES}/metadata/",
    f"{SERIES}//metadata",
]


@pytest.mark.parametrize("path", [*SLASHES, f"{INSTANCE}/", f"{INSTANCE}/frames/1/", f"{INSTANCE}/rendered/", "/wado/?requestType=WADO"
    f"&studyUID={STUDY}&seriesUID={STUDY}.1&objectUID={STUDY}.1.1", "/studies/?limit=1"])  # fmt: skip
def test_slashes_too_many(filled: httpx.Client, path: str) -> None:
    """Answered at once: not every client follows a redirection, and none likes to send its images twice."""
    response = filled.get(f"/dicom-web{path}", follow_redirects=False)
    assert response.status_code == 200, response.text


def test_slashes_too_many_where_something_is_sent(filled: httpx.Client) -> None:
    for path in ("/dicom-web/studies/", "/dicom-web//studies", f"//dicom-web/studies/{STUDY}/"):
        made = dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.2", StudyDate="20200101")
        address = str(filled.base_url).rstrip("/") + path  # httpx takes what begins with // for another host
        response = filled.post(address, content=part10(made), headers={"Content-Type": DICOM}, follow_redirects=False)
        assert response.status_code == 200, response.text


def test_addresses_in_answers_are_tidy(filled: httpx.Client) -> None:
    (match,) = get(filled, f"//studies//?StudyInstanceUID={STUDY}").json()
    assert match["00081190"]["Value"][0].endswith(f"/dicom-web/studies/{STUDY}")


@pytest.mark.parametrize("end", ["%20", "%00", "%20%20", "%00%00", "%20%00"])
def test_uids_with_their_padding(filled: httpx.Client, end: str) -> None:
    """As they stand in files: an even number of bytes (PS3.5 9.1)."""
    paths = (
        f"/studies/{STUDY}{end}/metadata",
        f"/studies/{STUDY}{end}/series/{STUDY}.1{end}/instances/{STUDY}.1.1{end}",
        f"/studies/{STUDY}{end}/series",
        f"/studies?StudyInstanceUID={STUDY}{end}",
        f"/studies?0020000D={STUDY}{end},1.2.3{end}",
        f"/instances?SOPInstanceUID=1.2.9{end}%5C{STUDY}.1.1{end}",
        f"/wado?requestType=WADO&studyUID={STUDY}{end}&seriesUID={STUDY}.1{end}&objectUID={STUDY}.1.1{end}",
    )
    for path in paths:
        response = filled.get(f"/dicom-web{path}")
        assert response.status_code == 200, (path, response.text)
        assert response.headers["content-type"] != JSON or response.json()


# -- matching keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        *("patientid=BN0001", "PATIENTID=BN0001", "patientID=BN0001", "PatientId=BN0001"),
        *("studyinstanceuid=1.2.826.55", "StudyInstanceUid=1.2.826.55", "0020000d=1.2.826.55", "0020000D=1.2.826.55"),
        *("PatientID=BN0001&includefield=studydescription", "PatientID=BN0001&IncludeField=00081030"),
        *("PatientID=BN0001&includefield=ALL", "PatientID=BN0001&LIMIT=1&Offset=0&FuzzyMatching=TRUE"),
        *("PatientID=BN0001&orderby=-studydate", "PatientID=BN0001%20", "PatientID=%20BN0001", "PatientID=BN0001%00"),
        *("modalitiesinstudy=CT", "ModalitiesInStudy=ct,CT", "ModalitiesInStudy=CT%5CMR", "StudyDate=2025.03.01"),
        *("PatientName=nguyen^van an", "PatientName=NGUYEN%5EVAN%20AN", "PatientName=Nguyễn*", "StudyTime=08:30:00"),
        *("PatientID=BN0001&includefield=", "PatientID=BN0001&includefield=all&includefield=00081030", "PatientID=*"),
        *("PatientID=BN0001&limit=1%20", "PatientID=BN0001&fuzzymatching=1", "PatientID=BN0001&_=12345"),
    ],
)
def test_keys_however_they_are_written(filled: httpx.Client, query: str) -> None:
    assert STUDY in [match["0020000D"]["Value"][0] for match in get(filled, f"/studies?{query}").json()]


def test_names_within_sequences_in_any_case(filled: httpx.Client) -> None:
    assert get(filled, "/series?requestattributessequence.scheduledprocedurestepid=X").json() == []


# -- what is stored ----------------------------------------------------------------------------------------------------


def post(client: httpx.Client, body: bytes, content_type: str) -> httpx.Response:
    return client.post("/dicom-web/studies", content=body, headers={"Content-Type": content_type})


def one() -> bytes:
    return part10(dataset(SOPInstanceUID=generate_uid(), StudyDate="20200101", PatientID="OTHER"))


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/related; type="application/dicom"; boundary={}',
        "multipart/related; type=application/dicom; boundary={}",
        'multipart/related; type="application/dicom"; boundary="{}"',
        "multipart/related; boundary={}",
        "multipart/related;boundary={};type=application/dicom",
        "Multipart/Related; Boundary={}; Type=APPLICATION/DICOM",
        'multipart/related; boundary="{}"; type="application/dicom"; start="<1>"; start-info=x',
        "multipart/related; type=application/dicom; boundary={}; charset=utf-8",
        "multipart/related ; type=application/dicom ; boundary = {}",
    ],
)
@pytest.mark.parametrize("boundary", [BOUNDARY, "a", "--=_Part_1_2.3", "x" * 70, "'()+_,-./:=?"])
def test_the_type_and_boundary_of_a_store_however_they_are_written(
    filled: httpx.Client, content_type: str, boundary: str
) -> None:
    if '"{}"' not in content_type and set(boundary) & set("()/:=?,"):
        return  # these must be in quotes (RFC 2045 5.1), and cannot be told apart otherwise
    response = post(filled, multipart(one(), one(), boundary=boundary), content_type.format(boundary))
    assert response.status_code == 200, response.text
    assert len(response.json()["00081199"]["Value"]) == 2


@pytest.mark.parametrize(
    "frame",
    [
        b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--",
        b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--\r\n\r\n",
        b"This is a message in parts.\r\n\r\n--b\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--b--\r\nthe end",
        b"--b\r\ncontent-type:application/dicom\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\nCONTENT-TYPE: APPLICATION/DICOM\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Location: a.dcm\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\nMIME-Version: 1.0\r\nContent-Length: 9\r\nContent-Transfer-Encoding: binary\r\n\r\n%s\r\n--b--\r\n",
        b"--b\r\n\r\n%s\r\n--b--\r\n",
    ],
    ids=[
        "plain",
        "no last line",
        "empty lines",
        "preamble",
        "no space",
        "capitals",
        "syntax",
        "octets",
        "mime",
        "none",
    ],
)
def test_the_parts_of_a_store_however_they_are_framed(filled: httpx.Client, frame: bytes) -> None:
    response = post(filled, frame % one(), "multipart/related; type=application/dicom; boundary=b")
    assert response.status_code == 200, response.text


def test_a_store_sent_in_pieces_of_any_size(filled: httpx.Client) -> None:
    body = multipart(one(), one())
    for size in (1, 7, 4096):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        response = filled.post(
            "/dicom-web/studies",
            content=pieces,
            headers={"Content-Type": f"multipart/related; type=application/dicom; boundary={BOUNDARY}"},
        )
        assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "content_type", ["application/dicom; charset=binary", "APPLICATION/DICOM", "application/dicom;"]
)
def test_a_file_as_it_is(filled: httpx.Client, content_type: str) -> None:
    assert post(filled, one(), content_type).status_code == 200


def test_a_store_that_accepts_what_it_never_gets(filled: httpx.Client) -> None:
    """Browsers and libraries send these by themselves."""
    for accept in ("*/*", "application/json", "application/dicom+json, application/json;q=0.5", "text/html, */*;q=0.1"):
        headers = {"Content-Type": DICOM, "Accept": accept}
        assert filled.post("/dicom-web/studies", content=one(), headers=headers).status_code == 200


def test_a_request_of_http_1_0(filled: httpx.Client) -> None:
    """Old gateways: no Host, no chunks, no connection that stays."""
    with socket.create_connection((filled.base_url.host, filled.base_url.port or 80)) as link:
        link.sendall(f"GET /dicom-web{INSTANCE} HTTP/1.0\r\nAccept: application/dicom\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert b"chunked" not in head.lower()
    found: Any = pydicom.dcmread(io.BytesIO(body))
    assert found.SOPInstanceUID == f"{STUDY}.1.1"
