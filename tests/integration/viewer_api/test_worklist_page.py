"""The worklist page: what technicians see of it, and that nothing of a patient leaks from it."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import httpx
import pytest

from archive.core import Archive
from archive.records import EVERYTHING
from archive.standard.json_model import dataset_json
from archive.worklist.steps import StepSource
from config import clock
from tests.factories import ct_image
from tests.factories import store as store_object
from tests.integration.viewer_api.test_pages import _Page
from tests.web_server import web
from tests.worklist import begin, end, put

__all__ = ["web"]

SOURCE = StepSource("86001", "CT1", "10.0.0.1", EVERYTHING)
TOMORROW = f"{clock.today() + timedelta(days=1):%Y%m%d}"


def rows(response: httpx.Response) -> list[list[str]]:
    assert response.status_code == 200, response.text
    return [[cell.strip() for cell in cells] for cells in _Page(response.text).rows if cells]


def names(response: httpx.Response) -> list[str]:
    return [cells[1] for cells in rows(response)]


@pytest.fixture
def filled(web: httpx.Client, archive: Archive) -> httpx.Client:
    put(archive, PatientName="NGUYỄN^VĂN AN", PregnancyStatus=3, PatientSex="F", RequestedProcedurePriority="STAT")
    put(archive, AccessionNumber="A2", PatientName="TRẦN^BÌNH", PatientID="BN2", Modality="MR", Allergies=None,
        ScheduledStationAETitle=None, ScheduledProcedureStepStartTime="0700")  # fmt: skip
    put(archive, AccessionNumber="A3", PatientName="LÊ^CHI", ScheduledProcedureStepStatus="COMPLETED", Allergies=None)
    put(
        archive, AccessionNumber="A4", PatientName="PHẠM^DŨNG", ScheduledProcedureStepStartDate=TOMORROW, Allergies=None
    )
    put(archive, AccessionNumber="B1", PatientName="VŨ^EM", Facility="86002", PatientID="X", Allergies=None,
        ScheduledProcedureStepStartTime=None)  # fmt: skip
    return web


def test_today_s_items_that_are_not_done_by_time(filled: httpx.Client) -> None:
    found = rows(filled.get("/worklist"))
    assert [cells[1] for cells in found] == [
        "VŨ EM",
        "TRẦN BÌNH",
        "Cấp cứu NGUYỄN VĂN ANĐang mang thaiDị ứng: Thuốc cản quang",
    ]
    last = found[-1]
    assert last[0] == "08:30"
    assert last[2:6] == ["BN0001", f"Nữ / {clock.today().year - 1962 - (clock.today() < clock.today().replace(month=5, day=12))} tuổi", "CT", "Chụp CLVT sọ não"]  # fmt: skip
    assert last[6:10] == ["CT1", "A100", "Bệnh viện Đa khoa tỉnh", "Chờ chụp"]
    assert (found[0][0], found[1][6]) == ("", "máy bất kỳ")
    page = filled.get("/worklist")
    assert "3 chỉ định" in page.text
    assert re.search(r"Chờ chụp <b>3</b>", page.text) and re.search(r"Đã chụp <b>1</b>", page.text)
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "count"),
    [
        ({"shown": "all"}, 4),
        ({"shown": "closed"}, 1),
        ({"shown": "nonsense"}, 3),
        ({"day": str(clock.today() + timedelta(days=1))}, 1),
        ({"facility": "86002"}, 1),
        ({"facility": "nonsense"}, 3),
        ({"modality": "MR"}, 1),
        ({"text": "binh"}, 1),
        ({"text": "BN"}, 2),
        ({"text": "A2"}, 1),
        ({"text": "nobody"}, 0),
        ({"text": "%"}, 0),
        ({"page": "x"}, 3),
    ],
)
def test_the_form_finds(filled: httpx.Client, form: dict[str, str], count: int) -> None:
    assert len(names(filled.post("/worklist", data=form))) == count


def test_a_day_that_is_none(filled: httpx.Client) -> None:
    response = filled.post("/worklist", data={"day": "hôm qua"})
    assert response.status_code == 400
    assert 'role="alert"' in response.text


def test_images_and_what_of_them_is_missing(web: httpx.Client, archive: Archive) -> None:
    entry = put(archive)
    image = ct_image(StudyInstanceUID=entry.study_instance_uid, SeriesInstanceUID="1.2.3.1")
    store_object(archive, image)
    archive.performed.create("1.2.3", dataset_json(begin(entry), None), SOURCE)
    [started] = rows(web.get("/worklist"))
    assert started[9] == "Đang chụp"
    announced = {"1.2.3.1": [str(image.SOPInstanceUID), "1.2.3.1.99"]}
    archive.performed.set("1.2.3", dataset_json(end("COMPLETED", announced), None), SOURCE)
    response = web.post("/worklist", data={"shown": "all"})
    [done] = rows(response)
    assert (done[9], done[10]) == ("Đã chụp", "1thiếu 1")
    assert f"/viewer/viewer?StudyInstanceUIDs={entry.study_instance_uid}" in response.text


def test_what_a_hospital_sends_cannot_change_the_page(web: httpx.Client, archive: Archive) -> None:
    hostile = '<script>alert("x")</script>'
    put(archive, PatientName=hostile, Allergies=[hostile], RequestedProcedureDescription=hostile[:64])
    page = _Page(web.get("/worklist").text)
    assert sum(tag == "script" for tag, _ in page.elements) == 1


def test_nothing_of_a_patient_is_in_an_address_or_the_log(
    filled: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = filled.post("/worklist", data={"text": "binh"})
    assert names(response) == ["TRẦN BÌNH"]
    for _, attributes in _Page(response.text).elements:
        assert not re.search(r"BN2|binh|BÌNH", str(attributes.get("href") or attributes.get("src") or ""))
    ours = [record.__dict__ for record in caplog.records if record.name.split(".")[0] in ("viewer_api", "archive")]
    assert not re.search(r"binh|BN2|BÌNH", str(ours))


def test_english_and_an_empty_list(web: httpx.Client) -> None:
    page = web.get("/worklist?lang=en").text
    assert '<html lang="en">' in page and "There are no items." in page


def test_many_items_are_shown_page_by_page(web: httpx.Client, archive: Archive) -> None:
    for number in range(120):
        put(archive, AccessionNumber=f"A{number:03}", PatientName=f"P{number:03}", Allergies=None)
    assert len(names(web.get("/worklist"))) == 100
    assert names(web.post("/worklist", data={"page": "2"}))[-1] == "P119"
