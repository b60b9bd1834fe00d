"""A web service of several processes: one port, one answer whoever gives it, and the death of any loses no object."""

from __future__ import annotations

import re
import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom.dataset import Dataset
from websockets.sync.client import connect

from archive.core import Archive
from config.settings import Settings
from tests.conformance.test_ps3_18_11_ups import GLOBAL, create, states, subscribe
from tests.e2e.web_process import WebProcess, web_process
from tests.factories import ct_image
from tests.integration.dicom_node.process import archive_command
from tests.integration.dicom_node.running import leftovers, sql, wait_until
from tests.integration.people.test_signing_in import PASSWORD, make
from tests.web_server import multipart, multipart_headers, part10, store
from viewer_api.sign_in.throttle import TRIES

PROGRAM = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}


def metric(client: httpx.Client, name: str) -> float:
    """The sum of all samples whose line begins so."""
    found = re.findall(rf"^{re.escape(name)}.* (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def frame_of(image: Dataset) -> str:
    uids = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
    return "/dicom-web/studies/{}/series/{}/instances/{}/frames/1".format(*uids)


def test_connections_are_spread_evenly_and_each_process_tells_of_all(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, tmp_path) as web, ExitStack() as stack:
        assert len(web.workers()) == 2
        clients = [stack.enter_context(web.client()) for _ in range(4)]
        serving = [web.worker_of(client) for client in clients]
        # A process that is held up for longer than the others wait takes fewer, but on no machine none at all.
        assert set(serving) == {each.pid for each in web.workers()}
        images = [ct_image(rows=8, columns=8) for _ in clients]
        for client, image in zip(clients, images, strict=True):
            assert store(client, part10(image)).status_code == 200
        for client in clients:
            listed = client.get("/dicom-web/studies").json()
            assert {each["0020000D"]["Value"][0] for each in listed} == {each.StudyInstanceUID for each in images}
            for image in images:
                answer = client.get(frame_of(image), headers={"Accept": 'multipart/related; type="*/*"'})
                assert answer.status_code == 200
                assert bytes(image.PixelData) in answer.content
        for client in clients:
            assert metric(client, 'pacs_stow_objects_total{outcome="stored"}') == 4
            assert metric(client, 'pacs_http_requests_total{method="POST",route="/dicom-web/studies"') == 4
            assert metric(client, 'pacs_http_request_seconds_count{method="POST"') == 4
            assert metric(client, "pacs_http_requests_in_flight") == 1
            assert metric(client, "pacs_web_connections") == 4
            assert metric(client, "pacs_web_process_starts_total") == 2
            memory = sum(each.memory_info().vms for each in web.workers())
            assert 0.5 * memory < metric(client, "process_virtual_memory_bytes") < 2 * memory
        assert web.terminate() == 0
        assert "Traceback" not in web.log()


def test_signing_in_out_and_failing_to_hold_in_all_processes(settings: Settings, tmp_path: Path) -> None:
    with Archive.open(settings) as archive:
        make(archive)
    with web_process(settings, tmp_path, PACS_ACCESS__SIGN_IN="required") as web, ExitStack() as stack:
        one, other = web.one_each(stack, **PROGRAM)
        for _ in range(3):
            entered = one.post("/sign-in", data={"name": "lan", "password": PASSWORD})
            assert entered.status_code == 303
            other.cookies = one.cookies
            assert one.get("/dicom-web/studies").status_code in (200, 204)
            assert other.get("/dicom-web/studies").status_code in (200, 204)
            # Each of them remembers the session for seconds; and each knows at once that it has ended.
            kept = {"Cookie": "; ".join(f"{name}={value}" for name, value in one.cookies.items())}
            assert one.post("/sign-out").status_code == 303
            assert other.get("/dicom-web/studies", headers=kept).status_code == 401
            assert one.get("/dicom-web/studies", headers=kept).status_code == 401
        for number in range(TRIES):
            client = (one, other)[number % 2]
            failed = client.post("/sign-in", data={"name": f"nobody{number}", "password": "wrong"})
            assert failed.status_code == 403, number
        assert one.post("/sign-in", data={"name": "lan", "password": PASSWORD}).status_code == 429
        assert other.post("/sign-in", data={"name": "lan", "password": PASSWORD}).status_code == 429


def test_those_who_wait_for_changes_are_counted_over_all_processes(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, tmp_path, PACS_FEED__MOST_LISTENERS="1") as web, ExitStack() as stack:
        one, other = web.one_each(stack)
        with one.stream("GET", "/dicom-web/changes", headers={"Accept": "text/event-stream"}) as stream:
            assert stream.status_code == 200
            assert other.get("/dicom-web/changes", headers={"Accept": "text/event-stream"}).status_code == 503
            victim = web.worker_of(other)
            holder = next(each for each in web.workers() if each.pid != victim)
            holder.kill()
        # The place of who waited in the dead one is free.
        wait_until(lambda: _follows(other), "there is a place", 120)


def _follows(client: httpx.Client) -> bool:
    with client.stream("GET", "/dicom-web/changes", headers={"Accept": "text/event-stream"}) as stream:
        return stream.status_code == 200


def test_events_of_workitems_reach_subscribers_of_other_processes(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, tmp_path) as web, ExitStack() as stack:
        clients = web.one_each(stack)
        assert subscribe(clients[0], GLOBAL).status_code == 201
        address = web.url.replace("http", "ws")
        with connect(f"{address}/dicom-web/subscribers/WATCH") as channel:
            for client in clients:
                uid = create(client)
                assert states(channel, 1) == [(uid, 1, "SCHEDULED")]
        assert web.terminate() == 0


class Sender(threading.Thread):
    """Stores object after object and remembers those that were acknowledged."""

    def __init__(self, web: WebProcess) -> None:
        super().__init__()
        self._url = web.url
        self.acknowledged: list[Dataset] = []
        self.cut = 0
        self.enough = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            while not self.enough.is_set():
                images = [ct_image(rows=32, columns=32) for _ in range(4)]
                try:
                    answer = store(client, *map(part10, images))
                except httpx.TransportError:
                    self.cut += 1
                    continue
                assert answer.status_code == 200
                self.acknowledged += images


def test_a_process_that_is_killed_loses_nothing_acknowledged_and_is_started_again(
    settings: Settings, tmp_path: Path
) -> None:
    with web_process(settings, tmp_path) as web:
        senders = [Sender(web) for _ in range(4)]
        for sender in senders:
            sender.start()

        def stored() -> int:
            return sum(len(each.acknowledged) for each in senders)

        wait_until(lambda: stored() >= 40, "some are stored", 120)
        web.workers()[0].kill()
        before = stored()
        wait_until(lambda: stored() >= before + 40, "others go on", 120)
        wait_until(lambda: sum(web.starts().values()) == 3, "it is started again", 120)
        before = stored()
        wait_until(lambda: stored() >= before + 40, "both go on", 120)
        for sender in senders:
            sender.enough.set()
        for sender in senders:
            sender.join()
        assert "a process of the service ended by itself and is started again" in web.log()
        assert len(web.workers()) == 2
        assert web.terminate() == 0
        acknowledged = [each for sender in senders for each in sender.acknowledged]
    ended = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'viewer_api%%'"
    wait_until(lambda: sql(settings, ended) == [], "the sessions of who was killed have ended")
    done = archive_command(settings, tmp_path, "reconcile", "--verify", "--content")
    assert done.returncode == 0, done.stdout + done.stderr
    with Archive.open(settings) as archive:
        for image in acknowledged:
            (found,) = archive.locate(image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
            with archive.store.open(found.object.key) as reader:
                assert bytes(image.PixelData) in reader.read()
        assert leftovers(settings, archive) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_when_the_service_stops(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    image = ct_image(rows=64, columns=64)
    body = multipart(part10(image))
    with web_process(settings, tmp_path) as web, ExitStack() as stack:
        busy = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), 120))
        head = {"Host": "localhost", "Content-Length": str(len(body)), "Connection": "close", **multipart_headers()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        busy.sendall(f"POST /dicom-web/studies HTTP/1.1\r\n{lines}\r\n".encode() + body[: len(body) // 2])
        with web.client() as client:
            wait_until(lambda: metric(client, "pacs_http_requests_in_flight") == 2, "it is under way", 120)
        web.process.send_signal(number)
        wait_until(lambda: web.log().count("Shutting down") == 2, "both stop", 120)
        busy.sendall(body[len(body) // 2 :])
        answer = b"".join(iter(lambda: busy.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert web.process.wait(120) == 0
        assert "Traceback" not in web.log()
        assert "web service stopped" in web.log().splitlines()[-1]


def test_processes_die_with_their_master(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, tmp_path) as web:
        children = web.workers()
        web.process.kill()
        _, alive = psutil.wait_procs(children, timeout=120)
        assert not alive


def test_a_service_that_cannot_start_says_so_and_ends(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, tmp_path) as web:
        with pytest.raises(AssertionError, match=r"the web service cannot start.*Address already in use"):
            WebProcess(settings, tmp_path, 2, PACS_WEB__PORT=str(web.port))
        assert web.terminate() == 0
    with pytest.raises(AssertionError, match="the archive cannot be opened"):
        WebProcess(settings, tmp_path, 2, PACS_DATABASE__URL="postgresql://127.0.0.1:1/none")
