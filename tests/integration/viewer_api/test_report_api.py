"""Reports over HTTP, and signed ones for insurers and health records."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from archive.cli import main
from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right, Role
from archive.reports.records import Written
from config import clock
from tests.integration.archive.support import sql
from tests.integration.archive.test_reports import FOUND, radiologist
from tests.integration.archive.test_sharing import A, caller_of, kept
from tests.integration.viewer_api.test_sharing_api import as_

CODES = {"MA_LK": "LK2611220001", "MA_DICH_VU": "18.0149.0040"}


@pytest.fixture
def an(archive: Archive) -> Caller:
    return radiologist(archive, "an", "86001")


def test_a_report_over_http(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    with as_(archive, an) as web:
        assert web.get("/reporting/unread").json()[0]["study"] == study
        made = web.post("/reporting/reports", json={"study": study, "template": "ct-so-nao", "fields": {"lech": "3"}})
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        address = made.headers["location"]
        body = {"conclusion": "Nhồi máu.", "template": "ct-so-nao", "fields": {"lech": "4"}, "codes": CODES}
        assert web.put(f"{address}/draft", json=body).status_code == 400
        assert web.put(f"{address}/draft", json=body, headers={"If-Match": '"7"'}).status_code == 412
        unknown = web.put(f"{address}/draft", json={**body, "fields": {"x": "1"}}, headers={"If-Match": '"1"'})
        assert unknown.status_code == 422 and unknown.json()["errors"][0]["field"] == "fields.x"
        saved = web.put(f"{address}/draft", json=body, headers={"If-Match": '"1"'})
        assert saved.json()["draft"]["description"] == "Mức độ lệch đường giữa: 4 mm"
        signed = web.post(f"{address}/sign", json={}, headers={"If-Match": saved.headers["etag"]})
        assert signed.json()["status"] == "final" and len(signed.json()["version"]["digest"]) == 64
        again = web.post(f"{address}/sign", json={}, headers={"If-Match": signed.headers["etag"]})
        assert again.status_code == 409 and again.headers["content-type"] == "application/problem+json"
        added = {"text": "So với phim cũ.", "reason": "Có phim cũ"}
        done = web.post(f"{address}/addend", json=added, headers={"If-Match": signed.headers["etag"]})
        assert [each["status"] for each in web.get(f"{address}/history").json()] == ["final", "addendum"]
        assert web.get(f"{address}/pdf").content.startswith(b"%PDF-")
        assert [each["number"] for each in web.get("/reporting/reports", params={"study": study}).json()] == [
            done.json()["number"]
        ]
        assert "ct-so-nao" in {each["id"] for each in web.get("/reporting/templates").json()["templates"]}


def signed(archive: Archive, caller: Caller, written: Written) -> str:
    entry = archive.reports.create(caller, kept(archive, A), written)
    return archive.reports.sign(caller, entry.number, entry.revision).number


def test_xml4_has_what_insurers_want_and_says_what_is_missing(archive: Archive, an: Caller) -> None:
    whole = signed(archive, an, Written(conclusion="Nhồi máu <não> & phù.", text="Mô tả", codes=CODES))
    lacking = signed(archive, an, FOUND)
    with as_(archive, an) as web:
        (item,) = ET.fromstring(web.get(f"/reporting/reports/{whole}/xml4").content).iter("CHI_TIET_CLS")
        values = {each.tag: each.text or "" for each in item}
        assert list(values)[:5] == ["MA_LK", "STT", "MA_DICH_VU", "MA_CHI_SO", "TEN_CHI_SO"]
        assert (values["MA_LK"], values["STT"], values["MA_BS_DOC_KQ"]) == (CODES["MA_LK"], "1", "003539/HCM-CCHN")
        assert (values["MO_TA"], values["KET_LUAN"]) == ("Mô tả", "Nhồi máu <não> & phù.")
        assert values["NGAY_KQ"].startswith(clock.today().strftime("%Y%m%d")) and len(values["NGAY_KQ"]) == 12
        told = web.get(f"/reporting/reports/{lacking}/xml4", params={"format": "json"}).json()
        assert {each["field"] for each in told["faults"]} == {"MA_LK", "MA_DICH_VU"}
        day = {"facility": "86001", "day": clock.today().isoformat()}
        both = web.get("/reporting/xml4", params=day)
        assert both.headers["x-reports-left-out"] == "1"
        assert len(list(ET.fromstring(both.content).iter("CHI_TIET_CLS"))) == 1
        assert web.get("/reporting/xml4", params={**day, "facility": "86002"}).status_code == 403
        assert web.get("/reporting/xml4", params={**day, "day": "9999-12-31"}).status_code == 400
        record = web.get(f"/reporting/reports/{whole}/hosobenhan", params={"format": "json"}).json()
        group = record["HoSoBenhAn"][0]["KetQuaChanDoanHinhAnh"]
        assert group["KetLuan"] == "Nhồi máu <não> & phù." and len(group["MaKiemTra"]["GiaTri"]) == 64
        xml = ET.fromstring(web.get("/reporting/hosobenhan", params=day).content)
        assert (xml.tag, len(xml.findall("HoSoBenhAn/KetQuaChanDoanHinhAnh"))) == ("DanhSachHoSoBenhAn", 2)
    assert sql(archive, "SELECT count(*) FROM audit_record WHERE action = 'export'") == [5]


def test_codes_come_from_the_order(archive: Archive, an: Caller) -> None:
    study = kept(archive, A)
    order = {
        "Facility": "86001",
        "AccessionNumber": "CD1",
        "PatientID": "BN0001",
        "PatientName": "NGUYEN^AN",
        "Modality": "CT",
        "AdmissionID": "LK77",
        "StudyInstanceUID": study,
        "RequestedProcedureCodeSequence": [
            {"CodeValue": "18.0149", "CodingSchemeDesignator": "99BYT", "CodeMeaning": "CLVT sọ não"}
        ],
        "ScheduledProcedureStepStartDate": "20261122",
    }
    archive.worklist.put(order, source="api")
    entry = archive.reports.create(an, study, FOUND)
    archive.reports.sign(an, entry.number, entry.revision)
    with as_(archive, an) as web:
        told = web.get(f"/reporting/reports/{entry.number}/xml4", params={"format": "json"}).json()
    assert told["faults"] == []
    (row,) = told["XML4"]
    assert (row["MA_LK"], row["MA_DICH_VU"], row["TEN_CHI_SO"]) == ("LK77", "18.0149", "CLVT sọ não")


def test_who_may_look_may_not_take_away(archive: Archive, an: Caller) -> None:
    number = signed(archive, an, FOUND)
    chi = caller_of(archive, "chi", (Role.CLINICIAN, "86001"))
    with as_(archive, chi) as web:
        assert web.get(f"/reporting/reports/{number}").status_code == 200
        assert web.get(f"/reporting/reports/{number}/xml4").status_code == 403
        refused = web.post(f"/reporting/reports/{number}/sign", json={}, headers={"If-Match": '"2"'})
        assert refused.status_code == 403


def test_a_program_reports_for_its_doctors(archive: Archive) -> None:
    study = kept(archive, A)
    ris = Caller(Kind.SERVICE, "ris", {right: frozenset({"86001"}) for right in (Right.VIEW, Right.REPORT)})
    author = {"name": "BS. Hoa", "licence": "001/CM"}
    with as_(archive, ris) as web:
        assert web.post("/reporting/reports", json={"study": study, "conclusion": "x"}).status_code == 422
        made = web.post("/reporting/reports", json={"study": study, "conclusion": "x", "author": author})
        done = web.post(
            f"{made.headers['location']}/sign", json={"author": author}, headers={"If-Match": made.headers["etag"]}
        )
        assert done.json()["version"]["author_name"] == "BS. Hoa"


def test_the_command_line_exports_and_verifies(
    archive: Archive, an: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(archive, an, Written(conclusion="Bình thường.", codes=CODES))
    signed(archive, an, FOUND)
    monkeypatch.setattr("archive.cli.load", lambda: archive.settings)
    file = archive.settings.data_dir / "xml4.xml"
    assert main(["reports", "export", "86001", str(file)]) == 1
    assert len(list(ET.fromstring(file.read_bytes()).iter("CHI_TIET_CLS"))) == 1
    assert "MA_LK: thiếu mã lượt khám" in capsys.readouterr().err
    assert main(["reports", "objects"]) == 0
    assert "2 waiting" in capsys.readouterr().out
    assert main(["reports", "licence", "an", "000/X"]) == 0
    assert main(["reports", "verify"]) == 0
    sql(archive, "ALTER TABLE report_version DISABLE TRIGGER given_out")
    sql(archive, "UPDATE report_version SET conclusion = 'forged' WHERE id = (SELECT min(id) FROM report_version)")
    assert main(["reports", "verify"]) == 1
    assert "2 versions checked, 1 changed" in capsys.readouterr().out
