"""PS3.18 8.7.3: datasets as XML, from every transaction that gives datasets."""

from __future__ import annotations

from email import message_from_bytes
from xml.etree import ElementTree

import httpx
import pytest

from archive.standard.xml_model import NAMESPACE
from tests.web_server import dataset, part10, shared_web, store  # noqa: F401

XML = 'multipart/related; type="application/dicom+xml"'
XMLNS = f"{{{NAMESPACE}}}"
STUDY, SERIES = "1.2.826.7", "1.2.826.7.1"


@pytest.fixture(scope="module")
def filled(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    names = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "PatientName": "Đỗ^Thị Bích"}
    made = [part10(dataset(SOPInstanceUID=f"{SERIES}.{n}", **names)) for n in range(3)]
    assert store(shared_web, *made).status_code == 200
    return shared_web


def documents(response: httpx.Response) -> list[ElementTree.Element]:
    """The documents of a multipart response, as the e-mail package of the standard library takes it apart."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + response.content)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom+xml"
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert {part.get_content_type() for part in parts} == {"application/dicom+xml"}
    return [ElementTree.fromstring(part.get_payload(decode=True)) for part in parts]


def value(document: ElementTree.Element, key: str) -> str:
    found = document.find(f"{XMLNS}DicomAttribute[@tag='{key}']")
    assert found is not None
    return "".join(found.itertext())


def test_each_match_of_a_search_is_a_document(filled: httpx.Client) -> None:
    path = f"/dicom-web/studies/{STUDY}/instances"
    found = filled.get(path, headers={"accept": XML})
    assert found.status_code == 200
    assert found.headers["x-total-count"] == "3"
    as_json = filled.get(path).json()
    assert [value(each, "00080018") for each in documents(found)] == [each["00080018"]["Value"][0] for each in as_json]


def test_no_match_is_no_content(filled: httpx.Client) -> None:
    """A multipart body has one part at least (RFC 2046 5.1.1)."""
    found = filled.get("/dicom-web/studies?PatientID=NOBODY", headers={"accept": XML})
    assert (found.status_code, found.content) == (204, b"")


@pytest.mark.parametrize("resource", ["", f"/series/{SERIES}", f"/series/{SERIES}/instances/{SERIES}.1"])
def test_metadata(filled: httpx.Client, resource: str) -> None:
    path = f"/dicom-web/studies/{STUDY}{resource}/metadata"
    found = filled.get(path, headers={"accept": XML})
    made, as_json = documents(found), filled.get(path).json()
    assert [value(each, "00080018") for each in made] == [each["00080018"]["Value"][0] for each in as_json]
    assert {value(each, "00100010") for each in made} == {"ĐỗThị Bích"}
    uris = [each.find(f"{XMLNS}DicomAttribute[@tag='7FE00010']/{XMLNS}BulkData") for each in made]
    assert [each.attrib["uri"] for each in uris if each is not None] == [
        each["7FE00010"]["BulkDataURI"] for each in as_json if "7FE00010" in each
    ]


def test_metadata_has_a_tag_for_each_form(filled: httpx.Client) -> None:
    path = f"/dicom-web/studies/{STUDY}/metadata"
    tag = filled.get(path, headers={"accept": XML}).headers["etag"]
    assert filled.get(path, headers={"accept": XML, "if-none-match": tag}).status_code == 304
    assert filled.get(path, headers={"if-none-match": tag}).status_code == 200


def test_the_answer_to_a_store_is_one_document(filled: httpx.Client) -> None:
    made = part10(dataset(SOPInstanceUID="1.2.826.7.9"))
    found = filled.post(
        "/dicom-web/studies",
        content=made,
        headers={"content-type": "application/dicom", "accept": "application/dicom+xml"},
    )
    assert (found.status_code, found.headers["content-type"]) == (200, "application/dicom+xml")
    assert "1.2.826.7.9" in value(ElementTree.fromstring(found.content), "00081199")


def test_a_list_is_not_given_as_one_document(filled: httpx.Client) -> None:
    found = filled.get(f"/dicom-web/studies/{STUDY}/metadata", headers={"accept": "application/dicom+xml"})
    assert found.status_code == 406
    assert "multipart/related" in found.json()["detail"]


def test_json_is_preferred_where_both_will_do(filled: httpx.Client) -> None:
    for accept in ("*/*", f"{XML}; q=0.5, application/dicom+json", ""):
        found = filled.get("/dicom-web/studies", headers={"accept": accept})
        assert found.headers["content-type"] == "application/dicom+json"
    found = filled.get("/dicom-web/studies", headers={"accept": f"{XML}, application/json; q=0.5"})
    assert found.headers["content-type"].startswith("multipart/related")
