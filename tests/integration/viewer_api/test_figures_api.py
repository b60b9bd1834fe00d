"""Figures over HTTP: JSON and files, whose facilities are counted, and what is never told."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime

import httpx
import openpyxl
import pyarrow.parquet as pq
import pytest

from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from tests.integration.archive.support import sql
from tests.integration.audit.records import records
from tests.integration.viewer_api.test_gate import app_for
from tests.kept_figures import FAR, NEAR, Kept
from tests.web_server import serving

PROVINCE = Caller(Kind.ACCOUNT, "soyte", {Right.STATISTICS: None})
OF_ONE = Caller(Kind.ACCOUNT, "quantri", {Right.STATISTICS: frozenset({FAR})})
YEAR = {"since": "2026-01-01", "until": "2027-01-01"}


@pytest.fixture
def counted(archive: Archive) -> Archive:
    kept = Kept(archive)
    kept.store(StudyDate="20260105")
    kept.store(FAR, StudyDate="20260205", Modality="MR")
    kept.keep()
    kept.close()
    return archive


@pytest.fixture
def web(counted: Archive) -> Iterator[httpx.Client]:
    with serving(app_for(counted, PROVINCE)) as url, httpx.Client(base_url=url) as client:
        yield client


def test_json_says_what_was_asked_and_when(web: httpx.Client, counted: Archive) -> None:
    asked = {**YEAR, "measure": "studies,unread", "by": "month,facility"}
    answer = web.get("/index/figures", params=asked)
    assert answer.status_code == 200
    body = answer.json()
    assert body["rows"] == [["2026-01", NEAR, 1, 1], ["2026-02", FAR, 1, 1]]
    assert [column["name"] for column in body["columns"]] == ["month", "facility", "studies", "unread"]
    assert body["columns"][2] == {"name": "studies", "vi": "Số ca chụp", "en": "Studies", "unit": "studies"}
    assert datetime.fromisoformat(body["as_of"]).tzinfo is not None
    assert body["question"]["by"] == ["month", "facility"]
    assert body["studies"] is None  # who may count may not look
    assert "BN0001" not in answer.text
    again = web.get("/index/figures", params=asked, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (found,) = [each for each in records(counted) if each.detail.get("what") == "figures"]
    assert (found.action, found.detail["asked"]) == ("search", "studies, unread, by, month, facility")


def test_files_say_the_same(web: httpx.Client) -> None:
    asked = {**YEAR, "measure": "studies,bytes,order_to_report", "by": "month,modality"}
    rows = web.get("/index/figures", params=asked).json()["rows"]
    text = web.get("/index/figures", params={**asked, "format": "csv"}).content.decode()
    assert text.startswith("\ufeff# Hệ thống,Provincial PACS\r\n")
    lines = [line for line in csv.reader(io.StringIO(text[1:])) if not line[0].startswith("#")]
    assert lines == [
        ["month", "modality", "studies", "bytes", "order_to_report"],
        *([str("" if value is None else value) for value in row] for row in rows),
    ]
    sheet = openpyxl.load_workbook(
        io.BytesIO(web.get("/index/figures", params={**asked, "format": "xlsx"}).content)
    ).active
    assert sheet is not None
    values = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert values[0][:2] == ["Hệ thống", "Provincial PACS"]
    assert values[-2:] == rows
    assert values[-3][2] == "Số ca chụp (ca)"
    parquet = web.get("/index/figures", params=asked, headers={"Accept": "application/vnd.apache.parquet"})
    table = pq.read_table(io.BytesIO(parquet.content))
    assert [list(row.values()) for row in table.to_pylist()] == rows
    assert b"pacs.Question" in table.schema.metadata or b"pacs.Ch\xe1\xbb\x89 s\xe1\xbb\x91" in table.schema.metadata


def test_files_have_words_beside_codes(web: httpx.Client, counted: Archive) -> None:
    """What an analyst at Sở Y tế opens says which hospital, not only its number; programs find the number, too."""
    asked = {**YEAR, "by": "facility,care_level,sex,day_of_week", "facility": f"{NEAR},{FAR}"}
    rows = web.get("/index/figures", params=asked).json()["rows"]
    names = {each.code: each.name for each in counted.settings.facilities}
    sexes, days = {"M": "Nam", "F": "Nữ"}, ("Hai", "Ba", "Tư", "Năm", "Sáu", "Bảy")
    wanted = [
        [code, names[code], level, "Chưa xác định", sex, sexes[sex], day, f"Thứ {days[day - 1]}", count]
        for code, level, sex, day, count in rows
    ]
    columns = ["facility", "facility_name", "care_level", "care_level_name", "sex", "sex_name"]
    columns += ["day_of_week", "day_of_week_name", "studies"]
    assert {row[1] for row in wanted} == set(names.values())
    text = web.get("/index/figures", params={**asked, "format": "csv"}).content.decode()
    lines = list(csv.reader(io.StringIO(text[1:])))
    assert [line for line in lines if not line[0].startswith("#")] == [
        columns,
        *([str(v) for v in row] for row in wanted),
    ]
    assert ["# Chỉ gồm", "Mã cơ sở: " + ", ".join(names.values())] in lines
    table = pq.read_table(io.BytesIO(web.get("/index/figures", params={**asked, "format": "parquet"}).content))
    assert table.column_names == columns
    assert [list(row.values()) for row in table.to_pylist()] == wanted
    sheet = openpyxl.load_workbook(
        io.BytesIO(web.get("/index/figures", params={**asked, "format": "xlsx", "language": "en"}).content)
    ).active
    assert sheet is not None
    values = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert values[-3][:4] == ["Facility", "Name of the facility", "Care level", "Name of the care level"]
    assert [row[1] for row in values[-2:]] == [row[1] for row in wanted]
    assert {row[3] for row in values[-2:]} == {"Not known"}


def test_an_administrator_of_a_facility_counts_only_that(counted: Archive) -> None:
    with serving(app_for(counted, OF_ONE)) as url, httpx.Client(base_url=url) as web:
        assert web.get("/index/figures", params={**YEAR, "by": "facility"}).json()["rows"] == [[FAR, 1]]
        assert web.get("/index/figures", params={**YEAR, "facility": NEAR}).json()["rows"] == []
        state = web.get("/index/now").json()
        assert state["now"]["arrived_today"] == 1
        assert [each["code"] for each in state["facilities"]] == [FAR]
        assert "storage" not in state


def test_who_may_look_at_studies_is_told_where_they_are(counted: Archive) -> None:
    caller = Caller(Kind.ACCOUNT, "x", {Right.STATISTICS: None, Right.VIEW: None})
    with serving(app_for(counted, caller)) as url, httpx.Client(base_url=url) as web:
        found = web.get("/index/figures", params={**YEAR, "modality": "MR"}).json()
        assert found["rows"] == [[1]]
        assert len(web.get(found["studies"]).json()) == 1


def test_who_has_no_right_to_statistics_counts_nothing(counted: Archive) -> None:
    with serving(app_for(counted, Caller(Kind.ACCOUNT, "x", {Right.VIEW: None}))) as url:
        for path in ("/index/figures", "/index/now", "/index/indicators"):
            assert httpx.get(url + path).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        *("measure=names", "by=patient", "since=yesterday", "since=2026-02-01&until=2026-01-01", "format=pdf"),
        *("colour=red", "by=hour", "public=maybe", "hour_of_day=noon", "public=true&modality=CT", "measure=,"),
        "modality=%00",
    ],
)
def test_what_cannot_be_understood(web: httpx.Client, query: str) -> None:
    assert web.get(f"/index/figures?{query}").status_code == 400


def test_what_cannot_be_counted_now_is_no_failure(web: httpx.Client, counted: Archive) -> None:
    sql(counted, "DELETE FROM figure_cursor")
    body = web.get("/index/figures", params=YEAR).json()
    assert body["whole"] is False
