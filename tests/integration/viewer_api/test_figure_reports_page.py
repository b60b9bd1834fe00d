"""The page of reports, and what is pushed over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from archive.core import Archive
from config.figures import FigurePush, FiguresSettings
from config.settings import Settings
from tests.integration.dicom_node.running import wait_until
from tests.integration.viewer_api.test_figures_api import OF_ONE, PROVINCE
from tests.integration.viewer_api.test_gate import app_for
from tests.integration.viewer_api.test_webhooks import Receiver
from tests.kept_figures import FAR, Kept
from tests.web_server import serving
from viewer_api.figure_pushes import FigurePushes
from viewer_api.webhooks import signature

SECRET = "a secret of the receiver"


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


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_report_is_made_kept_and_given_in_each_form(web: httpx.Client) -> None:
    assert "Chưa có báo cáo nào." in web.get("/index/reports").text
    answer = web.post("/index/reports", data={"period": "quarter:2026-01-01"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/index/reports")
    page = web.get("/index/reports").text
    assert "Báo cáo chỉ số hình ảnh y tế quý 1 năm 2026" in page
    number = page.partition('href="/index/reports/')[2].partition(".")[0]
    for form, begins in (("html", b"<!DOCTYPE html>"), ("xlsx", b"PK"), ("pdf", b"%PDF")):
        file = web.get(f"/index/reports/{number}.{form}")
        assert file.content.startswith(begins)
        assert f"bao-cao-2026-Q1.{form}" in file.headers["content-disposition"]
    assert web.get(f"/index/reports/{number}.docx").status_code == 404
    assert web.get("/index/reports/999999.pdf").status_code == 404


def test_a_facility_is_given_its_own_and_no_more(counted: Archive) -> None:
    counted.figures.reports.make("year", datetime(2026, 1, 1))
    number = counted.figures.reports.listed()[0].id
    with serving(app_for(counted, OF_ONE)) as url, httpx.Client(base_url=url) as web:
        page = web.get("/index/reports/now", params={"period": "year:2026-01-01", "format": "html"}).text
        assert "TTYT huyện" in page
        assert "Bệnh viện Đa khoa tỉnh" not in page
        assert web.get(f"/index/reports/{number}.html").status_code == 404
        assert web.post("/index/reports", data={"period": "year:2026-01-01"}).status_code == 404
        assert str(number) + ".html" not in web.get("/index/reports").text


@pytest.mark.parametrize("period", ["", "quarter", "quarter:2026-02-01", "day:2026-01-01", "year:2026-01-01T00:00Z"])
def test_what_is_no_period(web: httpx.Client, period: str) -> None:
    assert web.get("/index/reports/now", params={"period": period, "format": "pdf"}).status_code == 400


def test_indicators_arrive_signed(counted: Archive, receiver: Receiver) -> None:
    receiver.answers = [503]
    push = FigurePush(name="ioc", url=receiver.url, secret=SECRET, every="year", by=("facility",))  # type: ignore[arg-type]
    values = {**counted.settings.model_dump(), "figures": FiguresSettings(pushes=(push,))}
    with Archive.open(Settings.model_validate(values)) as other, FigurePushes(other, interval=0.05):
        wait_until(lambda: bool(receiver.requests), "the request arrives")
        wait_until(lambda: bool(other.figures.pushes.listed()[0].tries), "the refusal is noted")
        assert other.figures.pushes.retry("ioc") == 1
        wait_until(lambda: other.figures.pushes.listed()[0].state == "taken", "it is taken")
    (headers, body), (_, again) = receiver.requests
    assert body == again
    assert json.loads(body)["push"] == "ioc"
    key = json.loads(body)["key"]
    assert (headers["idempotency-key"], headers["webhook-id"]) == (key, key)
    assert headers["webhook-signature"] == signature(SECRET, key, int(headers["webhook-timestamp"]), body)
