"""STOW-RS stores several parts of a request at once: what comes of it is as if it stored one after the other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.records import Source
from tests.integration.archive.support import use_journal
from tests.integration.dicom_node.running import object_files, wait_until
from tests.rejection_notes import note
from tests.web_server import (
    CT_IMAGE,
    dataset,
    multipart,
    multipart_headers,
    part10,
    serving,
    store,
    web,  # noqa: F401
)
from viewer_api.app import create_app
from viewer_api.store_part import Part
from viewer_api.store_queue import MOST_AT_ONCE, MOST_BYTES, StoreQueue, StoreThreads

FAILED, STORED, OTHER = "00081198", "00081199", "0008119A"
SOURCE = Source("UNKNOWN", "", "stow")
MANY = 5 * MOST_AT_ONCE


@pytest.fixture
def journaled(archive: Archive) -> Archive:
    """An archive whose receive journal is in use, so that parts share flushes."""
    use_journal(archive)
    return archive


def _series(count: int, **attributes: object) -> list[Any]:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [dataset(**uids, InstanceNumber=number + 1) for number in range(count)]


def _named(response: httpx.Response, sequence: str) -> list[str]:
    items = response.json().get(sequence, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def _files(archive: Archive) -> list[Path]:
    return object_files(archive.settings.objects_dir)


@pytest.fixture(params=["archive", "journaled"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Of an archive in which each part is made durable by itself, and of one where they share flushes."""
    app = create_app(request.getfixturevalue(request.param))
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_the_answer_names_the_parts_in_their_order(client: httpx.Client) -> None:
    made = _series(MANY)
    response = store(client, *map(part10, made))
    assert response.status_code == 200
    assert _named(response, STORED) == [each.SOPInstanceUID for each in made]
    (study,) = client.get("/dicom-web/studies").json()
    assert study["00201208"]["Value"] == [MANY]


def test_parts_that_fail_in_the_middle_harm_no_other(client: httpx.Client) -> None:
    """One is no DICOM, one has no study, one is of no storage class: each is told of in its place."""
    made = _series(MANY)
    files = [part10(each) for each in made]
    stored = [each.SOPInstanceUID for each in made]
    homeless, unknown = dataset(StudyInstanceUID=None), dataset(SOPClassUID="1.2.840.10008.1.1")
    for place, file in ((40, part10(unknown)), (25, b"garbage"), (13, part10(homeless))):
        files.insert(place, file)
    response = store(client, *files)
    assert response.status_code == 202
    assert _named(response, STORED) == stored
    assert _named(response, FAILED) == [homeless.SOPInstanceUID, unknown.SOPInstanceUID]
    assert len(response.json()[OTHER]["Value"]) == 1
    found = client.get("/dicom-web/instances", params={"limit": MANY + 10}).json()
    assert {each["00080018"]["Value"][0] for each in found} == set(stored)


def test_the_later_of_two_with_the_same_uid_is_the_later_version(archive: Archive) -> None:
    first = _series(MOST_AT_ONCE)
    second = [
        dataset(
            StudyInstanceUID=each.StudyInstanceUID,
            SeriesInstanceUID=each.SeriesInstanceUID,
            SOPInstanceUID=each.SOPInstanceUID,
            ImageComments="the second",
        )
        for each in first
    ]
    pairs = [part10(each) for pair in zip(first, second, strict=True) for each in pair]
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        response = store(client, *pairs)
    assert response.status_code == 200
    assert _named(response, STORED) == [each.SOPInstanceUID for each in first for _ in range(2)]
    for each in archive.locate(first[0].StudyInstanceUID, None, None):
        with archive.store.open(each.object.key) as reader:
            assert b"the second" in reader.read()


def test_the_first_part_describes_patient_study_and_series(client: httpx.Client) -> None:
    studies = [generate_uid() for _ in range(8)]
    made = []
    for number, study in enumerate(studies):
        series = [generate_uid(), generate_uid()]
        made += [
            dataset(
                StudyInstanceUID=study,
                SeriesInstanceUID=series[n % 2],
                PatientID=f"P{number // 2}",
                PatientName=f"{number % 2} {n}",
                StudyDescription=f"{n}",
                SeriesDescription=f"{n}",
            )
            for n in range(6)
        ]
    assert store(client, *map(part10, made)).status_code == 200
    for study in client.get("/dicom-web/studies").json():
        assert study["00081030"]["Value"] == ["0"]
        assert study["00100010"]["Value"] == [{"Alphabetic": "0 0"}]
        series = client.get(f"/dicom-web/studies/{study['0020000D']['Value'][0]}/series").json()
        assert sorted(each["0008103E"]["Value"][0] for each in series) == ["0", "1"]


def test_several_requests_at_once_store_the_same_series(archive: Archive) -> None:
    """More of them than threads: none waits for ever, and what two of them bring is stored once."""
    made = [part10(each) for each in _series(30)]
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=120) as client:
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: store(client, *made), range(6)))
        assert [each.status_code for each in answers] == [200] * 6
        (study,) = client.get("/dicom-web/studies").json()
    assert study["00201208"]["Value"] == [30]
    assert len(_files(archive)) == 30


@pytest.mark.parametrize("part", [False, True], ids=["between two parts", "within a part"])
def test_of_a_sender_that_goes_nothing_half_is_left(archive: Archive, part: bool) -> None:
    """What came whole and was read on is stored; of the rest there is neither a file nor a key that nobody gives back."""
    made = [part10(each) + _private(100_000) for each in _series(MANY)]
    body = multipart(*made)
    cut = body.index(made[-1]) + (len(made[-1]) // 2 if part else 0)
    read_on = (cut - 2 * (1 << 20)) * MANY // len(body)
    with serving(create_app(archive)) as url:
        address = urlsplit(url)
        head = "".join(f"{name}: {value}\r\n" for name, value in multipart_headers().items())
        with socket.create_connection((address.hostname, address.port)) as link:
            link.sendall(f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\n{head}".encode())
            link.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
        with httpx.Client(base_url=url, timeout=60) as client:
            wait_until(lambda: _instances(client) >= read_on, "what came whole to be stored")
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        stored = _instances(client)
    assert read_on <= stored < MANY
    assert len(_files(archive)) == stored
    assert {block.held for block in archive._keys._blocks.values()} <= {0}


def _private(size: int) -> bytes:
    """An element of this many bytes behind all others."""
    return b"\xff\x7f\x10\x00LO\x08\x00OURS    " + b"\xff\x7f\x00\x10OB\0\0" + size.to_bytes(4, "little") + bytes(size)


def _instances(client: httpx.Client) -> int:
    return sum(each["00201208"]["Value"][0] for each in client.get("/dicom-web/studies").json())


class _Held(Executor):
    """Runs nothing before it is told to; notes how much was given to it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MANY)
        self.go = threading.Event()
        self.taken = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.taken += 1
        return self._threads.submit(self._run, fn, *args, **kwargs)

    def _run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        assert self.go.wait(120)
        return fn(*args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.go.set()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


class _Reader(threading.Thread):
    """Reads parts as a request does; gives back what it raised."""

    def __init__(self, archive: Archive, queue: StoreQueue, files: list[bytes]) -> None:
        super().__init__()
        self._archive, self._queue, self._files = archive, queue, files
        self.added = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for file in self._files:
                part = Part(self._archive, SOURCE, None)
                part.feed(memoryview(file))
                part.check()
                self._queue.add(part)
                self.added += 1
            self._queue.close()
        except BaseException as error:
            self.error = error


@contextmanager
def _held_up(archive: Archive, files: list[bytes], done: Callable[[Part], None]) -> Iterator[tuple[_Reader, _Held]]:
    requests, commits = _Held(), ThreadPoolExecutor(4)
    reader = _Reader(archive, StoreQueue(StoreThreads(requests, commits), done), files)
    with requests, commits:
        reader.start()
        try:
            yield reader, requests
        finally:
            requests.go.set()
            reader.join(120)
    assert not reader.is_alive()


@pytest.mark.parametrize("size", [100, 250_000], ids=["by their number", "by their bytes"])
def test_no_more_wait_than_may(journaled: Archive, size: int) -> None:
    """However slow the store is, a request keeps some parts open, and the next is not read meanwhile."""
    made = [part10(each) + _private(size) for each in _series(MANY)]
    most = min(MOST_AT_ONCE, -(-MOST_BYTES // size))
    done: list[Part] = []
    with _held_up(journaled, made, done.append) as (reader, requests):
        wait_until(lambda: reader.added == most, "as many as may be")
        assert requests.taken == 1
        assert not done
    assert reader.error is None
    assert [each.error for each in done] == [None] * MANY
    assert {each.receipt.sop_class_uid for each in done if each.receipt} == {CT_IMAGE}


def test_what_breaks_the_storing_ends_the_request_and_nobody_waits(archive: Archive) -> None:
    def broken(part: Part) -> None:
        raise LookupError("a defect")

    made = [part10(each) for each in _series(MANY)]
    with _held_up(archive, made, broken) as (reader, requests):
        wait_until(lambda: reader.added >= 2, "parts to wait")
        requests.go.set()
    assert isinstance(reader.error, LookupError)


def test_a_rejection_note_rejects_what_came_before_it_and_hides_what_comes_behind(client: httpx.Client) -> None:
    """In one request, whose parts are stored together."""
    made = _series(12)
    images = [part10(each) for each in made]
    rejecting = note([made[2], made[9]])
    response = store(client, *images[:6], part10(rejecting), *images[6:])
    assert response.status_code == 200, response.text
    assert _named(response, STORED) == [each.SOPInstanceUID for each in [*made[:6], rejecting, *made[6:]]]
    found = client.get("/dicom-web/instances", params={"limit": 100}).json()
    shown = {each["00080018"]["Value"][0] for each in found}
    assert shown.isdisjoint({made[2].SOPInstanceUID, made[9].SOPInstanceUID})
    assert shown >= {each.SOPInstanceUID for n, each in enumerate(made) if n not in (2, 9)}
