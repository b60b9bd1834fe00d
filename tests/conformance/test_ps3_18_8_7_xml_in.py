"""PS3.18 8.7.3: datasets that clients send as XML: metadata of a store (10.5.1), workitems (11.4 to 11.8)."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import generate_uid

from archive.standard.xml_model import native_xml
from tests.conformance.test_ps3_18_10_5_metadata import SECONDARY_CAPTURE, WAVEFORM, metadata
from tests.conformance.test_ps3_18_11_ups import (
    ITEMS,
    LABEL,
    PROGRESS,
    STATE,
    TRANSACTION,
    create,
    performed,
    state_of,
    text,
    workitem,
)
from tests.corpus import storage_objects
from tests.web_server import shared_web, store_files  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

XML = "application/dicom+xml"
KIND = f'multipart/related; type="{XML}"; boundary=b'
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>'
Part = tuple[str, str, bytes]


@pytest.fixture(scope="module")
def web(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    return shared_web


def body(*documents: bytes, bulk: tuple[Part, ...] = ()) -> bytes:
    pieces = [f"--b\r\nContent-Type: {XML}\r\n\r\n".encode() + document for document in documents]
    for location, content_type, value in bulk:
        head = f"--b\r\nContent-Type: {content_type}\r\nContent-Location: {location}\r\n\r\n"
        pieces.append(head.encode() + value)
    return b"\r\n".join(pieces) + b"\r\n--b--\r\n"


def post(web: httpx.Client, *documents: bytes, bulk: tuple[Part, ...] = (), kind: str = KIND) -> httpx.Response:
    return web.post("/dicom-web/studies", content=body(*documents, bulk=bulk), headers={"content-type": kind})


def address(dataset: Any) -> str:
    names = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return "/dicom-web/studies/{}/series/{}/instances/{}".format(*names)


def fetched(web: httpx.Client, path: str) -> pydicom.FileDataset:
    response = web.get(path, headers={"accept": 'application/dicom; transfer-syntax="*"'})
    assert response.status_code == 200, response.text
    return pydicom.dcmread(io.BytesIO(response.content))


def document(response: httpx.Response) -> bytes:
    """The only part of a multipart response."""
    boundary = response.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    (part,) = response.content.split(b"--" + boundary)[1:-1]
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_16bit_2frame.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_what_was_retrieved_as_xml_can_be_stored_so(web: httpx.Client, name: str) -> None:
    """Metadata and bulk data, under another UID: every value is as it was."""
    path = next(each for each in storage_objects() if each.name == name)
    store_files(web, path)
    before = pydicom.dcmread(path)
    found = web.get(f"{address(before)}/metadata", headers={"accept": f'multipart/related; type="{XML}"'})
    given = document(found)
    uid = str(generate_uid())
    other = given.replace(str(before.SOPInstanceUID).encode(), uid.encode())
    uris = {each.split(b'"')[0].decode() for each in other.split(b'<BulkData uri="')[1:]}
    bulk = []
    for uri in uris:
        asked = uri.replace(uid, str(before.SOPInstanceUID))
        value = web.get(asked, headers={"accept": "application/octet-stream"})
        assert value.status_code == 200, value.text
        bulk.append((uri, "application/octet-stream", value.content))
    assert post(web, other, bulk=tuple(bulk)).status_code == 200
    after = fetched(web, address(before).replace(str(before.SOPInstanceUID), uid))
    for element in before.iterall():
        if element.tag.group % 2 or element.keyword in ("SpecificCharacterSet", "PixelData", "SOPInstanceUID", ""):
            continue
        if element in before and element.VR != "SQ":
            assert after[element.tag].value == element.value, element.keyword
    assert after.SpecificCharacterSet == "ISO_IR 192"
    if "PixelData" in before:
        assert (after.pixel_array == before.pixel_array).all()


def test_each_document_is_an_instance(web: httpx.Client) -> None:
    datasets = [metadata(WAVEFORM) for _ in range(5)]
    response = post(web, *map(native_xml, datasets))
    assert response.status_code == 200, response.text
    stored = [item["00081155"]["Value"][0] for item in response.json()["00081199"]["Value"]]
    assert stored == [dataset["00080018"]["Value"][0] for dataset in datasets]


def test_what_cannot_be_read_says_nothing_against_the_others(web: httpx.Client) -> None:
    good = [metadata(WAVEFORM) for _ in range(2)]
    response = post(web, native_xml(good[0]), BOMB, b"<NativeDicomModel>", native_xml(good[1]))
    assert response.status_code == 202
    report = response.json()
    assert len(report["00081199"]["Value"]) == 2
    failed = report["0008119A"]["Value"]  # Other Failures Sequence: nobody knows which instances
    assert [item["00081197"]["Value"] for item in failed] == [[0xC000]] * 2
    comments = [item["00000902"]["Value"][0] for item in failed]
    assert "document type or entities" in comments[0]
    assert "not well-formed" in comments[1]


@pytest.mark.parametrize(
    "kind",
    [
        f"multipart/related; type={XML}; boundary=b",
        f"Multipart/Related;boundary=b;Type={XML.upper()}",
        f'multipart/related;boundary="b";type="{XML}"; start=1',
    ],
)
def test_however_the_type_is_written(web: httpx.Client, kind: str) -> None:
    assert post(web, native_xml(metadata(WAVEFORM)), kind=kind).status_code == 200


def test_one_study_only(web: httpx.Client) -> None:
    dataset = metadata(WAVEFORM)
    response = web.post("/dicom-web/studies/1.2.3", content=body(native_xml(dataset)), headers={"content-type": KIND})
    assert response.status_code == 409


def test_bulk_data_that_is_not_there(web: httpx.Client) -> None:
    dataset = metadata(SECONDARY_CAPTURE, _7FE00010={"vr": "OW", "BulkDataURI": "nowhere"})
    response = post(web, native_xml(dataset))
    assert response.status_code == 409
    assert "Content-Location" in response.json()["00081198"]["Value"][0]["00000902"]["Value"][0]


# -- workitems ---------------------------------------------------------------------------------------------------------


def send(web: httpx.Client, method: str, path: str, dataset: dict[str, Any] | bytes) -> httpx.Response:
    content = dataset if isinstance(dataset, bytes) else native_xml(dataset)
    return web.request(method, path, content=content, headers={"content-type": f"{XML}; charset=utf-8"})


def test_11_a_workitem_lives_in_xml_as_it_does_in_json(web: httpx.Client) -> None:
    uid, secret, same = str(generate_uid()), text("UI", str(generate_uid())), create(web)
    assert send(web, "POST", f"{ITEMS}?{uid}", workitem()).status_code == 201
    as_xml, as_json = (web.get(f"{ITEMS}/{each}").json() for each in (uid, same))
    for key in ("00080018", "00404010"):  # its name, and when it was made
        del as_xml[key], as_json[key]
    assert as_xml == as_json

    assert send(web, "PUT", f"{ITEMS}/{uid}/state", {STATE: text("CS", "IN PROGRESS"), TRANSACTION: secret}).is_success
    changed = {LABEL: text("LO", "Đã nhận"), TRANSACTION: secret}
    assert send(web, "POST", f"{ITEMS}/{uid}", changed).status_code == 200
    progress = {"00741004": text("DS", "40"), "00741006": text("ST", "đang đo <2/5> & chờ")}
    assert send(web, "POST", f"{ITEMS}/{uid}", {PROGRESS: text("SQ", progress), TRANSACTION: secret}).status_code == 200
    assert send(web, "POST", f"{ITEMS}/{uid}", {**performed(), TRANSACTION: secret}).status_code == 200
    found = web.get(f"{ITEMS}/{uid}").json()
    assert found[LABEL]["Value"] == ["Đã nhận"]
    assert found[PROGRESS]["Value"][0]["00741006"]["Value"] == ["đang đo <2/5> & chờ"]
    assert send(web, "PUT", f"{ITEMS}/{uid}/state", {STATE: text("CS", "COMPLETED"), TRANSACTION: secret}).is_success
    assert state_of(web, uid) == "COMPLETED"


def test_11_what_is_retrieved_can_be_sent(web: httpx.Client) -> None:
    uid = create(web)
    as_xml = web.get(f"{ITEMS}/{uid}", headers={"accept": XML})
    assert as_xml.headers["content-type"].startswith(XML)
    other = str(generate_uid())
    assert send(web, "POST", ITEMS, as_xml.content.replace(uid.encode(), other.encode())).status_code == 201
    assert state_of(web, other) == "SCHEDULED"
    matches = web.get(f"{ITEMS}?SOPInstanceUID={other}", headers={"accept": f'multipart/related; type="{XML}"'})
    assert other.encode() in document(matches)


def test_11_8_a_request_to_cancel_in_xml(web: httpx.Client) -> None:
    uid = create(web)
    reason = {"00741238": text("LT", "Bệnh nhân không đến")}
    assert send(web, "POST", f"{ITEMS}/{uid}/cancelrequest", reason).status_code == 202
    assert state_of(web, uid) == "CANCELED"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "not well-formed"),
        (b"{}", "not well-formed"),
        (BOMB, "document type or entities"),
        (b"<NativeDicomModel/>", "Transaction UID|required|missing|Procedure"),
        (b'<NativeDicomModel><DicomAttribute tag="00741000" vr="CS"><Item/></DicomAttribute></NativeDicomModel>', "Item"),
    ],
)  # fmt: skip
def test_11_what_cannot_be_read_is_refused(web: httpx.Client, given: bytes, said: str) -> None:
    uid = create(web)
    for method, path in (("POST", ITEMS), ("PUT", f"{ITEMS}/{uid}/state")):
        response = send(web, method, path, given)
        assert response.status_code == 400, response.text
        if given != b"<NativeDicomModel/>":
            assert said in response.json()["detail"]
    assert state_of(web, uid) == "SCHEDULED"


def test_11_a_dataset_too_large(web: httpx.Client) -> None:
    assert send(web, "POST", ITEMS, b" " * (4 << 20) + b"<").status_code == 413


def test_11_other_types_are_refused_with_those_that_are_taken(web: httpx.Client) -> None:
    response = web.post(ITEMS, content=b"<x/>", headers={"content-type": "application/xml"})
    assert response.status_code == 415
    assert XML in response.json()["detail"]
