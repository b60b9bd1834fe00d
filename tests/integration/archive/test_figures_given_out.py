"""Reports that are made by themselves, and indicators that are pushed until they are taken."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import openpyxl
import pytest

from archive.core import Archive
from archive.errors import InvalidQuery
from archive.figures.pushes import CannotPost
from archive.index_session import IndexSession
from config.figures import FigurePush
from tests.integration.archive.support import sql, together
from tests.kept_figures import FAR, Kept

PUSH = FigurePush(name="ioc", url="https://ioc.example.vn/", secret="a secret of the IOC", periods=2, every="day")  # type: ignore[arg-type]
NOON = datetime(2026, 11, 3, 12)


@pytest.fixture
def kept(archive: Archive) -> Iterator[Kept]:
    found = Kept(archive)
    found.store(StudyDate="20260805")
    found.store(FAR, StudyDate="20261102", Modality="MR", PatientID="BN2")
    found.keep()
    yield found
    found.close()


def test_a_quarter_has_its_report_once_whoever_makes_it(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    reports = kept.archive.figures.reports
    assert reports.make_due(datetime(2026, 10, 3)) == 0  # late images may still come
    assert not together(lambda _: reports.make_due(datetime(2026, 10, 4)) and None, 4)
    (report,) = reports.listed()
    assert (report.title, report.made_by) == ("Báo cáo chỉ số hình ảnh y tế quý 3 năm 2026", "")
    assert reports.make_due(datetime(2026, 10, 5)) == 0
    name, content = reports.content(report.id, "xlsx")
    assert name == "bao-cao-2026-Q3.xlsx"
    book = openpyxl.load_workbook(io.BytesIO(content))
    overview = {row[0]: row[1:4] for row in book["Tổng quan"].iter_rows(values_only=True)}
    assert overview["Số ca chụp (ca)"] == (1, None, None)
    places = [row[:2] for row in book["Theo cơ sở"].iter_rows(values_only=True)]
    assert ("86001 – Bệnh viện Đa khoa tỉnh", 1) in places
    page = reports.content(report.id, "html")[1].decode()
    assert "<td>1</td>" in page
    assert "BN0001" not in page
    assert "Nguyễn" not in page
    assert reports.content(report.id, "pdf")[1].startswith(b"%PDF")
    # It warns of letters that the font does not have.
    assert [each.getMessage() for each in caplog.records if each.name.startswith("fpdf")] == []
    # Made again, it is one more.
    reports.make("quarter", datetime(2026, 7, 1), "soyte")
    assert [each.made_by for each in reports.listed()] == ["soyte", ""]


def test_quarters_of_a_standstill_are_made_up_for(kept: Kept) -> None:
    reports = kept.archive.figures.reports
    assert reports.make_due(datetime(2027, 2, 1)) == 2
    assert [each.begins_at for each in reports.listed()] == [datetime(2026, 10, 1), datetime(2026, 7, 1)]


@pytest.mark.parametrize(("period", "day"), [("quarter", "2026-08-01"), ("week", "2026-08-03"), ("year", "2100-01-01")])
def test_what_is_no_period_has_no_report(kept: Kept, period: str, day: str) -> None:
    with pytest.raises(InvalidQuery):
        kept.archive.figures.reports.compose(period, datetime.fromisoformat(day))


def test_a_facility_has_a_report_of_its_own(kept: Kept) -> None:
    report = kept.archive.figures.reports.compose("year", datetime(2026, 1, 1), frozenset({FAR}))
    assert report.overview[0] == ("Số ca chụp (ca)", 1, None, None)
    assert dict(report.lines)["Phạm vi"] == "TTYT huyện"


def test_indicators_are_sent_until_they_are_taken(kept: Kept) -> None:
    pushes = kept.archive.figures.pushes
    assert (pushes.make_due(PUSH, NOON), pushes.make_due(PUSH, NOON)) == (1, 0)
    sent: list[tuple[str, bytes]] = []

    def refuse(key: str, body: bytes) -> int:
        sent.append((key, body))
        if len(sent) == 1:
            raise CannotPost("nobody is there")
        return 503

    def take(key: str, body: bytes) -> int:
        sent.append((key, body))
        return 202

    deliver = pushes.deliver
    assert deliver(kept.session, PUSH, refuse) is False
    assert deliver(kept.session, PUSH, refuse) is None  # not at once
    for post, taken in ((refuse, False), (take, True)):
        sql(kept.archive, "UPDATE figure_pushed SET due_at = now()")
        assert deliver(kept.session, PUSH, post) is taken
    assert deliver(kept.session, PUSH, take) is None
    assert len(set(sent)) == 1  # the same each time
    key, body = sent[0]
    told = json.loads(body)
    assert (key, told["key"], told["push"]) == ("ioc.20261103T00", "ioc.20261103T00", "ioc")
    assert [row[:4] for row in told["rows"]] == [["2026-11-02", FAR, "MR", 1]]
    (logged,) = pushes.listed()
    assert (logged.state, logged.tries, logged.status, logged.error) == ("taken", 3, 202, "")


def test_what_is_never_taken_is_given_up_and_can_be_sent_again(kept: Kept) -> None:
    pushes = kept.archive.figures.pushes
    pushes.make_due(PUSH, NOON)
    sql(kept.archive, "UPDATE figure_pushed SET made_at = now() - interval '8 days'")
    assert pushes.deliver(kept.session, PUSH, lambda _, __: 400) is False
    assert pushes.listed()[0].state == "given_up"
    assert kept.archive.figures.gateways().messages == [
        each for each in kept.archive.figures.gateways().messages if not each.failing
    ]
    assert pushes.retry("ioc") == 1
    assert pushes.deliver(kept.session, PUSH, lambda _, __: 200) is True


def test_days_of_a_standstill_are_made_up_for(kept: Kept) -> None:
    pushes = kept.archive.figures.pushes
    assert pushes.make_due(PUSH, NOON) == 1
    assert pushes.make_due(PUSH, NOON + timedelta(days=3)) == 3


def test_one_process_sends_a_request(kept: Kept) -> None:
    pushes = kept.archive.figures.pushes
    pushes.make_due(PUSH, NOON)
    sessions = [IndexSession(kept.archive.settings.database, f"pusher {number}") for number in range(4)]
    taken: list[str] = []

    def post(key: str, body: bytes) -> int:
        del body
        taken.append(key)
        return 200

    assert not together(lambda number: pushes.deliver(sessions[number], PUSH, post) and None, 4)
    assert taken == ["ioc.20261103T00"]
    for session in sessions:
        session.close()
