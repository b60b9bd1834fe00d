"""The pages for sharing and emergencies: what is pressed there opens and shuts studies."""

from __future__ import annotations

import re

import pytest

from archive.core import Archive
from archive.people.roles import Role
from tests.factories import ct_image
from tests.factories import store as keep
from tests.integration.archive.test_sharing import A, caller_of, seen
from tests.integration.viewer_api.test_sharing_api import as_


@pytest.fixture
def study(archive: Archive) -> str:
    image = ct_image()
    keep(archive, image, A)
    return str(image.StudyInstanceUID)


def test_a_doctor_refers_and_takes_back_on_the_page(archive: Archive, study: str) -> None:
    an = caller_of(archive, "an", (Role.RADIOLOGIST, "86001"))
    binh = caller_of(archive, "binh", (Role.RADIOLOGIST, "86002"))
    with as_(archive, an) as web:
        assert 'action="/shared/new"' in web.get("/").text
        form = web.post("/shared/new", data={"study": study})
        assert form.status_code == 200
        assert "TTYT huyện" in form.text
        assert "Bệnh viện Đa khoa tỉnh" not in form.text  # it is theirs already
        given = {"study": study, "way": "referral", "to": "86002", "purpose": "Chuyển tuyến trên", "days": "7"}
        incomplete = web.post("/shared/made", data={**given, "purpose": ""})
        assert incomplete.status_code == 422
        assert "Chưa đủ thông tin" in incomplete.text
        assert web.post("/shared/made", data=given).headers["location"] == "/shared"
        assert seen(archive, binh) == {study}
        listed = web.get("/shared").text
        assert "Chuyển tuyến trên" in listed
        # Not by its UID, which tells nobody anything.
        assert f'StudyInstanceUIDs={study}" title="{study}"><b>' in listed
        number = re.search(r'action="/shared/withdraw"><input type="hidden" name="number" value="(\d+)"', listed)
        assert number is not None
        foreign = {"origin": "https://evil.example"}
        assert web.post("/shared/withdraw", data={"number": number[1]}, headers=foreign).status_code == 403
        assert web.post("/shared/withdraw", data={"number": number[1]}).status_code == 303
        assert seen(archive, binh) == set()
    with as_(archive, binh) as web:
        assert web.post("/shared/new", data={"study": study}).status_code == 404
        assert web.post("/shared/made", data=given).status_code == 404
        assert web.post("/shared/withdraw", data={"number": number[1]}).status_code == 404


def test_a_consultation_by_the_page(archive: Archive, study: str) -> None:
    an = caller_of(archive, "an", (Role.CLINICIAN, "86001"))
    binh = caller_of(archive, "binh", (Role.CLINICIAN, "86002"))
    with as_(archive, an) as web:
        given = {
            "study": study,
            "way": "consultation",
            "to": ["86002"],
            "purpose": "Ý kiến",
            "title": "U não",
            "days": "3",
        }
        assert web.post("/shared/made", data=given).status_code == 303
    with as_(archive, binh) as web:
        assert "U não" in web.get("/shared").text
        assert seen(archive, binh) == {study}


def test_an_emergency_by_the_page_and_its_notice(archive: Archive, study: str) -> None:
    binh = caller_of(archive, "binh", (Role.CLINICIAN, "86002"))
    admin = caller_of(archive, "qt", (Role.FACILITY_ADMIN, "86001"))
    given = {"patient_id": "BN0001", "birth_date": "1962-05-12", "reason": "Cấp cứu: đa chấn thương"}
    with as_(archive, binh) as web:
        wrong = web.post("/emergency", data={**given, "birth_date": "1962-05-13"})
        assert wrong.status_code == 404
        assert "Không có người bệnh nào" in wrong.text
        opened = web.post("/emergency", data=given)
        assert opened.status_code == 200
        assert f"StudyInstanceUIDs={study}" in opened.text
    with as_(archive, admin) as web:
        page = web.get("/shared").text
        assert "Cấp cứu: đa chấn thương" in page
        number = re.search(r'data-notice="(\d+)"', page)
        assert number is not None
        assert web.post("/shared/acknowledge", data={"number": number[1]}).status_code == 303
        assert "data-notice" not in web.get("/shared").text
        assert web.get("/emergency").status_code == 403


def test_nothing_but_the_pages_that_one_may_open_is_offered(archive: Archive) -> None:
    technician = caller_of(archive, "ky", (Role.TECHNICIAN, "86001"))
    with as_(archive, technician) as web:
        assert "/shared" not in web.get("/").text
        assert web.get("/shared").status_code == 403
        assert web.post("/shared/made", data={}).status_code == 403
        assert web.post("/emergency", data={}).status_code == 403
