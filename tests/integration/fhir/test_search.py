"""Searches: parameters, modifiers, prefixes, pages, what is included."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from archive.core import Archive
from archive.records import Source
from tests.factories import ct_image, encode, store_bytes
from tests.integration.fhir.support import get, ids, matches, pages, search
from tests.web_server import fresh_archive, serving
from tests.worklist import put
from viewer_api.app import create_app

AN, BINH, CHI = "NGUYỄN^VĂN AN", "TRẦN^THỊ BÌNH", "ĐẶNG^CHI"
FACILITIES = [{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}, {"code": "86002", "name": "TTYT huyện"}]


@pytest.fixture(scope="module")
def archive(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Three patients: one with two studies, one without a time, one without a date."""
    with fresh_archive(postgres, tmp_path_factory.mktemp("fhir"), facilities=FACILITIES) as archive:
        keep(archive, "1.2.1", PatientName=AN, PatientID="P1", AccessionNumber="ACC1", BodyPartExamined="CHEST")
        keep(
            archive, "1.2.2", PatientName=AN, PatientID="P1", StudyDate="20261102", Modality="MR", AccessionNumber="B2"
        )
        keep(
            archive, "1.2.3", "86002", PatientName=BINH, PatientID="P1", StudyDate="20261103", StudyTime=None,
            PatientSex="F", PatientBirthDate="19700101", AccessionNumber="C3", ReferringPhysicianName="LÊ^VĂN HÙNG",
        )  # fmt: skip
        keep(archive, "1.2.4", PatientName=CHI, PatientID="P4", StudyDate=None, StudyTime=None, AccessionNumber=None)
        put(archive, PatientID="P1", PatientName=AN, AccessionNumber="ACC1", StudyInstanceUID="1.2.1")
        # Names a study of somebody else's.
        put(archive, PatientID="X", AccessionNumber="BAD", StudyInstanceUID="1.2.3")
        yield archive


def keep(archive: Archive, study: str, facility: str = "86001", **attributes: object) -> None:
    image = ct_image(
        StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.1", **attributes
    )
    source = Source(facility=facility, issuer_of_patient_id=facility, transport="import")
    store_bytes(archive, encode(image), image.SOPClassUID, image.SOPInstanceUID, source=source)


@pytest.fixture(scope="module")
def web(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


ALL = {"1.2.1", "1.2.2", "1.2.3", "1.2.4"}
SEARCHES = {
    "": ALL,
    "_id=1.2.1": {"1.2.1"},
    "_id=1.2.1,1.2.2&_id=1.2.2,1.2.3": {"1.2.2"},
    "identifier=ACC1": {"1.2.1"},
    "identifier=1.2.2,ACC1": {"1.2.1", "1.2.2"},
    "identifier=urn:dicom:uid|urn:oid:1.2.2": {"1.2.2"},
    "identifier=urn:pacs:fhir:accession-number:86001|ACC1": {"1.2.1"},
    "identifier=urn:pacs:fhir:accession-number:86002|ACC1": set(),
    "identifier=urn:other|ACC1": set(),
    "modality=MR": {"1.2.2"},
    "modality=CT,MR": ALL,
    "modality:not=CT": {"1.2.2"},
    "modality=http://dicom.nema.org/resources/ontology/DCM|MR": {"1.2.2"},
    "modality=urn:other|MR": set(),
    "bodysite=816094009": {"1.2.1"},
    "bodysite=http://snomed.info/sct|816094009": {"1.2.1"},
    "bodysite=CHEST": {"1.2.1"},
    "bodysite=http://snomed.info/sct|CHEST": set(),
    "status=available": ALL,
    "status=cancelled": set(),
    "series=1.2.3.1": {"1.2.3"},
    "instance=urn:oid:1.2.3.1.1": {"1.2.3"},
    "dicom-class=urn:oid:1.2.840.10008.5.1.4.1.1.2": ALL,
    "performer=Organization/86002": {"1.2.3"},
    "performer=86001,86002": ALL,
    "endpoint=Endpoint/dicomweb": ALL,
    "endpoint=none": set(),
    "referrer.name=hung": {"1.2.3"},
    "referrer:Practitioner.name=le van": {"1.2.3"},
    "started=2026-11-01": {"1.2.1"},
    "started=2026-11": {"1.2.1", "1.2.2", "1.2.3"},
    "started=2026": {"1.2.1", "1.2.2", "1.2.3"},
    "started=ne2026-11-01": {"1.2.2", "1.2.3"},
    "started=ge2026-11-02": {"1.2.2", "1.2.3"},
    "started=gt2026-11-02": {"1.2.3"},
    "started=sa2026-11-01": {"1.2.2", "1.2.3"},
    "started=lt2026-11-02": {"1.2.1"},
    "started=le2026-11-02": {"1.2.1", "1.2.2"},
    "started=eb2026-11-03": {"1.2.1", "1.2.2"},
    "started=ge2026-11-01T08:30:15%2B07:00&started=le2026-11-01T08:30:15%2B07:00": {"1.2.1"},
    "started=2026-11-01T01:30:15Z": {"1.2.1"},
    "started=2026-11-01T01:30Z": {"1.2.1"},
    "started=gt2026-11-01T08:30:15": {"1.2.2", "1.2.3"},
    "started=ge2026-11-01T08:30:16": {"1.2.2", "1.2.3"},
    # The end of a whole day is behind any time in it, its beginning before.
    "started=gt2026-11-03T12:00": {"1.2.3"},
    "started=sa2026-11-03T12:00": set(),
    "started=lt2026-11-03T12:00": {"1.2.1", "1.2.2", "1.2.3"},
    "started=eb2026-11-03T12:00": {"1.2.1", "1.2.2"},
    "started=2026-11-01,2026-11-03": {"1.2.1", "1.2.3"},
    "started:missing=true": {"1.2.4"},
    "started:missing=false": {"1.2.1", "1.2.2", "1.2.3"},
    "started=ap2026-11-02": {"1.2.1", "1.2.2", "1.2.3"},
    "patient.identifier=P1": {"1.2.1", "1.2.2", "1.2.3"},
    "patient.identifier=urn:pacs:fhir:patient-id:86002|P1": {"1.2.3"},
    "patient:identifier=urn:pacs:fhir:patient-id:86001|P1": {"1.2.1", "1.2.2"},
    "subject:Patient.identifier=http://fhir.ehealth.gov.vn/core/sid/patient-internal-id|P4": {"1.2.4"},
    "patient.name=nguyen": {"1.2.1", "1.2.2"},
    "patient.name=An Van": {"1.2.1", "1.2.2"},
    "patient.name=dang": {"1.2.4"},
    "patient.family=Trần": {"1.2.3"},
    "patient.gender=female": {"1.2.3"},
    "patient.birthdate=lt1965": {"1.2.1", "1.2.2", "1.2.4"},
    "patient.birthdate=1970-01-01": {"1.2.3"},
    "modality=MR&patient.identifier=P1&started=2026-11-02": {"1.2.2"},
    "_lastUpdated=gt2000-01-01": ALL,
    "_lastUpdated=lt2000-01-01T00:00:00Z": set(),
    "patient=Patient/999999999": set(),
    "patient=no-number": set(),
    "patient=http://elsewhere/fhir/Patient/1": set(),
    "modality=": ALL,
}


@pytest.mark.parametrize("query", SEARCHES)
def test_studies_are_found_by_each_parameter(web: httpx.Client, query: str) -> None:
    assert ids(web, f"ImagingStudy?{query}", headers={"Prefer": "handling=strict"}) == SEARCHES[query]


def test_a_form_finds_the_same(web: httpx.Client) -> None:
    response = web.post("/fhir/ImagingStudy/_search?modality=CT", data={"patient.name": "dang"})
    assert [each["id"] for each in matches(response.json())] == ["1.2.4"]
    assert web.post("/fhir/ImagingStudy/_search", json={}).status_code == 400


PATIENTS = {
    "name=nguyen": {AN},
    "name=Nguyễn": {AN},
    "name=VAN": {AN},
    "name:exact=NGUYỄN VĂN AN": {AN},
    "name:exact=Nguyen Van An": set(),
    "name:contains=guye": {AN},
    "family=dan": {CHI},
    "family:exact=ĐẶNG": {CHI},
    "given=thi": {BINH},
    "gender=male": {AN, CHI},
    "gender=unknown": set(),
    "birthdate=ge1970": {BINH},
    "birthdate:missing=true": set(),
    "identifier=P1": {AN, BINH},
    "identifier=urn:pacs:fhir:patient-id:86002|P1": {BINH},
    "organization=86002": {BINH},
    "link=Patient/1": set(),
    "name=nguyen,tran": {AN, BINH},
    "name=nguyen&name=tran": set(),
}


@pytest.mark.parametrize("query", PATIENTS)
def test_patients_are_found_by_each_parameter(web: httpx.Client, query: str) -> None:
    found = search(web, f"Patient?{query}", headers={"Prefer": "handling=strict"})
    assert {each["name"][0]["text"] for each in found} == {name.replace("^", " ") for name in PATIENTS[query]}


ORDERS = {
    "identifier=ACC1": {"ACC1"},
    "identifier=urn:dicom:uid|urn:oid:1.2.1": {"ACC1"},
    "identifier=urn:pacs:fhir:scheduled-step:86001|S100": {"ACC1", "BAD"},
    "requisition=urn:pacs:fhir:accession-number:86001|ACC1": {"ACC1"},
    "status=active": {"ACC1", "BAD"},
    "status:not=active": set(),
    "intent=order": {"ACC1", "BAD"},
    "priority=routine": {"ACC1", "BAD"},
    "priority=stat": set(),
    "performer=86001": {"ACC1", "BAD"},
    "patient.identifier=P1": {"ACC1"},
    "patient.name=an": {"ACC1"},
    "occurrence=ge2020": {"ACC1", "BAD"},
    "occurrence=lt2020-01-01T10:00": set(),
    "authored=gt2020": {"ACC1", "BAD"},
    "_lastUpdated=gt2020": {"ACC1", "BAD"},
}


@pytest.mark.parametrize("query", ORDERS)
def test_orders_are_found_by_each_parameter(web: httpx.Client, query: str) -> None:
    found = search(web, f"ServiceRequest?{query}", headers={"Prefer": "handling=strict"})
    assert {each["requisition"]["value"] for each in found} == ORDERS[query]


def test_an_order_belongs_to_a_study_of_its_own_facility_alone(web: httpx.Client) -> None:
    [order] = search(web, "ServiceRequest?identifier=ACC1")
    [foreign] = search(web, "ServiceRequest?identifier=BAD")
    assert get(web, "ImagingStudy/1.2.1")["basedOn"] == [{"reference": f"ServiceRequest/{order['id']}"}]
    assert "basedOn" not in get(web, "ImagingStudy/1.2.3")
    assert ids(web, f"ImagingStudy?basedon=ServiceRequest/{order['id']}") == {"1.2.1"}
    assert ids(web, f"ImagingStudy?basedon={foreign['id']}") == set()


@pytest.mark.parametrize(
    ("query", "found"),
    [("type=prov", 3), ("name=benh vien", 1), ("identifier=86002", 1), ("_id=86001", 1), ("active=false", 0)],
)
def test_organizations_are_found(web: httpx.Client, query: str, found: int) -> None:
    assert len(search(web, f"Organization?{query}", headers={"Prefer": "handling=strict"})) == found


def test_what_matches_refer_to_is_included_once(web: httpx.Client) -> None:
    bundle = get(
        web, "ImagingStudy?patient.name=an&_include=ImagingStudy:patient&_include=ImagingStudy:basedon:ServiceRequest"
    )
    assert len(matches(bundle)) == 2
    included = [each["resourceType"] for each in matches(bundle, "include")]
    assert sorted(included) == ["Patient", "ServiceRequest"]
    bundle = get(web, "ImagingStudy?_id=1.2.1&_include=*")
    assert {each["resourceType"] for each in matches(bundle, "include")} == {
        "Patient",
        "ServiceRequest",
        "Endpoint",
        "Organization",
    }


def test_what_refers_to_matches_is_included(web: httpx.Client) -> None:
    bundle = get(web, "Patient?name=an&_revinclude=ImagingStudy:patient")
    assert {each["id"] for each in matches(bundle, "include")} == {"1.2.1", "1.2.2"}
    bundle = get(web, "Patient?name=an&_revinclude=ImagingStudy:patient&_include=ImagingStudy:performer")
    assert "Organization" not in {each["resourceType"] for each in matches(bundle, "include")}
    bundle = get(web, "Patient?name=an&_revinclude=ImagingStudy:patient&_include:iterate=ImagingStudy:performer")
    assert "Organization" in {each["resourceType"] for each in matches(bundle, "include")}


@pytest.mark.parametrize("sort", ["started", "-started", "_id", "-_id"])
def test_pages_have_each_match_once_and_in_order(web: httpx.Client, sort: str) -> None:
    found = [each["id"] for page in pages(web, f"ImagingStudy?_count=1&_sort={sort}") for each in matches(page)]
    assert sorted(found) == sorted(ALL)
    # What has no date is the smallest.
    order = ["1.2.4", "1.2.1", "1.2.2", "1.2.3"] if "started" in sort else sorted(ALL)
    assert found == (order[::-1] if sort.startswith("-") else order)


def test_totals(web: httpx.Client) -> None:
    assert get(web, "ImagingStudy?patient.name=an")["total"] == 2
    assert "total" not in get(web, "ImagingStudy?patient.name=an&_count=1")
    assert get(web, "ImagingStudy?patient.name=an&_count=1&_total=accurate")["total"] == 2
    assert get(web, "ImagingStudy?patient.name=an&_count=1&_total=estimate")["total"] == 2
    counted = get(web, "ImagingStudy?patient.name=an&_summary=count")
    assert (counted["total"], "entry" in counted) == (2, False)
    assert get(web, "ImagingStudy?patient.name=an&_count=0")["total"] == 2


def test_parts_of_resources(web: httpx.Client) -> None:
    [part] = search(web, "ImagingStudy?_id=1.2.3&_elements=started,referrer")
    assert set(part) == {"resourceType", "id", "meta", "started", "referrer", "status", "subject", "contained"}
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    [part] = search(web, "ImagingStudy?_id=1.2.3&_summary=text")
    assert set(part) == {"resourceType", "id", "meta", "status", "subject"}
    [part] = search(web, "ImagingStudy?_id=1.2.3&_summary=true")
    assert "extension" not in part and "series" in part


def test_what_is_not_understood_is_told_or_refused(web: httpx.Client) -> None:
    bundle = get(web, "ImagingStudy?colour=red&modality=MR&_include=ImagingStudy:nothing&_sort=colour")
    assert [each["id"] for each in matches(bundle)] == ["1.2.2"]
    told = " ".join(each["diagnostics"] for each in matches(bundle, "outcome")[0]["issue"])
    assert "colour" in told and "_include" in told and "_sort" in told
    assert bundle["link"][0]["url"].endswith("/fhir/ImagingStudy?modality=MR")
    for wrong in (
        "colour=red",
        "_include=ImagingStudy:nothing",
        "_sort=colour",
        "patient.shoe=1",
        "_revinclude=Patient:link",
    ):
        get(web, f"ImagingStudy?{wrong}", 400, headers={"Prefer": "handling=strict"})


@pytest.mark.parametrize(
    "wrong",
    [
        "started=yesterday", "started=2026-13", "started=2026-02-30", "started=xx2026", "started=0000", "started=9999",
        "modality:exact=CT", "modality=a|b|c", "modality=|", "identifier=urn:x|", "patient=Patient/", "patient=../../1",
        "patient.name=^^", "patient.name:not=1", "_count=many", "_count=-1", "_total=some", "_summary=all", "_page=abc",
        "_page=", "started:missing=perhaps", "_count=1&_count=2",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused(web: httpx.Client, wrong: str) -> None:
    status = 200 if wrong == "_page=" else 400
    found = get(web, f"ImagingStudy?{wrong}", status)
    if status == 400:
        assert found["issue"][0]["code"] == "invalid" and found["issue"][0]["diagnostics"]


def test_a_page_is_sealed_and_of_its_search(web: httpx.Client) -> None:
    bundle = get(web, "Patient?name=a,n,t,d&_count=1")
    address = next(each["url"] for each in bundle["link"] if each["relation"] == "next")
    token = address.partition("_page=")[2]
    assert "name" not in address
    get(web, f"ImagingStudy?_page={token}", 400)
    get(web, f"Patient?_page={token[:-6]}AAAAAA", 400)
    get(web, "Patient?_page=QUJD", 400)


def test_a_read_that_is_known_is_not_given_again(web: httpx.Client) -> None:
    for path in ("ImagingStudy/1.2.1", "Patient/1", "ServiceRequest/1", "Endpoint/viewer", "Organization/86001"):
        response = web.get(f"/fhir/{path}")
        tag = response.headers["etag"]
        assert web.get(f"/fhir/{path}", headers={"If-None-Match": tag}).status_code == 304
        assert web.get(f"/fhir/{path}", headers={"If-None-Match": 'W/"other"'}).status_code == 200
        if "last-modified" in response.headers:
            since = {"If-Modified-Since": response.headers["last-modified"]}
            assert web.get(f"/fhir/{path}", headers=since).status_code == 304
        old = {"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}
        assert web.get(f"/fhir/{path}", headers=old).status_code == 200


def test_media_types(web: httpx.Client) -> None:
    for accept in (
        "application/fhir+json",
        "application/json",
        "*/*",
        "application/fhir+json; fhirVersion=4.0",
        "text/html,*/*;q=0.8",
    ):
        get(web, "Patient/1", headers={"Accept": accept})
    for asked in ("json", "application/json", "application/fhir%2Bjson", "application/fhir+json"):
        get(web, f"Patient/1?_format={asked}", headers={"Accept": "application/fhir+xml"})
    for accept in ("application/fhir+xml", "text/turtle", "application/fhir+json; fhirVersion=5.0"):
        get(web, "Patient/1", 406, headers={"Accept": accept})
    get(web, "Patient/1?_format=xml", 406)


def test_what_is_not_there(web: httpx.Client) -> None:
    for path in (
        "ImagingStudy/9.9.9",
        "Patient/0",
        "Patient/99999999999999999999",
        "Patient/x",
        "Endpoint/x",
        "Observation",
        "nothing/at/all",
    ):
        found = get(web, path, 404)
        assert found["issue"][0]["code"] == "not-found"
    assert web.delete("/fhir/Patient/1").status_code in (404, 405)


def test_the_capability_statement_says_what_is_so(web: httpx.Client) -> None:
    statement = get(web, "metadata")
    assert statement["fhirVersion"] == "4.0.1"
    for resource in statement["rest"][0]["resource"]:
        for parameter in resource.get("searchParam", ()):
            value = {"date": "2026", "reference": "1"}.get(parameter["type"], "abc")
            get(web, f"{resource['type']}?{parameter['name']}={value}", headers={"Prefer": "handling=strict"})
        for include in resource.get("searchInclude", ()):
            get(web, f"{resource['type']}?_include={include}", headers={"Prefer": "handling=strict"})
        for include in resource.get("searchRevInclude", ()):
            get(web, f"{resource['type']}?_revinclude={include}", headers={"Prefer": "handling=strict"})
