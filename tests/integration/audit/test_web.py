"""Everything that is done over HTTP is on record before its result is given out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from archive.core import Archive
from archive.people.caller import NOBODY, Caller, Kind
from archive.people.roles import Right
from tests.factories import ct_image
from tests.factories import store as put
from tests.integration.archive.support import sql
from tests.integration.audit.records import Record, records
from tests.web_server import dataset, part10, serving, store
from tests.worklist import order
from viewer_api.app import create_app

HOME = frozenset({"86001"})
DOCTOR = Caller(Kind.ACCOUNT, "bs.lan", {Right.VIEW: HOME}, account=7)
CHIEF = Caller(Kind.ACCOUNT, "bs.truong", dict.fromkeys((Right.VIEW, Right.COPY), HOME), account=8)
OTHER = Caller(Kind.ACCOUNT, "bs.khac", {Right.VIEW: frozenset({"86002"})}, account=9)
ALL = Caller(Kind.SERVICE, "his", dict.fromkeys(Right), account=10)


class _Always:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def caller(self, connection: HTTPConnection) -> Caller:
        del connection
        return self._caller


@contextmanager
def web_of(archive: Archive, caller: Caller) -> Iterator[httpx.Client]:
    app = create_app(archive)
    app.state.sign_in = _Always(caller)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as web:
        yield web


def only(archive: Archive, *actions: str) -> Record:
    (found,) = records(archive, *actions)
    return found


def test_a_search_is_on_record_with_what_it_asked_for(archive: Archive) -> None:
    with web_of(archive, DOCTOR) as web:
        web.get("/dicom-web/studies", params={"PatientID": "BN0001", "PatientName": "NGUY*", "limit": "3"})
        web.post("/", data={"name": "Nguyễn Văn An", "patient_id": "BN"})
    one, two = records(archive, "search")
    assert (one.name, one.kind, one.address, one.home) == ("bs.lan", "account", "127.0.0.1", ["86001"])
    assert one.patient_id == "BN0001"
    assert one.detail == {
        "what": "search of study",
        "keys": ["PatientID=BN0001", "PatientName=NGUY*"],
        "matches": 0,
    }
    assert two.detail["keys"] == ["PatientName=Nguyễn Văn An", "PatientID=BN*"]
    assert two.patient_id == ""


def test_a_look_is_on_record_with_patient_and_owner_and_counted_afterwards(archive: Archive) -> None:
    image = ct_image()
    put(archive, image)
    path = f"/dicom-web/studies/{image.StudyInstanceUID}"
    frame = f"{path}/series/{image.SeriesInstanceUID}/instances/{image.SOPInstanceUID}/frames/1"
    with web_of(archive, DOCTOR) as web:
        assert web.get(f"{path}/metadata").status_code == 200
        for _ in range(5):
            assert web.get(frame).status_code == 200
        assert web.get(f"{path}/rendered").status_code == 200
    look = only(archive, "view")
    assert (look.patient_id, look.owners, look.studies) == (image.PatientID, ["86001"], [image.StudyInstanceUID])
    archive.looks.close()
    end = records(archive, "view")[-1]
    assert (end.detail["phase"], end.detail["instances"], end.detail["requests"]) == ("end", 1, 7)


def test_a_copy_is_no_mere_look(archive: Archive) -> None:
    image = ct_image()
    put(archive, image)
    path = f"/dicom-web/studies/{image.StudyInstanceUID}"
    with web_of(archive, CHIEF) as web:
        assert web.get(path, headers={"Accept": 'multipart/related; type="application/dicom"'}).status_code == 200
    assert only(archive).short == ("copy", "success", [image.StudyInstanceUID])


def test_refusals_are_on_record_whichever_they_are(archive: Archive) -> None:
    image = ct_image()
    put(archive, image)
    path = f"/dicom-web/studies/{image.StudyInstanceUID}"
    with web_of(archive, NOBODY) as web:
        assert web.get(path + "/metadata").status_code == 401
    with web_of(archive, DOCTOR) as web:
        assert web.get(path).status_code == 403
        assert web.get("/metrics").status_code == 403
    with web_of(archive, OTHER) as web:
        assert web.get(path + "/metadata").status_code == 404
        assert web.get("/dicom-web/studies/1.2.3.4/metadata").status_code == 404
    anonymous, copy, metrics, foreign, guessed = records(archive)
    assert {each.outcome for each in records(archive)} == {"denied"}
    assert (anonymous.action, anonymous.detail["status"], anonymous.address) == ("sign_in", 401, "127.0.0.1")
    assert (copy.action, copy.name, copy.detail["status"]) == ("copy", "bs.lan", 403)
    assert (metrics.action, metrics.detail["what"]) == ("operate", "GET /metrics")
    assert (foreign.detail["status"], foreign.owners, foreign.patient_id) == (404, ["86001"], image.PatientID)
    assert (guessed.studies, guessed.owners) == (["1.2.3.4"], [])


def test_a_frame_that_is_not_there_is_no_refusal(archive: Archive) -> None:
    image = ct_image()
    put(archive, image)
    path = f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
    with web_of(archive, DOCTOR) as web:
        assert web.get(f"{path}/instances/{image.SOPInstanceUID}/frames/9").status_code == 404
    assert [each.outcome for each in records(archive)] == ["success"]


def test_what_is_sent_is_on_record(archive: Archive) -> None:
    sent = dataset()
    with web_of(archive, ALL) as web:
        assert store(web, part10(sent)).status_code == 200
        assert store(web, b"no DICOM").status_code == 409
    good, bad = records(archive, "store")
    assert (good.name, good.studies, good.patient_id) == ("his", [sent.StudyInstanceUID], "BN0001")
    assert (good.detail["instances"], good.outcome) == (1, "success")
    assert (bad.detail["refused"], bad.outcome) == (1, "failed")


def test_changes_and_looks_at_the_worklist_are_on_record(archive: Archive) -> None:
    with web_of(archive, ALL) as web:
        web.get("/worklist/items", params={"PatientID": "BN0001"})
        web.get("/worklist/items", params={"PatientID": "BN0001"})
        web.delete("/worklist/items/12")
        web.get("/metrics")
        web.get("/metrics")
        web.get("/healthz")
    search, begun, change, metrics = records(archive)
    assert (begun.outcome, change.outcome, change.detail["status"]) == ("intended", "denied", 404)
    assert begun.detail["act"] == change.detail["act"]
    assert (search.action, search.detail["query"]) == ("search", "PatientID=BN0001")
    assert (change.action, change.detail["what"], change.detail["item"]) == (
        "order",
        "DELETE /worklist/items/{item}",
        "12",
    )
    assert (metrics.action, metrics.detail["what"]) == ("operate", "GET /metrics")


def test_a_change_is_on_record_as_it_ended(archive: Archive) -> None:
    with web_of(archive, ALL) as web:
        made = web.post("/worklist/items", json=order())
        assert made.status_code == 201
        path = f"/worklist/items/{made.json()['Id']}"
        assert web.patch(path, json={"PatientSex": "?"}).status_code == 422
        assert web.patch(path, json={"PatientSex": "F"}).status_code == 200
    told = [(each.outcome, each.detail["what"].split()[0]) for each in records(archive, "order")]
    assert told == [
        *(("intended", "POST"), ("success", "POST"), ("intended", "PATCH"), ("failed", "PATCH")),
        *(("intended", "PATCH"), ("success", "PATCH")),
    ]
    acts = [each.detail["act"] for each in records(archive, "order")]
    assert acts[::2] == acts[1::2]
    assert len(set(acts)) == 3


def test_a_change_that_breaks_is_on_record_as_failed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(archive.worklist, "cancel", broken)
    with web_of(archive, ALL) as web:
        item = web.post("/worklist/items", json=order()).json()["Id"]
        assert web.delete(f"/worklist/items/{item}").status_code == 500
    assert [each.outcome for each in records(archive, "order")][2:] == ["intended", "failed"]


def test_a_change_is_on_record_before_it_is_done(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies while changing leaves the record that it was begun; no outcome is made up for it."""
    seen: list[str] = []
    put = archive.worklist.put

    def looking(*given: Any, **named: Any) -> Any:
        seen.extend(each.outcome for each in records(archive, "order"))
        sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
        return put(*given, **named)

    monkeypatch.setattr(archive.worklist, "put", looking)
    with web_of(archive, ALL) as web:
        # The outcome cannot be recorded any more; what was done is done, and told as it is.
        assert web.post("/worklist/items", json=order()).status_code == 201
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")
    assert seen == ["intended"]
    assert [each.outcome for each in records(archive, "order")] == ["intended"]


def test_the_worklist_page_is_on_record_with_what_it_asked_for(archive: Archive) -> None:
    with web_of(archive, ALL) as web:
        for _ in range(2):
            assert web.post("/worklist", data={"text": "Nguyễn", "modality": "CT"}).status_code == 200
        web.get("/worklist")
    asked, page = records(archive, "search")
    assert asked.detail["matches"] == 0
    assert {"modality=CT", "text=Nguyễn", "shown=open"} < set(asked.detail["keys"])
    assert len(page.detail["keys"]) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/dicom-web/studies"),
        ("GET", "/dicom-web/studies/{study}/metadata"),
        ("GET", "/dicom-web/studies/{study}"),
        ("POST", "/forwarding/pause"),
        ("GET", "/worklist/items"),
    ],
)
def test_what_cannot_be_recorded_is_not_done(archive: Archive, method: str, path: str) -> None:
    image = ct_image()
    put(archive, image)
    sql(archive, "ALTER TABLE audit_record RENAME TO audit_gone")
    with web_of(archive, ALL) as web:
        answer = web.request(method, path.format(study=image.StudyInstanceUID), json={"destination": "X"})
        assert answer.status_code == 503
    sql(archive, "ALTER TABLE audit_gone RENAME TO audit_record")


def test_the_same_question_again_is_counted_and_another_is_not(archive: Archive) -> None:
    put(archive, ct_image())
    with web_of(archive, DOCTOR) as web:
        for _ in range(4):
            web.get("/dicom-web/studies", params={"PatientID": "BN0001"})
        web.get("/dicom-web/studies", params={"PatientID": "BN0002"})
        put(archive, ct_image(seed=2))
        web.get("/dicom-web/studies", params={"PatientID": "BN0001"})
    told = [(each.detail["keys"], each.detail["matches"]) for each in records(archive, "search")]
    assert told == [(["PatientID=BN0001"], 1), (["PatientID=BN0002"], 0), (["PatientID=BN0001"], 2)]
    archive.looks.close()
    (end,) = [each for each in records(archive, "search") if each.detail.get("phase") == "end"]
    assert (end.detail["requests"], end.detail["keys"], end.patient_id) == (4, ["PatientID=BN0001"], "BN0001")
