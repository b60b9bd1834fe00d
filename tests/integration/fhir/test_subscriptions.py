"""Subscriptions with a real receiver: what is told, of what, and that nothing of a patient is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.errors import InvalidItem
from archive.feed import record as feed
from archive.fhir.subscriptions import PAYLOAD
from archive.index_session import IndexSession
from archive.people.caller import ANYBODY, Caller, Kind
from archive.people.roles import Right
from archive.reports.records import Author, Written
from config.feed import FeedSettings
from config.settings import Settings
from tests.integration.archive.support import sql
from tests.integration.fhir.support import get, search, validate
from tests.integration.fhir.test_search import keep
from tests.web_server import web  # noqa: F401  a fixture
from viewer_api.fhir.notifying import Notifier
from viewer_api.webhooks import signature

SECRET = "a secret of the province"
WRITER = Caller(Kind.SERVICE, "writer", dict.fromkeys(Right))


class Receiver(ThreadingHTTPServer):
    """Answers as it is told, and keeps what it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/notify"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    listed = [{"name": "his", "url": receiver.url, "secret": SECRET, "payload": "id-only"}]
    fhir = type(settings.fhir).model_validate({"receivers": listed})
    # Tried again only when a test says so.
    quick = FeedSettings(quiet=0.001, first_wait=1000, longest_wait=1000)
    return settings.model_copy(update={"fhir": fhir, "feed": quick})


@pytest.fixture
def notifier(archive: Archive) -> Iterator[Notifier]:
    session = IndexSession(archive.settings.database, "test feed")
    feed.begin(session)
    made = Notifier(archive)
    yield made
    made.__exit__(None, None, None) if made._thread._thread.is_alive() else made._session.close()
    for sender in made._senders.values():
        sender.close()
    session.close()


def told(archive: Archive, notifier: Notifier) -> None:
    """Let the feed take up what is new, and tell of it."""
    session = IndexSession(archive.settings.database, "test feed")
    try:
        while feed.record(session, archive.settings.feed).behind:
            pass
        # A study is complete when nothing came for a moment.
        sql(archive, "UPDATE change_gathering SET due_at = now() - interval '1 hour'")
        while feed.record(session, archive.settings.feed).behind:
            pass
    finally:
        session.close()
    while notifier.step() == 0:
        pass


def subscription(receiver: Receiver, criteria: str, *, ids: bool = False, **changes: Any) -> dict[str, Any]:
    channel: dict[str, Any] = {"type": "rest-hook", "endpoint": f"{receiver.url}/images"}
    if ids:
        channel["payload"] = "application/fhir+json"
        channel["_payload"] = {"extension": [{"url": PAYLOAD, "valueCode": "id-only"}]}
    made = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "HIS",
        "criteria": criteria,
        "channel": channel,
    }
    return {**made, **changes}


def test_a_notification_is_empty_unless_ids_are_asked_for(
    web: httpx.Client,  # noqa: F811
    archive: Archive,
    receiver: Receiver,
    notifier: Notifier,
) -> None:
    made = web.post(
        "/fhir/Subscription",
        json=subscription(receiver, "ImagingStudy?modality=CT"),
        headers={"Content-Type": "application/fhir+json"},
    )
    assert made.status_code == 201, made.text
    validate(made.json())
    assert get(web, made.headers["location"])["status"] == "active"
    keep(archive, "1.2.1", PatientName="NGUYỄN^AN")
    keep(archive, "1.2.2", Modality="MR")
    told(archive, notifier)
    [(path, headers, body)] = receiver.requests
    assert (path, body) == ("/notify/images", b"")
    signed = signature(SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed
    told(archive, notifier)
    assert len(receiver.requests) == 1
    assert [each["id"] for each in search(web, "Subscription?status=active")] == [made.json()["id"]]
    assert web.delete(made.headers["location"]).status_code == 204
    get(web, made.headers["location"], 404)


def test_ids_are_told_and_nothing_of_a_patient(archive: Archive, receiver: Receiver, notifier: Notifier) -> None:
    archive.fhir.subscriptions.add(
        ANYBODY, subscription(receiver, "ImagingStudy?performer=Organization/86001", ids=True)
    )
    archive.fhir.subscriptions.add(ANYBODY, subscription(receiver, "DiagnosticReport?status=final", ids=True))
    keep(archive, "1.2.1", PatientName="NGUYỄN^AN", PatientID="BÍ MẬT")
    keep(archive, "1.2.2", "86002")
    told(archive, notifier)
    report = archive.reports.create(WRITER, "1.2.1", Written(conclusion="Bình thường"), author=Author("BS. An"))
    archive.reports.sign(WRITER, report.number, report.revision, author=Author("BS. An", "1/CCHN"))
    told(archive, notifier)
    bundles = [json.loads(body) for _, _, body in receiver.requests]
    for each in bundles:
        validate(each)
        assert "NGUY" not in str(each) and "BÍ MẬT" not in str(each)
    focus = [each["request"]["url"] for bundle in bundles for each in bundle["entry"][1:]]
    assert focus == ["ImagingStudy/1.2.1", f"DiagnosticReport/{report.number}"]


def test_what_was_not_taken_is_told_again(archive: Archive, receiver: Receiver, notifier: Notifier) -> None:
    made = archive.fhir.subscriptions.add(ANYBODY, subscription(receiver, "ImagingStudy", ids=True))
    receiver.answers = [500, 302]
    keep(archive, "1.2.1")
    told(archive, notifier)
    for _ in range(2):
        sql(archive, "UPDATE fhir_subscription SET retry_at = NULL")
        failing = archive.fhir.subscriptions.get(ANYBODY, made.number)
        assert failing.status == "error" and "status" in failing.error
        told(archive, notifier)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 3
    now = archive.fhir.subscriptions.get(ANYBODY, made.number)
    assert (now.status, now.error, now.failures) == ("active", "", 0)


def test_a_subscription_of_a_facility_tells_of_its_own_studies(
    archive: Archive, receiver: Receiver, notifier: Notifier
) -> None:
    account = sql(archive, "INSERT INTO account (name) VALUES ('his') RETURNING id")[0]
    caller = Caller(Kind.SERVICE, "his", {Right.FEED: frozenset({"86002"})}, account=account)
    archive.fhir.subscriptions.add(caller, subscription(receiver, "ImagingStudy", ids=True))
    keep(archive, "1.2.1")
    keep(archive, "1.2.2", "86002")
    told(archive, notifier)
    [(_, _, body)] = receiver.requests
    assert "1.2.2" in body.decode() and "1.2.1" not in body.decode()
    other = Caller(Kind.SERVICE, "other", {Right.FEED: frozenset({"86001"})}, account=account + 1)
    assert archive.fhir.subscriptions.of(other) == []
    sql(archive, "UPDATE account SET enabled = false")
    keep(archive, "1.2.3", "86002")
    told(archive, notifier)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("change", "element"),
    [
        ({"criteria": "Observation?code=x"}, "criteria"),
        ({"criteria": "ImagingStudy?colour=red"}, "criteria"),
        ({"criteria": "ImagingStudy?started=soon"}, "criteria"),
        ({"criteria": "ImagingStudy?_include=ImagingStudy:patient"}, "criteria"),
        ({"criteria": 5}, "criteria"),
        ({"end": "soon"}, "end"),
        ({"channel": None}, "channel"),
        ({"channel": {"type": "email"}}, "channel.type"),
        ({"channel": {"type": "rest-hook", "endpoint": "http://elsewhere/"}}, "channel.endpoint"),
        ({"channel": {"type": "rest-hook", "endpoint": "{url}/../admin"}}, "channel.endpoint"),
        ({"channel": {"type": "rest-hook", "endpoint": "{url}x"}}, "channel.endpoint"),
        ({"channel": {"type": "rest-hook", "endpoint": "{url}", "header": ["Authorization: x"]}}, "channel.header"),
        (
            {"channel": {"type": "rest-hook", "endpoint": "{url}", "payload": "application/fhir+json"}},
            "channel.payload",
        ),
    ],
)
def test_what_is_wrong_with_a_subscription_is_told(
    archive: Archive, receiver: Receiver, change: dict[str, Any], element: str
) -> None:
    filled = json.loads(json.dumps(change).replace("{url}", receiver.url))
    with pytest.raises(InvalidItem) as caught:
        archive.fhir.subscriptions.add(ANYBODY, {**subscription(receiver, "ImagingStudy"), **filled})
    assert list(caught.value.faults) == [element]
    assert archive.fhir.subscriptions.of(ANYBODY) == []
