"""Orders and patients that hospital systems send."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from archive.core import Archive
from tests.integration.archive.support import sql
from tests.integration.fhir.support import get, search, validate
from tests.integration.fhir.test_search import keep
from tests.web_server import web  # noqa: F401  a fixture

DCM = "http://dicom.nema.org/resources/ontology/DCM"
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [
        {"system": "http://fhir.ehealth.gov.vn/core/sid/patient-internal-id", "value": "BN77"},
        {"system": "http://fhir.ehealth.gov.vn/core/sid/national_id", "value": "001080012345"},
    ],
    "name": [{"family": "NGUYỄN", "given": ["VĂN", "AN"]}],
    "gender": "male",
    "birthDate": "1980-02-03",
}
ORDER: dict[str, Any] = {
    "resourceType": "ServiceRequest",
    "status": "active",
    "intent": "order",
    "contained": [PATIENT, {"resourceType": "Practitioner", "id": "d", "name": [{"text": "TRẦN BÌNH"}]}],
    "subject": {"reference": "#p"},
    "requester": {"reference": "#d"},
    "requisition": {"value": "ACC77"},
    "code": {"text": "CT ngực", "coding": [{"code": "18.0219", "display": "Chụp CLVT ngực"}]},
    "orderDetail": [{"coding": [{"system": DCM, "code": "CT"}]}],
    "priority": "stat",
    "occurrenceDateTime": "2026-12-01T08:30:00+07:00",
    "performer": [{"reference": "Organization/86001"}],
    "reasonCode": [{"text": "Ho kéo dài"}],
    "note": [{"text": "Bệnh nhân khó thở"}],
}
FHIR = {"Content-Type": "application/fhir+json"}


def send(web: httpx.Client, resource: object, **headers: str) -> httpx.Response:  # noqa: F811
    kind = resource.get("resourceType", "ServiceRequest") if isinstance(resource, dict) else "ServiceRequest"
    response = web.post(f"/fhir/{kind}", json=resource, headers={**FHIR, **headers})
    if response.content:
        validate(response.json())
    return response


def test_an_order_comes_on_the_worklist_once(web: httpx.Client, archive: Archive) -> None:  # noqa: F811
    response = send(web, ORDER)
    assert response.status_code == 201, response.text
    made = response.json()
    assert get(web, response.headers["location"]) == made
    assert made["requisition"]["value"] == "ACC77" and made["priority"] == "stat"
    assert made["occurrenceDateTime"] == "2026-12-01T08:30:00+07:00"
    assert made["contained"][1]["name"][0] == {
        "use": "official",
        "text": "NGUYỄN VĂN AN",
        "family": "NGUYỄN",
        "given": ["VĂN", "AN"],
    }
    entry = archive.worklist.get(int(made["id"]))
    order = entry.order()
    assert (order["PatientID"], order["IssuerOfPatientID"], order["Modality"]) == ("BN77", "86001", "CT")
    assert order["RequestedProcedureDescription"] == "CT ngực" and order["RequestingPhysician"] == "TRẦN BÌNH"
    # Sent again it is the same order, whether the sender asks or not.
    again = send(web, ORDER)
    assert (again.status_code, again.json()["id"]) == (200, made["id"])
    asked = send(web, {**ORDER, "priority": "routine"}, **{"If-None-Exist": "requisition=ACC77&status=active"})
    assert (asked.status_code, asked.json()["priority"]) == (200, "stat")
    changed = send(web, {**ORDER, "priority": "routine"}, Prefer="return=minimal")
    assert (changed.status_code, changed.content) == (200, b"")
    assert get(web, f"ServiceRequest/{made['id']}")["priority"] == "routine"
    assert len(search(web, "ServiceRequest")) == 1


def test_a_conditional_create_that_means_several_is_refused(web: httpx.Client) -> None:  # noqa: F811
    for number in ("A", "B"):
        assert send(web, {**ORDER, "requisition": {"value": number}}).status_code == 201
    assert send(web, ORDER, **{"If-None-Exist": "status=active"}).status_code == 412
    assert send(web, ORDER, **{"If-None-Exist": "colour=red"}).status_code == 400
    assert send(web, ORDER, **{"If-None-Exist": "?"}).status_code == 400
    assert len(search(web, "ServiceRequest")) == 2


def test_an_order_for_a_patient_of_ours_is_for_that_patient(web: httpx.Client, archive: Archive) -> None:  # noqa: F811
    keep(archive, "1.2.1", PatientID="P1", PatientName="LÊ^HOA")
    [patient] = search(web, "Patient")
    order = {**ORDER, "subject": {"reference": f"Patient/{patient['id']}"}, "contained": []}
    made = send(web, order).json()
    assert made["subject"] == {"reference": f"Patient/{patient['id']}", "display": "LÊ HOA"}
    refused = send(web, {**order, "subject": {"reference": "Patient/99"}, "requisition": {"value": "X"}})
    assert refused.status_code == 422 and "subject" in refused.text


WRONG: list[dict[str, Any]] = [
    {"status": "completed"},
    {"intent": "plan"},
    {"subject": {}},
    {"subject": {"reference": "#x"}},
    {"subject": []},
    {"contained": [{**PATIENT, "identifier": []}]},
    {"contained": [{**PATIENT, "name": []}]},
    {"contained": "all"},
    {"requisition": {}},
    {"orderDetail": []},
    {"orderDetail": [{"coding": [{"system": "urn:x", "code": "CT"}]}]},
    {"orderDetail": [{"coding": [{"system": DCM, "code": "no modality at all"}]}]},
    {"priority": "soon"},
    {"occurrenceDateTime": "soon"},
    {"code": {}},
    {"performer": [{"reference": "Organization/none"}]},
    {"performer": []},
    {"requisition": {"value": "N" * 17}},
    {"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:x"}]},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_what_is_wrong_with_an_order_is_told(web: httpx.Client, change: dict[str, Any]) -> None:  # noqa: F811
    response = send(web, {**ORDER, **change})
    assert response.status_code == 422, response.text
    assert response.json()["issue"][0]["diagnostics"]
    assert search(web, "ServiceRequest") == []


def test_what_is_no_resource_is_refused(web: httpx.Client) -> None:  # noqa: F811
    assert web.post("/fhir/ServiceRequest", content=b"{", headers=FHIR).status_code == 400
    assert web.post("/fhir/ServiceRequest", content=b"[]", headers=FHIR).status_code == 400
    assert (
        web.post("/fhir/ServiceRequest", content=b"<x/>", headers={"Content-Type": "application/fhir+xml"}).status_code
        == 415
    )
    assert send(web, {"resourceType": "ServiceRequest"}).status_code == 422
    assert web.post("/fhir/ServiceRequest", json=PATIENT, headers=FHIR).status_code == 422


def test_what_a_hospital_says_of_a_patient_counts_for_who_they_are(web: httpx.Client, archive: Archive) -> None:  # noqa: F811
    own = {
        **PATIENT,
        "identifier": [{"system": "urn:pacs:fhir:patient-id:86001", "value": "BN77"}, PATIENT["identifier"][1]],
    }
    keep(archive, "1.2.1", PatientID="BN77", PatientName="NGUYEN VAN AN", PatientBirthDate="19800203")
    # Without sign-in, nobody has a facility of their own.
    assert send(web, own).status_code == 422
    own["managingOrganization"] = {"reference": "Organization/86001"}
    told = send(web, own)
    assert told.status_code == 200 and told.json()["name"][0]["text"] == "NGUYEN VAN AN"
    unknown = {**own, "identifier": [{"type": {"coding": [{"code": "MR"}]}, "value": "NEW"}]}
    assert send(web, unknown).status_code == 202
    assert sql(archive, "SELECT source FROM identity_claim") == ["fhir", "fhir"]
    known = send(web, own, **{"If-None-Exist": "identifier=urn:pacs:fhir:patient-id:86001|BN77"})
    assert known.status_code == 200 and known.headers["location"].endswith(f"/Patient/{known.json()['id']}")
