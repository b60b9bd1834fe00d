"""STOW-RS stores several parts of a request at once: what comes of it is as if it stored one after the other."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.records import Source
from tests.integration.dicom_node.running import object_files, wait_until
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
from viewer_api.store_queue import MOST_AT_ONCE, StoreQueue

FAILED, STORED, OTHER = "00081198", "00081199", "0008119A"
SOURCE = Source("UNKNOWN", "", "stow")
MANY = 5 * MOST_AT_ONCE


def _series(count: int, **attributes: object) -> list[Any]:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [dataset(**uids, InstanceNumber=number + 1) for number in range(count)]


def _named(response: httpx.Response, sequence: str) -> list[str]:
    items = response.json().get(sequence, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def _files(archive: Archive) -> list[Path]:
    return object_files(archive.settings.objects_dir)


def test_the_answer_names_the_parts_in_their_order(web: httpx.Client) -> None:  # noqa: F811
    made = _series(MANY)
    response = store(web, *map(part10, made))
    assert response.status_code == 200
    assert _named(response, STORED) == [each.SOPInstanceUID for each in made]
    (study,) = web.get("/dicom-web/studies").json()
    assert study["00201208"]["Value"] == [MANY]


def test_parts_that_fail_in_the_middle_harm_no_other(web: httpx.Client) -> None:  # noqa: F811
    """One is no DICOM, one has no study, one is of no storage class: each is told of in its place."""
    made = _series(MANY)
    files = [part10(each) for each in made]
    stored = [each.SOPInstanceUID for each in made]
    homeless, unknown = dataset(StudyInstanceUID=None), dataset(SOPClassUID="1.2.840.10008.1.1")
    for place, file in ((40, part10(unknown)), (25, b"garbage"), (13, part10(homeless))):
        files.insert(place, file)
    response = store(web, *files)
    assert response.status_code == 202
    assert _named(response, STORED) == stored
    assert _named(response, FAILED) == [homeless.SOPInstanceUID, unknown.SOPInstanceUID]
    assert len(response.json()[OTHER]["Value"]) == 1
    found = web.get("/dicom-web/instances", params={"limit": MANY + 10}).json()
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


def test_the_first_part_describes_patient_study_and_series(web: httpx.Client) -> None:  # noqa: F811
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
    assert store(web, *map(part10, made)).status_code == 200
    for study in web.get("/dicom-web/studies").json():
        assert study["00081030"]["Value"] == ["0"]
        assert study["00100010"]["Value"] == [{"Alphabetic": "0 0"}]
        series = web.get(f"/dicom-web/studies/{study['0020000D']['Value'][0]}/series").json()
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


class _Counted(ThreadPoolExecutor):
    """Runs nothing before it is told to; notes how many were waiting or at work at most."""

    def __init__(self) -> None:
        super().__init__(MANY)
        self.go = threading.Event()
        self.taken, self.most = 0, 0
        self._open = 0
        self._counting = threading.Lock()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._counting:
            self.taken += 1
            self._open += 1
            self.most = max(self.most, self._open)
        return super().submit(self._run, fn, *args, **kwargs)

    def _run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.go.wait(120)
        try:
            return fn(*args, **kwargs)
        finally:
            with self._counting:
                self._open -= 1


def test_no_more_wait_than_may(archive: Archive) -> None:
    """However slow the store is, a request keeps a few parts open, and the next is not read meanwhile."""
    done: list[Part] = []
    with _Counted() as threads:
        queue = StoreQueue(threads, done.append)

        def read() -> None:
            # Of one patient, the first would be waited for.
            for made in (dataset(PatientID=f"P{number}") for number in range(MANY)):
                part = Part(archive, SOURCE, None)
                part.feed(memoryview(part10(made)))
                part.check()
                queue.add(part)
            queue.close()

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: threads.taken == MOST_AT_ONCE, "as many as may be")
        threads.go.set()
        reader.join(120)
    assert threads.most == MOST_AT_ONCE
    assert [each.error for each in done] == [None] * MANY
    assert {each.receipt.sop_class_uid for each in done if each.receipt} == {CT_IMAGE}
