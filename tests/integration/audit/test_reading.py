"""Who saw this patient's images: the API, the page, the print, and the review."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.trail import Trail
from archive.cli import main
from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from tests.factories import ct_image, store
from tests.integration.archive.support import url_of
from tests.integration.audit.records import records
from tests.integration.audit.test_web import web_of

PROVINCE = Caller(Kind.ACCOUNT, "soyte", {Right.AUDIT: None}, account=1)
ADMIN = Caller(Kind.ACCOUNT, "admin.tinh", {Right.AUDIT: frozenset({"86001"})}, account=2)
OTHER_ADMIN = Caller(Kind.ACCOUNT, "admin.huyen", {Right.AUDIT: frozenset({"86002"})}, account=3)
LAN = Caller(Kind.ACCOUNT, "bs.lan", account=7, address="10.1.2.3", home=frozenset({"86001"}))
HOA = Caller(Kind.ACCOUNT, "bs.hoa", account=8, address="10.2.2.3", home=frozenset({"86002"}))


@pytest.fixture
def seen(archive: Archive) -> str:
    """A study of facility 86001, seen by its own doctor and by one of another; and something else."""
    image = ct_image()
    store(archive, image)
    study = (image.StudyInstanceUID,)
    archive.audit.record(AuditEvent(Action.VIEW, LAN, studies=study, detail={"what": "images", "instances": 12}))
    archive.audit.record(AuditEvent(Action.COPY, HOA, studies=study, purpose="=hội chẩn", detail={"what": "images"}))
    archive.audit.record(AuditEvent(Action.VIEW, HOA, studies=("1.2.3.4",), patient_id="OTHER"))
    return str(image.StudyInstanceUID)


def asked(web: httpx.Client, **body: object) -> list[dict[str, object]]:
    answer = web.post("/audit/search", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["records"]
    return found


def test_who_saw_a_patients_images_and_that_this_was_asked(archive: Archive, seen: str) -> None:
    with web_of(archive, PROVINCE) as web:
        found = asked(web, patient_id="BN0001")
    assert [(each["name"], each["action"], each["foreign"]) for each in found] == [
        ("bs.hoa", "copy", True),
        ("bs.lan", "view", False),
    ]
    (asking,) = records(archive, "audit")
    assert (asking.name, asking.patient_id, asking.detail["records"]) == ("soyte", "BN0001", 2)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"accession_number": "A1"}, ["bs.hoa", "bs.lan"]),
        ({"name": "bs.lan"}, ["bs.lan"]),
        ({"name": "bs.*"}, ["bs.hoa", "bs.hoa", "bs.lan"]),
        ({"name": "b%"}, []),
        ({"actions": ["copy"]}, ["bs.hoa"]),
        ({"address": "10.1.2.3"}, ["bs.lan"]),
        ({"outcome": "denied"}, []),
        ({"last": "2001-01-01T00:00:00"}, []),
        ({"first": "2001-01-01T00:00:00", "actions": ["view"]}, ["bs.hoa", "bs.lan"]),
        ({"study": "1.2.3.4"}, ["bs.hoa"]),
    ],
)
def test_each_condition(archive: Archive, seen: str, wanted: dict[str, object], names: list[str]) -> None:
    with web_of(archive, PROVINCE) as web:
        found = [each["name"] for each in asked(web, **wanted)]
    if "accession_number" in wanted and not found:
        pytest.fail("the accession number of the factory's image is another")
    assert found == names


def test_administrators_read_of_their_own_patients_and_people(archive: Archive, seen: str) -> None:
    with web_of(archive, ADMIN) as web:
        own = asked(web)
    assert [(each["name"], each["patient_id"]) for each in own if each["action"] != "audit"] == [
        ("bs.hoa", "BN0001"),
        ("bs.lan", "BN0001"),
    ]
    with web_of(archive, OTHER_ADMIN) as web:
        found = [each for each in asked(web) if each["action"] != "audit"]
        assert [(each["name"], each["patient_id"], each["studies"]) for each in found] == [
            ("bs.hoa", "", []),
            ("bs.hoa", "", []),
        ]
        assert web.post("/audit/search", json={"nonsense": 1}).status_code == 400
    with web_of(archive, Caller(Kind.ACCOUNT, "bs.lan", {Right.VIEW: None})) as web:
        for method, path in (
            ("POST", "/audit/search"),
            ("POST", "/audit/export"),
            ("GET", "/audit"),
            ("GET", "/audit/review"),
        ):
            assert web.request(method, path, json={}).status_code == 403


def test_pages_follow_one_another(archive: Archive, seen: str) -> None:
    archive.audit.record_all([AuditEvent(Action.VIEW, LAN, studies=(f"1.{n}",)) for n in range(7)])
    names: list[object] = []
    with web_of(archive, PROVINCE) as web:
        before = None
        for _ in range(9):
            body = web.post("/audit/search", json={"actions": ["view"], "limit": 3, "before": before}).json()
            names += [each["reference"] for each in body["records"]]
            before = body["next"]
            if before is None:
                break
    assert len(names) == len(set(names)) == 9


def test_the_export_is_a_table_that_runs_nothing(archive: Archive, seen: str) -> None:
    with web_of(archive, PROVINCE) as web:
        answer = web.post("/audit/export", json={"patient_id": "BN0001", "actions": ["copy", "view"]})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["name"] for row in rows] == ["bs.hoa", "bs.lan"]
    assert rows[0]["purpose"] == "'=hội chẩn"
    assert rows[1]["instances"] == "12"
    assert records(archive, "audit")[-1].detail["what"] == "audit exported"


def test_the_page_shows_prints_and_exports(archive: Archive, seen: str) -> None:
    with web_of(archive, ADMIN) as web:
        assert "Ai đã xem hình ảnh" in web.get("/audit").text
        form = {"patient_id": "BN0001", "action": "looks"}
        shown = web.post("/audit", data=form).text
        assert "bs.hoa" in shown
        assert "cơ sở khác" in shown
        assert "Bệnh viện Đa khoa tỉnh" in shown
        printed = web.post("/audit", data={**form, "way": "print"}).text
        assert web.post("/audit", data={**form, "way": "csv"}).headers["content-type"].startswith("text/csv")
        assert web.post("/audit", data={**form, "first": "x"}).status_code == 400
        assert "Không có" in web.get("/audit/log-review").text
    code = next(each.detail["lookup"] for each in records(archive, "audit") if "lookup" in each.detail)
    assert code in printed
    assert "admin.tinh" in printed


def test_the_review_finds_what_is_conspicuous(archive: Archive) -> None:
    for _ in range(3):
        archive.audit.record(AuditEvent(Action.SIGN_IN, LAN, Outcome.DENIED))
    archive.audit.record(AuditEvent(Action.BREAK_GLASS, HOA, studies=("1.2",), purpose="cấp cứu"))
    archive.audit.record(AuditEvent(Action.COPY, HOA, Outcome.DENIED, studies=("1.3",)))
    night = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0) - timedelta(days=2)
    trail = Trail(archive.settings.database, clock=lambda: night)
    trail.record_all([AuditEvent(Action.VIEW, LAN, studies=(f"1.{n}",), patient_id=f"P{n}") for n in range(11)])
    trail.close()
    day = Trail(archive.settings.database, clock=lambda: night - timedelta(hours=16))
    day.record_all([AuditEvent(Action.VIEW, HOA, studies=(f"1.{n}",), patient_id=f"P{n}") for n in range(99)])
    day.close()
    with web_of(archive, PROVINCE) as web:
        found = web.get("/audit/review").json()
    assert [(each["name"], each["count"]) for each in found["failed_sign_ins"]] == [("bs.lan", 3)]
    assert [(each["name"], each["purpose"]) for each in found["break_glass"]] == [("bs.hoa", "cấp cứu")]
    assert [each["name"] for each in found["refused"]] == ["bs.hoa"]
    assert [(each["name"], each["count"], each["late"]) for each in found["mass_access"]] == [("bs.lan", 11, True)]


def test_the_commands_search_and_export(
    archive: Archive, seen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_DATABASE__URL", url_of(archive))
    monkeypatch.setenv("PACS_DATA_DIR", str(archive.settings.data_dir))
    monkeypatch.setenv("PACS_STORAGE__MINIMUM_FREE_BYTES", "0")
    assert main(["audit", "search", "--patient", "BN0001", "--action", "view", "--action", "copy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["bs.lan@10.1.2.3" in lines[0], "bs.hoa@10.2.2.3" in lines[1], " * " in lines[1]] == [True, True, True]
    target = archive.settings.data_dir / "audit.jsonl"
    assert main(["audit", "export", "--study", seen, "--output", str(target)]) == 0
    assert len(target.read_text(encoding="utf-8").splitlines()) == 2
    assert records(archive, "operate")[-1].detail["what"] == "command export"
