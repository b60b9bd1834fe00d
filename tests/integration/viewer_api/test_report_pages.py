"""The pages of reports: what is pressed there is written, signed and said otherwise."""

from __future__ import annotations

import re

import httpx
import pytest

from archive.core import Archive
from archive.people.roles import Role
from tests.integration.archive.support import sql
from tests.integration.archive.test_report_objects import work
from tests.integration.archive.test_reports import FOUND, radiologist
from tests.integration.archive.test_sharing import A, caller_of, kept
from tests.integration.viewer_api.test_sharing_api import as_


@pytest.fixture
def study(archive: Archive) -> str:
    return kept(archive, A, StudyDescription="CT SO NAO")


def form_of(web: httpx.Client, address: str) -> dict[str, str]:
    """The hidden values of the form that one writes in."""
    text = web.get(address).text
    return dict(re.findall(r'<input type="hidden" name="(revision|template)" value="([^"]*)">', text))


def test_a_radiologist_reads_writes_and_signs(archive: Archive, study: str) -> None:
    an = radiologist(archive, "an", "86001")
    with as_(archive, an) as web:
        assert f"/reports/of/{study}" in web.get("/reports").text
        assert "Chưa đọc" in web.get("/").text
        offered = web.get(f"/reports/of/{study}").text
        assert offered.index('value="ct-so-nao"') < offered.index('value="ct-bung"')
        begun = web.post("/reports/begin", data={"study": study, "template": "ct-so-nao"})
        address = begun.headers["location"]
        assert begun.status_code == 303 and address.endswith("/edit")
        again = web.post("/reports/begin", data={"study": study})
        assert again.status_code == 409 and "đã có kết quả" in again.text
        given = {**form_of(web, address), "f.nhu_mo": "Giảm tỷ trọng, .dms", "f.lech": "2,5", "conclusion": "Nhồi máu."}
        wrong = web.post(address, data={**given, "f.lech": "hai", "do": "save"})
        assert wrong.status_code == 422 and "phải là một số" in wrong.text and "Nhồi máu." in wrong.text
        script = {"accept": "application/json"}
        saved = web.post(address, data={**given, "do": "save"}, headers=script)
        assert saved.json() == {"revision": 2}
        late = web.post(address, data={**given, "do": "save"})
        assert late.status_code == 412 and "Người khác vừa sửa" in late.text
        assert web.post(address, data={**given, "revision": "2", "do": "preliminary"}).status_code == 303
        assert "Sơ bộ" in web.get("/").text
        signed = web.post(address, data={**given, "revision": "4", "do": "sign"})
        assert signed.status_code == 303
        shown = web.get(signed.headers["location"]).text
        for words in ("đường giữa cân đối", "Mức độ lệch đường giữa: 2,5 mm", "Nhồi máu.", "Đã ký", "003539/HCM-CCHN"):
            assert words in shown
        assert "Đã ký" in web.get("/").text
        assert study not in web.get("/reports").text
        printed = web.get(signed.headers["location"] + "/print")
        assert printed.headers["content-type"] == "application/pdf" and printed.content.startswith(b"%PDF-")
        assert sql(archive, "SELECT count(*) FROM audit_record WHERE detail ->> 'what' = 'report printed'") == [1]


def test_a_signed_report_is_added_to_amended_and_cancelled(archive: Archive, study: str) -> None:
    an = radiologist(archive, "an", "86001")
    entry = archive.reports.create(an, study, FOUND)
    archive.reports.sign(an, entry.number, entry.revision)
    address = f"/reports/{entry.number}"
    with as_(archive, an) as web:
        revision = re.search(r'name="revision" value="(\d+)"', web.get(address).text)
        assert revision is not None
        added = {"revision": revision[1], "text": "So với phim cũ.", "reason": "Có phim cũ"}
        assert web.post(f"{address}/addend", data={**added, "reason": ""}).status_code == 422
        assert web.post(f"{address}/addend", data=added).status_code == 303
        assert "So với phim cũ." in web.get(address).text
        revision = re.search(r'name="revision" value="(\d+)"', web.get(address).text)
        assert revision is not None
        began = web.post(f"{address}/amend", data={"revision": revision[1], "reason": "Nhầm bên"})
        given = form_of(web, began.headers["location"])
        assert "Nhầm bên" in web.get(began.headers["location"]).text
        changed = {**given, "text": FOUND.text, "conclusion": "Bên phải.", "do": "sign"}
        assert web.post(f"{address}/edit", data=changed).headers["location"] == address
        shown = web.get(address).text
        assert "Bên phải." in shown and "Phiên bản 1" in shown and "Đã ký, có sửa đổi" in shown
        revision = re.search(r'name="revision" value="(\d+)"', shown)
        assert revision is not None
        assert web.post(f"{address}/cancel", data={"revision": revision[1], "reason": "Nhầm người"}).status_code == 303
        assert "Đã hủy" in web.get(address).text
        foreign = {"origin": "https://evil.example"}
        assert web.post(f"{address}/amend", data={"reason": "x"}, headers=foreign).status_code == 403


def test_others_read_what_was_given_out_and_write_nothing(archive: Archive, study: str) -> None:
    an, chi = radiologist(archive, "an", "86001"), caller_of(archive, "chi", (Role.CLINICIAN, "86001"))
    binh = caller_of(archive, "binh", (Role.CLINICIAN, "86002"))
    entry = archive.reports.create(an, study, FOUND)
    with as_(archive, chi) as web:
        assert web.get(f"/reports/{entry.number}").status_code == 404
        assert web.get("/reports").status_code == 403
        assert web.post("/reports/begin", data={"study": study}).status_code == 403
        assert "Viết kết quả mới" not in web.get(f"/reports/of/{study}").text
        archive.reports.sign(an, entry.number, entry.revision)
        assert FOUND.conclusion in web.get(f"/reports/{entry.number}").text
        assert FOUND.conclusion in web.get(f"/reports/of/{study}").text
    with as_(archive, binh) as web:
        assert web.get(f"/reports/{entry.number}").status_code == 404
        assert web.get(f"/reports/{entry.number}/print").status_code == 404
        assert web.get(f"/reports/of/{study}").status_code == 404


def test_who_has_no_licence_is_asked_for_it(archive: Archive, study: str) -> None:
    em = radiologist(archive, "em", "86001", licence="")
    entry = archive.reports.create(em, study, FOUND)
    address = f"/reports/{entry.number}/edit"
    with as_(archive, em) as web:
        given = {**form_of(web, address), "conclusion": "Bình thường.", "do": "sign"}
        refused = web.post(address, data=given)
        assert refused.status_code == 422 and "chứng chỉ (giấy phép) hành nghề để ký" in refused.text
        assert web.post("/reports/licence", data={"number": entry.number, "licence": "0099/CM"}).status_code == 303
        assert web.post(address, data={**given, "revision": "2"}).status_code == 303
    (found,) = archive.reports.of_study(em, study)
    assert found.version is not None and found.version.author_licence == "0099/CM"


def test_the_patient_and_the_disc_get_what_was_signed(archive: Archive, study: str) -> None:
    an = radiologist(archive, "an", "86001")
    entry = archive.reports.create(an, study, FOUND)
    archive.reports.sign(an, entry.number, entry.revision)
    work(archive)
    (found,) = [archive.results.of_study(an.scope(), study)]
    lines = [line.value for report in found.reports for line in report.lines or ()]
    assert FOUND.conclusion in lines
