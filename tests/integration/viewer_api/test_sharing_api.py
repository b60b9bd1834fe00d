"""Sharing over HTTP: who may do what, and what it opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from archive.core import Archive
from archive.people.caller import Caller
from archive.people.roles import Role
from tests.factories import ct_image
from tests.factories import store as keep
from tests.integration.archive.support import sql
from tests.integration.archive.test_sharing import A, caller_of
from tests.integration.viewer_api.test_gate import app_for
from tests.web_server import serving

TERMS = {"purpose": "chuyển tuyến"}


@contextmanager
def as_(archive: Archive, caller: Caller) -> Iterator[httpx.Client]:
    with serving(app_for(archive, caller)) as url, httpx.Client(base_url=url, timeout=60) as web:
        yield web


@pytest.fixture
def study(archive: Archive) -> str:
    image = ct_image()
    keep(archive, image, A)
    return str(image.StudyInstanceUID)


def test_a_referral_over_http_opens_and_shuts_a_study(archive: Archive, study: str) -> None:
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    binh = caller_of(archive, "binh", (Role.RADIOLOGIST, "86002"))
    metadata = f"/dicom-web/studies/{study}/metadata"
    with as_(archive, an) as ours, as_(archive, binh) as theirs:
        hidden, unknown = theirs.get(metadata), theirs.get("/dicom-web/studies/1.2.3/metadata")
        assert (hidden.status_code, hidden.json()["detail"]) == (unknown.status_code, unknown.json()["detail"])
        refused = theirs.post("/sharing/referrals", json={**TERMS, "study": study, "to": "86002"})
        assert refused.status_code == 404
        made = ours.post("/sharing/referrals", json={**TERMS, "study": study, "to": "86002", "days": 3})
        assert made.status_code == 201, made.text
        assert theirs.get(metadata).status_code == 200
        assert theirs.get(f"/dicom-web/studies/{study}").status_code == 403
        assert [each["studies"] for each in theirs.get("/sharing/decisions").json()] == [[study]]
        (grant,) = ours.get("/sharing/grants", params={"study": study}).json()
        assert theirs.get("/sharing/grants").json() == []
        assert theirs.post(f"/sharing/grants/{grant['id']}/withdraw").status_code == 404
        assert ours.post(f"/sharing/grants/{grant['id']}/withdraw").status_code == 200
        assert theirs.get(metadata).status_code == 404


def test_consultation_and_broken_glass_over_http(archive: Archive, study: str) -> None:
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    binh = caller_of(archive, "binh", (Role.CLINICIAN, "86002"))
    admin = caller_of(archive, "qt", (Role.FACILITY_ADMIN, "86001"))
    with as_(archive, an) as ours, as_(archive, binh) as theirs, as_(archive, admin) as office:
        case = {**TERMS, "title": "Hội chẩn", "studies": [study], "facilities": ["86002"]}
        made = ours.post("/sharing/consultations", json=case)
        assert made.status_code == 201, made.text
        number = made.json()["id"]
        assert len(theirs.get("/dicom-web/studies").json()) == 1
        assert ours.post(f"/sharing/consultations/{number}/extend", json={"accounts": ["nobody"]}).status_code == 422
        assert ours.post(f"/sharing/decisions/{number}/close").status_code == 200
        assert theirs.get("/dicom-web/studies").json() == []
        body = {"patient_id": "BN0001", "birth_date": "1962-05-12", "reason": "cấp cứu, hôn mê sâu"}
        assert office.post("/sharing/break-glass", json=body).status_code == 403
        assert theirs.post("/sharing/break-glass", json={**body, "birth_date": "1962-05-13"}).status_code == 404
        opened = theirs.post("/sharing/break-glass", json=body)
        assert (opened.status_code, opened.json()["studies"]) == (200, [study])
        assert len(theirs.get("/dicom-web/studies").json()) == 1
        (notice,) = office.get("/sharing/notices").json()
        assert office.post(f"/sharing/notices/{notice['id']}/acknowledge").status_code == 204
        assert office.get("/sharing/notices").json() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"study": "1.2.3", "to": "86002"},
        {"study": "1.2.3", "to": "86002", "purpose": "x", "days": 1e400},
        {"study": "1.2.3", "to": "86002", "purpose": "x\0"},
        {"study": "../x", "to": "86002", "purpose": "x"},
        {"study": "1.2.3", "to": "86002", "purpose": "x", "kind": "link"},
    ],
)
def test_what_cannot_be_meant_is_refused(archive: Archive, body: dict[str, object]) -> None:
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    with as_(archive, an) as web:
        content = str(body).replace("inf", "1e999").replace("'", '"') if "days" in body else None
        headers = {"Content-Type": "application/json"}
        sent = web.post("/sharing/referrals", content=content, headers=headers) if content else None
        answer = sent or web.post("/sharing/referrals", json=body)
    assert answer.status_code == 400
    assert sql(archive, "SELECT count(*) FROM sharing") == [0]
