"""Worklist items and performed procedure steps over HTTP."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.records import EVERYTHING
from archive.standard.json_model import dataset_json
from archive.worklist.steps import StepSource
from config import clock
from tests.factories import ct_image
from tests.factories import store as store_object
from tests.web_server import web
from tests.worklist import NAME, begin, end, order

__all__ = ["web"]

TODAY = f"{clock.today():%Y%m%d}"
SOURCE = StepSource("86001", "CT1", "10.0.0.1", EVERYTHING)


def post(web: httpx.Client, **changes: Any) -> dict[str, Any]:
    response = web.post("/worklist/items", json=order(**changes))
    assert response.status_code in (200, 201), response.text
    found: dict[str, Any] = response.json()
    return found


def faults(response: httpx.Response) -> dict[str, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return {each["field"]: each["detail"] for each in response.json().get("errors", [])}


def test_an_order_is_kept_and_given_back_as_it_was_written(web: httpx.Client) -> None:
    response = web.post("/worklist/items", json=order())
    assert response.status_code == 201
    made = response.json()
    assert response.headers["location"] == f"/worklist/items/{made['Id']}"
    assert response.headers["etag"] == '"1"'
    assert made["StudyInstanceUID"].startswith("2.25.")
    expected = order(
        PatientBirthDate="19620512",
        ScheduledStationAETitle=["CT1"],
        ScheduledProcedureStepStartTime="083000",
        IssuerOfPatientID="86001",
        ScheduledProcedureStepStatus="SCHEDULED",
    )
    assert {name: made[name] for name in expected} == expected
    again = web.get(response.headers["location"])
    assert again.json() == made
    assert again.headers["cache-control"] == "no-store"
    assert web.get(response.headers["location"], headers={"If-None-Match": '"1"'}).status_code == 304


def test_the_same_order_sent_again_changes_nothing_and_another_text_updates(web: httpx.Client) -> None:
    first = post(web)
    response = web.post("/worklist/items", json=order())
    assert (response.status_code, response.json()) == (200, first)
    changed = post(web, PatientName="NGUYỄN^VĂN ĐỨC ANH", Allergies=None)
    assert (changed["Id"], changed["Version"], changed["PatientName"]) == (first["Id"], 2, "NGUYỄN^VĂN ĐỨC ANH")
    assert "Allergies" not in changed
    assert changed["StudyInstanceUID"] == first["StudyInstanceUID"]


def test_what_an_order_may_leave_out(web: httpx.Client) -> None:
    least = {"Facility": "86001", "AccessionNumber": "A1", "PatientID": 77, "PatientName": "AN", "Modality": "US",
             "RequestedProcedureDescription": "Siêu âm bụng"}  # fmt: skip
    made = web.post("/worklist/items", json=least).json()
    assert (made["RequestedProcedureID"], made["ScheduledProcedureStepID"], made["PatientID"]) == ("A1", "A1", "77")
    assert made["ScheduledProcedureStepDescription"] == "Siêu âm bụng"
    assert made["ScheduledProcedureStepStartDate"] == TODAY
    # When it is due does not move by sending it again.
    assert web.post("/worklist/items", json=least).json() == made
    by_code = order(AccessionNumber="A2", RequestedProcedureDescription=None, ScheduledProcedureStepDescription=None)
    found = web.post("/worklist/items", json=by_code).json()
    assert found["RequestedProcedureDescription"] == "Sọ não không cản quang"


def test_steps_of_one_requested_procedure_share_a_study(web: httpx.Client) -> None:
    made = [post(web, ScheduledProcedureStepID=f"S{number}") for number in range(3)]
    assert len({item["StudyInstanceUID"] for item in made}) == 1
    assert len({item["Id"] for item in made}) == 3
    other = post(web, RequestedProcedureID="P2")
    assert other["StudyInstanceUID"] != made[0]["StudyInstanceUID"]


def test_the_same_order_from_many_at_once_is_one_item(web: httpx.Client) -> None:
    ready, found = threading.Barrier(6), []

    def send(number: int) -> None:
        ready.wait()
        found.append(post(web, ScheduledProcedureStepID=f"S{number % 2}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item["Id"] for item in found}) == 2
    assert len({item["StudyInstanceUID"] for item in found}) == 1
    assert {item["Version"] for item in found} == {1}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"PatientID": None}, "PatientID", "missing"),
        ({"PatientName": "   "}, "PatientName", "empty"),
        ({"Modality": None}, "Modality", "missing"),
        ({"Modality": "Ct"}, "Modality", "capital"),
        ({"AccessionNumber": "A" * 17}, "AccessionNumber", "17 characters, more than 16"),
        ({"AccessionNumber": None, "RequestedProcedureID": None}, "AccessionNumber", "missing"),
        ({"PatientID": "A\\B"}, "PatientID", "backslash"),
        ({"PatientID": "A\u0000B"}, "PatientID", "control"),
        ({"PatientID": True}, "PatientID", "text"),
        ({"PatientID": ["1", "2"]}, "PatientID", "too many"),
        ({"PatientName": "A" * 65}, "PatientName", "65 characters"),
        ({"PatientName": 5}, "PatientName", "name"),
        ({"PatientSex": "Nam"}, "PatientSex", "M, F, O"),
        ({"PregnancyStatus": 7}, "PregnancyStatus", "1, 2, 3, 4"),
        ({"PregnancyStatus": "có"}, "PregnancyStatus", "1, 2, 3, 4"),
        ({"PatientWeight": "nặng"}, "PatientWeight", "number"),
        ({"PatientBirthDate": "12/05/1962"}, "PatientBirthDate", "YYYYMMDD"),
        ({"ScheduledProcedureStepStartTime": "8h30"}, "ScheduledProcedureStepStartTime", "HHMM"),
        ({"ScheduledStationAETitle": ["CT1", "MÁY"]}, "ScheduledStationAETitle", "AE title"),
        ({"StudyInstanceUID": "1.2..3"}, "StudyInstanceUID", "UID"),
        ({"ScheduledProtocolCodeSequence": [{"CodeValue": "X"}]}, "ScheduledProtocolCodeSequence[0].CodingSchemeDesignator", "missing"),
        ({"ScheduledProtocolCodeSequence": [{"Code": "X"}]}, "ScheduledProtocolCodeSequence[0].Code", "not an attribute"),
        ({"ScheduledProtocolCodeSequence": ["X"]}, "ScheduledProtocolCodeSequence[0]", "object"),
        ({"PatientNme": "X"}, "PatientNme", "not an attribute"),
        ({"Facility": "99999"}, "Facility", "not a facility"),
        ({"Facility": None}, "Facility", "missing"),
        ({"ScheduledProcedureStepStatus": "DONE"}, "ScheduledProcedureStepStatus", "one of"),
        ({"RequestedProcedureDescription": None, "ScheduledProcedureStepDescription": None,
          "ScheduledProtocolCodeSequence": None}, "RequestedProcedureDescription", "missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_field(shared: httpx.Client, changes: dict[str, Any], field: str, says: str) -> None:
    response = shared.post("/worklist/items", json=order(**changes))
    assert response.status_code == 422, response.text
    assert says in faults(response)[field]
    assert shared.get("/worklist/items").json()["Total"] == 0


@pytest.fixture(scope="module")
def shared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.web_server import fresh_archive, serving
    from viewer_api.app import create_app

    facilities = [{"code": "86001", "name": "A"}]
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("worklist"), facilities=facilities) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


def test_all_mistakes_are_told_at_once_and_no_value_is_repeated(shared: httpx.Client) -> None:
    response = shared.post("/worklist/items", json=order(PatientSex="secret", PatientBirthDate="secret", Modality=None))
    assert set(faults(response)) == {"PatientSex", "PatientBirthDate", "Modality"}
    assert "secret" not in response.text
    bare = shared.post("/worklist/items", json={"Facility": "86001", "PatientSex": "secret"})
    assert set(faults(bare)) == {
        "AccessionNumber", "PatientSex", "PatientID", "PatientName", "Modality", "RequestedProcedureDescription",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'"x"', b"", b"\xff", b"[" * 50_000, b'{"PatientID": ' + b"9" * 6000 + b"}"]
)
def test_what_is_no_object(shared: httpx.Client, body: bytes) -> None:
    response = shared.post("/worklist/items", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_fields_are_changed_one_by_one(web: httpx.Client) -> None:
    made = post(web)
    path = f"/worklist/items/{made['Id']}"
    response = web.patch(path, json={"PatientWeight": 70, "Allergies": None}, headers={"If-Match": '"1"'})
    assert response.status_code == 200
    assert (response.json()["PatientWeight"], response.headers["etag"]) == (70, '"2"')
    assert "Allergies" not in response.json()
    assert response.json()["PatientName"] == NAME
    assert web.patch(path, json={"PatientWeight": 71}, headers={"If-Match": '"1"'}).status_code == 412
    assert web.patch(path, json={"PatientWeight": 71}, headers={"If-Match": "*"}).status_code == 200
    assert web.patch(path, json={"PatientWeight": 72}, headers={"If-Match": "3"}).status_code == 400
    assert faults(web.patch(path, json={"PatientID": None})) == {"PatientID": "is missing"}
    assert web.patch(path, json={"ScheduledProcedureStepStatus": "ARRIVED"}).json()["Version"] == 4
    for unknown in ("999", str(1 << 70)):
        assert web.patch(f"/worklist/items/{unknown}", json={}).status_code == 404


def test_an_item_is_replaced(web: httpx.Client) -> None:
    made = post(web)
    path = f"/worklist/items/{made['Id']}"
    new = {"Facility": "86001", "PatientID": "BN2", "PatientName": "TRẦN^B", "Modality": "MR",
           "RequestedProcedureDescription": "MRI"}  # fmt: skip
    replaced = web.put(path, json=new).json()
    assert (replaced["PatientName"], replaced["Modality"]) == ("TRẦN^B", "MR")
    assert (replaced["AccessionNumber"], replaced["StudyInstanceUID"]) == ("A100", made["StudyInstanceUID"])
    assert "PatientWeight" not in replaced
    # What was got may be sent back.
    assert web.put(path, json=replaced).json()["Version"] == 2
    assert web.put(path, json={**replaced, "Facility": "86002"}).status_code == 422
    post(web, AccessionNumber="A101")
    assert web.patch(path, json={"AccessionNumber": "A101"}).status_code == 409


def test_an_item_is_cancelled_unless_it_was_begun(web: httpx.Client, archive: Archive) -> None:
    made = post(web)
    path = f"/worklist/items/{made['Id']}"
    assert web.delete(path, headers={"If-Match": '"9"'}).status_code == 412
    assert web.delete(path).status_code == 204
    assert web.delete(path).status_code == 204
    found = web.get(path).json()
    assert (found["ScheduledProcedureStepStatus"], found["ClosedBy"], found["Version"]) == ("CANCELLED", "api", 2)
    assert post(web)["ScheduledProcedureStepStatus"] == "CANCELLED"
    assert post(web, ScheduledProcedureStepStatus="SCHEDULED")["ClosedBy"] is None
    archive.performed.create("1.2.3", dataset_json(begin(archive.worklist.get(made["Id"])), None), SOURCE)
    assert web.delete(path).status_code == 409
    assert web.delete("/worklist/items/0").status_code == 404


def test_a_number_that_was_used_for_another_patient(web: httpx.Client, archive: Archive) -> None:
    """Some systems begin to count anew each year; what was done must not become another patient's."""
    made = post(web)
    corrected = post(web, PatientID="BN0009")
    assert corrected["Id"] == made["Id"]
    archive.performed.create("1.2.3", dataset_json(begin(archive.worklist.get(made["Id"])), None), SOURCE)
    response = web.post("/worklist/items", json=order(PatientID="BN0001"))
    assert (response.status_code, response.json()["type"]) == (409, "urn:pacs:problem:conflict")


def test_search(web: httpx.Client) -> None:
    tomorrow = clock.today() + timedelta(days=1)
    post(web)
    post(
        web,
        AccessionNumber="A2",
        Modality="MR",
        ScheduledStationAETitle="MR1",
        ScheduledProcedureStepStartDate=str(tomorrow),
    )
    post(web, AccessionNumber="A3", ScheduledProcedureStepStatus="COMPLETED", ScheduledStationAETitle=None)
    post(web, AccessionNumber="B1", Facility="86002", PatientID="X")

    def found(**wanted: Any) -> list[str]:
        response = web.get("/worklist/items", params=wanted)
        assert response.status_code == 200, response.text
        assert response.headers["x-total-count"] == str(response.json()["Total"])
        return [item["AccessionNumber"] for item in response.json()["Items"]]

    assert found() == ["A100", "A3", "B1", "A2"]
    assert found(first=str(tomorrow)) == ["A2"]
    assert found(last=str(clock.today()), facility="86001") == ["A100", "A3"]
    assert found(status=["COMPLETED", "CANCELLED"]) == ["A3"]
    assert found(modality="MR") == ["A2"]
    assert found(station="MR1") == ["A3", "A2"]
    assert found(PatientID="X") == ["B1"]
    assert found(AccessionNumber="A100") == ["A100"]
    assert found(limit=1, offset=1) == ["A3"]
    for bad in ({"first": "x"}, {"status": "DONE"}, {"limit": 0}, {"limit": 1001}, {"PatientID": "\x00"}):
        assert web.get("/worklist/items", params=bad).status_code == 400


def test_performed_steps_with_what_has_not_arrived(web: httpx.Client, archive: Archive) -> None:
    made = post(web)
    image = ct_image(StudyInstanceUID=made["StudyInstanceUID"], SeriesInstanceUID="1.2.3.1")
    store_object(archive, image)
    archive.performed.create("1.2.3", dataset_json(begin(archive.worklist.get(made["Id"])), None), SOURCE)
    announced = {"1.2.3.1": [str(image.SOPInstanceUID), "1.2.3.1.99"]}
    archive.performed.set("1.2.3", dataset_json(end("COMPLETED", announced), None), SOURCE)
    [step] = web.get("/worklist/steps", params={"AccessionNumber": "A100"}).json()["Steps"]
    assert (step["PerformedProcedureStepStatus"], step["PatientName"]) == ("COMPLETED", NAME)
    assert (step["NumberOfAnnouncedInstances"], step["NumberOfMissingInstances"]) == (2, 1)
    assert step["Items"] == [made["Id"]]
    whole = web.get("/worklist/steps/1.2.3").json()
    assert whole["Series"] == [{"SeriesInstanceUID": "1.2.3.1", "Announced": 2, "Missing": ["1.2.3.1.99"]}]
    assert whole["Attributes"]["00400252"]["Value"] == ["COMPLETED"]
    item = web.get(f"/worklist/items/{made['Id']}").json()
    assert (item["ScheduledProcedureStepStatus"], item["ClosedBy"]) == ("COMPLETED", "mpps")
    assert item["NumberOfStudyRelatedInstances"] == 1
    for wanted, count in (({"state": "COMPLETED"}, 1), ({"state": "IN PROGRESS"}, 0), ({"item": made["Id"]}, 1),
                          ({"StudyInstanceUID": made["StudyInstanceUID"]}, 1), ({"modality": "MR"}, 0)):  # fmt: skip
        assert web.get("/worklist/steps", params=wanted).json()["Total"] == count
    assert web.get("/worklist/steps/1.2.4").status_code == 404
    assert web.get("/worklist/steps/x").status_code == 400


def test_the_api_is_described(web: httpx.Client) -> None:
    paths = web.get("/openapi.json").json()["paths"]
    assert {"get", "put", "patch", "delete"} <= set(paths["/worklist/items/{item}"])
    assert set(paths["/worklist/items"]) == {"get", "post"}
