"""The log of HL7 messages over HTTP: the page, the interface for programs, and what is put on record."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from archive.audit.search import AuditSearch
from archive.core import Archive
from archive.hl7.desk import Desk, Line
from config.settings import Settings
from tests.hl7 import items, log, order, with_hl7
from tests.web_server import serving
from viewer_api.app import create_app


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    with Archive.open(with_hl7(settings)) as opened:
        yield opened


@pytest.fixture
def web(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as address, httpx.Client(base_url=address) as client:
        yield client


def take(archive: Archive, *messages: str) -> None:
    desk = Desk(archive.settings.hl7, archive.messages.inbox)
    for each in messages:
        assert list(desk.take(Line("127.0.0.1"), each.encode()))


def test_the_page_shows_what_came_and_nothing_of_the_patient(archive: Archive, web: httpx.Client) -> None:
    take(archive, order("M1"), order("M2", what="CA", accession="NONE"))
    page = web.get("/messages").text
    for word in ("Tin nhắn HL7", "M1", "M2", "ORM^O01", "Đã xử lý", "Bị từ chối", "OBR-18.1", "HIS1"):
        assert word in page
    for word in ("NGUYỄN", "BN0001", "079062000001"):
        assert word not in page
    assert "M1" not in web.get("/messages", params={"state": "refused"}).text
    assert "HL7 messages" in web.get("/messages", params={"lang": "en"}).text


def test_what_a_message_says_is_shown_on_record(archive: Archive, web: httpx.Client) -> None:
    take(archive, order("M1"))
    [line] = log(archive)
    page = web.get(f"/messages/{line.id}").text
    assert "NGUYỄN^ĐỨC^VĂN" in page
    assert "MSA|AA|M1" in page
    said = web.get(f"/hl7/messages/{line.id}").json()
    assert "NGUYỄN^ĐỨC^VĂN" in said["message"]
    found = archive.trail.search(AuditSearch(limit=50))
    looks = [entry for entry in found if entry.detail.get("what") == "HL7 message"]
    assert len(looks) == 2
    assert web.get("/messages/999").status_code == 404


def test_a_message_is_done_again_and_a_sender_is_paused(archive: Archive, web: httpx.Client) -> None:
    take(archive, order("M1"), order("M2", what="CA", accession="A9"))
    take(archive, order("M3", accession="A9"))
    refused = log(archive)[1]
    origin = {"Origin": str(web.base_url).rstrip("/")}
    form = {"action": "replay_all", "state": "refused"}
    answer = web.post("/messages", data=form, headers=origin)
    assert answer.status_code == 303
    assert log(archive)[1].state == "done"
    assert "a later message" in log(archive)[1].note
    assert {item.status for item in items(archive)} == {"SCHEDULED"}
    [done] = web.post("/hl7/replay", json={"messages": [refused.id]}).json()
    assert done["replays"] == 2
    assert (
        web.post("/messages", data={"action": "pause", "way": "in", "name": "HIS1"}, headers=origin).status_code == 303
    )
    assert "Tạm dừng" in web.get("/messages").text
    assert web.get("/hl7/peers").json()[0]["state"] == "paused"
    assert web.post("/hl7/resume", json={"direction": "in", "name": "HIS1"}).json() == {"paused": False}
    assert web.post("/hl7/pause", json={"direction": "out", "name": "HIS1"}).status_code == 404
    assert web.get("/hl7/messages", params={"state": "done"}).json()[0]["control_id"] == "M3"


def test_pages_of_other_sites_change_nothing(archive: Archive, web: httpx.Client) -> None:
    form = {"action": "pause", "way": "in", "name": "HIS1"}
    assert web.post("/messages", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
    assert archive.messages.peers()[0].state == "idle"
