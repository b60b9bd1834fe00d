"""Webhooks with a real receiver: signed, in order, at least once, whatever the receiver or the archive do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from archive.core import Archive
from archive.feed import record as feed
from archive.index_session import IndexSession
from config.feed import FeedSettings, Webhook
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql, url_of
from tests.integration.dicom_node.running import wait_until
from viewer_api.outgoing import CannotSend, Sender, is_forbidden
from viewer_api.webhooks import WebhookDelivery

SECRET, OLD = "a secret of the province", "whsec_" + base64.b64encode(b"an older secret").decode()
QUICK = FeedSettings(quiet=1000, first_wait=0.01, longest_wait=0.05)


class Receiver(ThreadingHTTPServer):
    """Answers as it is told, and keeps what it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        """Statuses to come; 200 when there are none. 0 hangs up, 1 answers only when it is let go."""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[dict[str, Any]] = []
        self.let_go = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/changes?of=pacs"

    def sequences(self) -> list[int]:
        return [change["sequence"] for body in self.taken for change in body["changes"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = self.server.answers.pop(0) if self.server.answers else 200
            if 200 <= status < 300:
                self.server.taken.append(json.loads(body))
        if status == 0:
            self.close_connection = True
            return
        if status == 1:
            self.server.let_go.wait(60)
            self.close_connection = True
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.let_go.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def session(archive: Archive) -> Iterator[IndexSession]:
    opened = IndexSession(archive.settings.database, "feed of the test")
    feed.begin(opened)
    yield opened
    opened.close()


@contextmanager
def opened(archive: Archive, *webhooks: Webhook, settings: FeedSettings = QUICK) -> Iterator[Archive]:
    """A web process's archive with these webhooks."""
    values = {**archive.settings.model_dump(), "webhooks": list(webhooks), "feed": settings}
    with Archive.open(Settings.model_validate(values)) as other:
        yield other


def put(archive: Archive, session: IndexSession, count: int, first: int = 0) -> None:
    for n in range(count):
        store(archive, ct_image(seed=first + n))
    while feed.record(session, QUICK).behind:
        pass


def hook(receiver: Receiver, **values: Any) -> Webhook:
    return Webhook(**{"name": "his", "url": receiver.url, "secret": SECRET, "timeout": 60, **values})


def settled(archive: Archive) -> bool:
    return all(each.waiting == 0 for each in archive.webhooks.list())


def test_batches_are_signed_and_say_nothing_of_a_patient(
    archive: Archive, session: IndexSession, receiver: Receiver
) -> None:
    with opened(archive, hook(receiver, most=2, old_secret=OLD)) as web, WebhookDelivery(web, 0.02):
        put(archive, session, 5)
        wait_until(lambda: settled(archive), "all is delivered")
    assert receiver.sequences() == [1, 2, 3, 4, 5]
    assert all(len(body["changes"]) <= 2 for body in receiver.taken)
    assert [body["since"] for body in receiver.taken][1:] == [body["next"] for body in receiver.taken][:-1]
    for headers, body in receiver.requests:
        assert headers["content-type"] == "application/json"
        signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
        keys = (SECRET.encode(), b"an older secret")
        expected = ["v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
        assert headers["webhook-signature"].split(" ") == expected
        told = body.decode() + str(headers)
        assert not any(value in told for value in ("BN0001", "Nguy", "196205", "CT s", SECRET))
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == len(receiver.requests)


def test_a_receiver_that_fails_in_every_way_gets_all_in_order(
    archive: Archive, session: IndexSession, receiver: Receiver
) -> None:
    receiver.answers = [500, 0, 1, 302, 404, 200, 503, 0, 200]
    put(archive, session, 0)
    with opened(archive, hook(receiver, most=3)) as web:
        with WebhookDelivery(web, 0.02):
            put(archive, session, 1)
            wait_until(lambda: len(receiver.requests) == 3, "it was tried")
            put(archive, session, 4, first=10)
            receiver.let_go.set()
            wait_until(lambda: settled(archive), "all is delivered")
        (state,) = web.webhooks.list()
    assert (state.state, state.failures, state.error) == ("idle", 0, "")
    assert receiver.sequences() == [1, 2, 3, 4, 5]
    # What came while it failed did not change the batch that was tried, nor its name.
    tried = [(headers["webhook-id"], body) for headers, body in receiver.requests[:6]]
    assert tried == [tried[0]] * 6
    assert receiver.requests[6][0]["webhook-id"] == receiver.requests[7][0]["webhook-id"]


def test_a_slow_receiver_holds_up_no_other(archive: Archive, session: IndexSession, receiver: Receiver) -> None:
    with Receiver() as slow:
        thread = threading.Thread(target=slow.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        slow.answers = [1]
        webhooks = hook(receiver), Webhook(name="slow", url=slow.url, secret=SECRET, timeout=60)
        with opened(archive, *webhooks) as web, WebhookDelivery(web, 0.02):
            put(archive, session, 3)
            wait_until(lambda: len(slow.requests) == 1, "the slow one has a request")
            put(archive, session, 3, first=10)
            wait_until(lambda: receiver.sequences() == [1, 2, 3, 4, 5, 6], "the other has all")
            states = {each.name: each.state for each in web.webhooks.list()}
            assert states["slow"] == "busy"
            slow.let_go.set()
            wait_until(lambda: settled(archive), "the slow one has all, too")
        slow.shutdown()
        thread.join()
    assert slow.sequences() == [1, 2, 3, 4, 5, 6]


def test_pause_resume_and_what_is_wanted(archive: Archive, session: IndexSession, receiver: Receiver) -> None:
    wanted = hook(receiver, kinds=["stored"], facilities=["86001"])
    unwanted = hook(receiver, name="other", facilities=["86002"])
    with opened(archive, wanted, unwanted) as web, WebhookDelivery(web, 0.02):
        web.webhooks.pause("his", paused=True)
        put(archive, session, 2)
        wait_until(lambda: [each.waiting for each in web.webhooks.list()] == [2, 0], "the other has passed them")
        assert receiver.requests == []
        assert [each.state for each in web.webhooks.list()] == ["paused", "idle"]
        web.webhooks.pause("his", paused=False)
        wait_until(lambda: receiver.sequences() == [1, 2], "they are delivered")


def test_retry_and_skip_by_hand(archive: Archive, session: IndexSession, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    patient = FeedSettings(quiet=1000, first_wait=10_000, longest_wait=10_000)
    with opened(archive, hook(receiver, most=1), settings=patient) as web, WebhookDelivery(web, 0.02):
        put(archive, session, 2)
        wait_until(lambda: web.webhooks.list()[0].failures == 1, "it failed")
        assert web.webhooks.list()[0].state == "failing"
        web.webhooks.retry("his")
        wait_until(lambda: web.webhooks.list()[0].failures == 2, "it failed again")
        web.webhooks.skip("his")
        put(archive, session, 1, first=10)
        wait_until(lambda: receiver.sequences() == [3], "the new one is delivered")


def test_one_that_is_new_gets_what_changes_from_then_on(
    archive: Archive, session: IndexSession, receiver: Receiver
) -> None:
    put(archive, session, 2)
    with opened(archive, hook(receiver)) as web, WebhookDelivery(web, 0.02):
        put(archive, session, 1, first=10)
        wait_until(lambda: receiver.sequences() == [3], "it has the new one")


def test_what_was_deleted_before_it_was_taken_is_said_to_be_lost(
    archive: Archive, session: IndexSession, receiver: Receiver
) -> None:
    with opened(archive, hook(receiver)) as web:
        with WebhookDelivery(web, 0.02):
            pass
        put(archive, session, 5)
        sql(archive, "DELETE FROM change WHERE sequence <= 3")
        sql(archive, "UPDATE feed_cursor SET forgotten = 3")
        with WebhookDelivery(web, 0.02):
            wait_until(lambda: settled(archive), "the rest is delivered")
        assert web.webhooks.list()[0].lost == 3
    assert receiver.sequences() == [4, 5]
    assert receiver.taken[0]["lost"] == 3


_DELIVERS = """
import json, sys, threading
from archive.core import Archive
from config.settings import load
from viewer_api.webhooks import WebhookDelivery
settings = load(environ={}, **json.loads(sys.argv[1]))
with Archive.open(settings) as archive, WebhookDelivery(archive, 0.02):
    print("begun", flush=True)
    threading.Event().wait()
"""


def test_a_process_that_is_killed_while_it_delivers_is_followed_by_another(
    archive: Archive, session: IndexSession, receiver: Receiver
) -> None:
    receiver.answers = [200, 1]
    values = {
        "data_dir": str(archive.settings.data_dir / "other"),
        "database": {"url": url_of(archive)},
        "storage": {"minimum_free_bytes": 0},
        "webhooks": [{"name": "his", "url": receiver.url, "secret": SECRET, "most": 2, "timeout": 60}],
    }
    command = [sys.executable, "-c", _DELIVERS, json.dumps(values)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"begun\n"
        put(archive, session, 6)
        wait_until(lambda: len(receiver.requests) == 2, "it waits for an answer")
        dying.kill()
    with opened(archive, hook(receiver, most=2)) as web, WebhookDelivery(web, 0.02):
        wait_until(lambda: settled(archive), "another delivers the rest")
    assert receiver.sequences() == [1, 2, 3, 4, 5, 6]
    assert receiver.requests[1][1] == receiver.requests[2][1]


def test_two_processes_deliver_each_batch_once(archive: Archive, session: IndexSession, receiver: Receiver) -> None:
    with (
        opened(archive, hook(receiver, most=1)) as one,
        opened(archive, hook(receiver, most=1)) as two,
        WebhookDelivery(one, 0.01),
        WebhookDelivery(two, 0.01),
    ):
        put(archive, session, 20)
        wait_until(lambda: settled(archive), "all is delivered")
    assert receiver.sequences() == list(range(1, 21))


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1", "0.0.0.0", "::", "fd00:ec2::254"),
        "100.100.100.200",
    ],
)
def test_addresses_that_are_never_called(address: str) -> None:
    assert is_forbidden(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    sender = Sender(f"http://{host}/latest/meta-data", 1)
    with pytest.raises(CannotSend, match="never called"):
        sender.post({}, b"")
    sender.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "203.0.113.7", "::1", "fd12::1"])
def test_addresses_of_a_hospital_may_be_called(address: str) -> None:
    assert not is_forbidden(ipaddress.ip_address(address))


def test_no_answer_is_not_waited_for_longer_than_allowed(receiver: Receiver) -> None:
    receiver.answers = [1]
    sender = Sender(receiver.url, 0.2)
    with pytest.raises(CannotSend, match="ReadTimeout"):
        sender.post({}, b"{}")
    sender.close()


def test_a_name_that_does_not_exist_is_an_error_like_others() -> None:
    sender = Sender("http://nowhere.invalid/", 1)
    with pytest.raises(CannotSend, match="cannot be resolved"):
        sender.post({}, b"")
    sender.close()


@pytest.mark.parametrize(
    "values",
    [
        {"url": "ftp://a.example"},
        {"url": "https://user:word@a.example"},
        {"url": "https://"},
        {"url": "https://a.example:0/"},
        {"url": "https://a.example/ b"},
        {"secret": "short"},
        {"name": "a b"},
        {"kinds": ["gone"]},
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Webhook(**{"name": "his", "url": "https://a.example/x", "secret": SECRET, **values})
