"""The queues over HTTP: the page in both languages, the interface for programs, and who may change anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from archive.core import Archive
from config.peers import Peer
from config.routes import Route
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.web_server import serving
from viewer_api.app import create_app


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    """One with a destination that nobody sends to here."""
    peer = Peer(ae_title="DOCTOR <1>", facility="86001", host="127.0.0.1", port=1, description="Khoa Nội & Ngoại")
    route = Route(name="tất cả", destinations=("DOCTOR <1>",))
    changed = {"peers": [*settings.peers, peer], "routes": [route]}
    with Archive.open(Settings.model_validate({**settings.model_dump(), **changed})) as opened:
        yield opened


@pytest.fixture
def web(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as address, httpx.Client(base_url=address) as client:
        yield client


DOCTOR = {"destination": "DOCTOR <1>"}


def queued(archive: Archive, web: httpx.Client) -> str:
    """A study that waits for the destination."""
    image = ct_image()
    store(archive, image)
    done = web.post("/forwarding/send", json={**DOCTOR, "study": image.StudyInstanceUID})
    assert done.json() == {"queued": 1}
    return str(image.StudyInstanceUID)


def state(web: httpx.Client) -> dict[str, Any]:
    (found,) = web.get("/forwarding/queues").raise_for_status().json()
    return dict(found)


def test_the_interface_for_programs(archive: Archive, web: httpx.Client) -> None:
    assert state(web)["state"] == "idle"
    study = queued(archive, web)
    assert (state(web)["waiting"], state(web)["state"]) == (1, "busy")
    assert web.post("/forwarding/pause", json=DOCTOR).json() == {"paused": True}
    assert state(web)["state"] == "paused"
    assert web.post("/forwarding/resume", json=DOCTOR).json() == {"paused": False}
    fail(archive)
    (problem,) = web.get("/forwarding/problems", params=DOCTOR).json()
    assert (problem["study"], problem["error"], problem["refusals"]) == (study, "status C001: <b>no</b>", 5)
    assert web.post("/forwarding/retry", json={**DOCTOR, "task": 0}).json() == {"retried": 0}
    assert web.post("/forwarding/retry", json={**DOCTOR, "task": problem["id"]}).json() == {"retried": 1}
    assert web.post("/forwarding/discard", json=DOCTOR).json() == {"discarded": 0}
    assert web.post("/forwarding/discard", json={**DOCTOR, "everything": True}).json() == {"discarded": 1}
    assert state(web)["waiting"] == 0


def fail(archive: Archive) -> None:
    sql(archive, "UPDATE route_task SET state = 'failed', refusals = 5, error = 'status C001: <b>no</b>'")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("pause", {"destination": "NOBODY"}, 404),
        ("send", {**DOCTOR, "study": "1.2.3"}, 404),
        ("send", {"destination": "NOBODY", "study": "1.2.3"}, 404),
        ("send", {**DOCTOR, "study": "1.2.3", "priority": "now"}, 400),
        ("retry", {}, 400),
        ("retry", {**DOCTOR, "tusk": 1}, 400),
    ],
)
def test_what_cannot_be_asked(web: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    answer = web.post(f"/forwarding/{path}", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(archive: Archive, web: httpx.Client, headers: dict[str, str]) -> None:
    queued(archive, web)
    form = {**DOCTOR, "action": "pause"}
    assert web.post("/queues", data=form, headers=headers).status_code == 403
    for path in ("pause", "resume", "retry", "discard"):
        assert web.post(f"/forwarding/{path}", json=DOCTOR, headers=headers).status_code == 403
    assert state(web)["state"] == "busy"


def test_our_own_page_may(web: httpx.Client) -> None:
    origin = str(web.base_url).rstrip("/")
    answer = web.post("/queues", data={**DOCTOR, "action": "pause"}, headers={"Origin": origin})
    assert (answer.status_code, answer.headers["location"]) == (303, "/queues")
    assert state(web)["state"] == "paused"


def test_the_page_shows_and_steers(archive: Archive, web: httpx.Client) -> None:
    study = queued(archive, web)
    fail(archive)
    vietnamese, english = web.get("/queues").text, web.get("/queues?lang=en").text
    assert "Hàng đợi gửi ảnh" in vietnamese and "Forwarding queues" in english
    for page in (vietnamese, english):
        assert "DOCTOR &lt;1&gt;" in page and "Khoa Nội &amp; Ngoại" in page
        assert "status C001: &lt;b&gt;no&lt;/b&gt;" in page and "<b>no" not in page
    (task,) = set(re.findall(r'name="task" value="(\d+)"', english))
    assert web.post("/queues", data={**DOCTOR, "action": "retry", "task": task}).status_code == 303
    assert state(web)["waiting"] == 1
    for action, expected in (("pause", "paused"), ("resume", "busy")):
        web.post("/queues", data={**DOCTOR, "action": action})
        assert state(web)["state"] == expected
    fail(archive)
    web.post("/queues", data={**DOCTOR, "action": "discard", "task": task})
    assert (state(web)["failed"], state(web)["waiting"]) == (0, 0)
    web.post("/queues", data={**DOCTOR, "action": "send", "study": f" {study} "})
    assert state(web)["waiting"] == 1


def test_the_page_says_what_was_wrong(web: httpx.Client) -> None:
    answer = web.post("/queues?lang=vi", data={**DOCTOR, "action": "send", "study": "1.2.3"})
    assert answer.status_code == 404
    assert 'role="alert"' in answer.text and "Không có ca chụp" in answer.text
    assert web.post("/queues", data={**DOCTOR, "action": "explode"}).status_code == 404


def test_nothing_of_a_patient_is_on_the_page(archive: Archive, web: httpx.Client) -> None:
    queued(archive, web)
    fail(archive)
    page = web.get("/queues").text
    for secret in ("Nguyễn", "BN0001", "A1<", "sọ não"):
        assert secret not in page


def test_numbers_for_prometheus(archive: Archive, web: httpx.Client) -> None:
    queued(archive, web)
    text = web.get("/metrics").text
    assert 'pacs_forward_waiting{destination="DOCTOR <1>"} 1.0' in text
    assert 'pacs_forward_failed{destination="DOCTOR <1>"} 0.0' in text
    assert 'pacs_forward_failing{destination="DOCTOR <1>"} 0.0' in text
