"""Figures for anybody: off unless the settings say so; of periods that are over; nothing small; always the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from archive.core import Archive
from archive.figures.periods import begins, shifted
from archive.figures.public import TOLD
from archive.people.caller import NOBODY
from config import clock
from tests.integration.archive.support import sql
from tests.integration.viewer_api.test_gate import app_for
from tests.kept_figures import FAR, NEAR, Kept
from tests.web_server import fresh_archive, serving
from viewer_api.sign_in.throttle import Throttle

FACILITIES = [
    {"code": NEAR, "name": "A", "district": "Thành phố", "care_level": "basic"},
    {"code": FAR, "name": "B", "district": "Huyện", "care_level": "primary"},
]
ADDRESSES = ("/public", "/public/figures", "/public/figures/months.csv")
MANY, FEW = 12, 3


def _month(back: int) -> datetime:
    """A month that is over for some days, so many before the last one."""
    return shifted("month", begins("month", clock.now() - timedelta(days=3)), -1 - back)


@pytest.fixture
def counted(postgres: str, tmp_path: Path) -> Iterator[Archive]:
    """Many studies of one month, few of another, and many of today."""
    with fresh_archive(postgres, tmp_path, facilities=FACILITIES, figures={"public": True}) as archive:
        kept = Kept(archive)
        for number in range(MANY):
            kept.store(PatientID=f"P{number}", StudyDate=f"{_month(0):%Y%m%d}")
            kept.store(PatientID=f"P{number}", StudyDate=f"{clock.today():%Y%m%d}")
        for number in range(FEW):
            kept.store(FAR, PatientID=f"Q{number}", StudyDate=f"{_month(1):%Y%m%d}", Modality="MR")
        kept.keep()
        kept.close()
        yield archive


@pytest.fixture
def app(counted: Archive) -> FastAPI:
    return app_for(counted, NOBODY)


@pytest.fixture
def web(app: FastAPI) -> Iterator[httpx.Client]:
    with serving(app) as url, httpx.Client(base_url=url) as client:
        yield client


def test_nothing_is_public_unless_the_settings_say_so(archive: Archive) -> None:
    with serving(app_for(archive, NOBODY)) as url:
        for address in ADDRESSES:
            assert httpx.get(url + address).status_code == 404


def test_anybody_is_told_of_months_that_are_over_and_of_nothing_small(web: httpx.Client) -> None:
    answer = web.get("/public/figures")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["cache-control"]
    tables = {each["name"]: each for each in answer.json()["tables"]}
    assert tables.keys() == {told.name for told in TOLD}
    # Three are few, and twelve would give them away with the sum.
    months = tables["months"]
    assert months["rows"] == [[f"{_month(1):%Y-%m}", None, None], [f"{_month(0):%Y-%m}", None, None]]
    assert months["suppressed"] == 4
    assert months["title"] == {"vi": "Theo tháng", "en": "By month"}
    for told in ("P1", "Q1", "Nguy", NEAR):
        assert told not in answer.text


def test_what_is_not_small_is_rounded(counted: Archive, web: httpx.Client) -> None:
    for table in ("study_sum", "study_person"):
        sql(counted, f"DELETE FROM {table} WHERE day = %s", _month(1).date())  # type: ignore[arg-type]
    tables = {each["name"]: each for each in web.get("/public/figures").json()["tables"]}
    assert tables["months"]["rows"] == [[f"{_month(0):%Y-%m}", 10, 10]]


def test_nothing_but_the_table_can_be_chosen(web: httpx.Client) -> None:
    asked = {"by": "day", "measure": "patients", "public": "false", "facility": FAR, "since": "2026-01-01"}
    assert web.get("/public/figures", params=asked).content == web.get("/public/figures").content
    assert web.get("/public/figures/patients.csv").status_code == 404


def test_file_and_page_say_the_same(web: httpx.Client) -> None:
    (table,) = [each for each in web.get("/public/figures").json()["tables"] if each["name"] == "modalities"]
    text = web.get("/public/figures/modalities.csv", params={"lang": "en"}).content.decode()
    lines = [line for line in csv.reader(io.StringIO(text[1:])) if not line[0].startswith("#")]
    assert lines[1:] == [["" if value is None else str(value) for value in row] for row in table["rows"]]
    page = web.get("/public").text
    assert "Số liệu công khai" in page
    assert "Public figures" in web.get("/public", params={"lang": "en"}).text
    for quarter, modality, _ in table["rows"]:
        assert f"Quý {quarter[6]}/{quarter[:4]}" in page
        assert f'<th scope="row">{modality}</th>' in page


def test_who_has_it_already_is_told_so(web: httpx.Client) -> None:
    for address in ADDRESSES[1:]:
        tag = web.get(address).headers["etag"]
        again = web.get(address, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")


def test_figures_that_are_being_built_are_told_to_nobody(counted: Archive, web: httpx.Client) -> None:
    sql(counted, "UPDATE figure_cursor SET swept_at = NULL")
    for address in ADDRESSES:
        assert web.get(address).status_code == 503


def test_who_asks_too_often_has_to_wait(app: FastAPI, web: httpx.Client) -> None:
    app.state.public_throttle = Throttle(tries=2, seconds=3600)
    assert [web.get("/public/figures").status_code for _ in range(3)] == [200, 200, 429]
    refused = web.get("/public")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
