"""What a frame costs the object store: one read of that frame, whatever the size of the object."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from archive.core import Archive
from benchmarks.huge import Huge, encapsulated, native
from storage.base import ObjectReader, ObjectStore
from tests.integration.storage.proxy import Direction, proxy
from tests.s3_server import s3_server
from tests.web_server import fresh_archive, serving
from viewer_api.app import create_app

NUMBER, COUNT, SIDE = 2000, 2200, 64
LONGEST_HEADER = 2048
RAW = "application/octet-stream; transfer-syntax=*"
IN_PARTS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
HUGE: dict[str, Callable[[], Huge]] = {
    "native": lambda: native(COUNT, SIDE),
    "basic": lambda: encapsulated(COUNT, "basic", SIDE),
    "extended": lambda: encapsulated(COUNT, "extended", SIDE),
    "empty": lambda: encapsulated(COUNT, "empty", SIDE),
}


class Counting:
    """An object store that notes which ranges of objects are read, and otherwise does what the real one does."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.ranges: list[tuple[int, int]] = []
        self.others = 0

    def open_range(self, key: str, offset: int, length: int) -> ObjectReader:
        self.ranges.append((offset, length))
        return self._store.open_range(key, offset, length)

    def read_at_hand(self, key: str, offset: int, length: int) -> bytes | None:
        found: bytes | None = getattr(self._store, "read_at_hand", lambda *_: None)(key, offset, length)
        if found is not None:
            self.ranges.append((offset, length))
        return found

    def fill_at_hand(self, key: str, offset: int, room: memoryview) -> bool:
        filled: bool = getattr(self._store, "fill_at_hand", lambda *_: False)(key, offset, room)
        if filled:
            self.ranges.append((offset, len(room)))
        return filled

    def open(self, key: str) -> ObjectReader:
        self.others += 1
        return self._store.open(key)

    def stat(self, key: str) -> Any:
        self.others += 1
        return self._store.stat(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Wire:
    """Bytes that came over the connections of a proxy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.down = 0

    def __call__(self, way: Direction, _seen: int, data: bytes) -> bytes:
        if way == "down":
            with self._lock:
                self.down += len(data)
        return data


class Served:
    """The service over a store that counts."""

    def __init__(self, archive: Archive, client: httpx.Client, wire: Wire | None) -> None:
        self.store = Counting(archive.store)
        archive.store = self.store  # type: ignore[assignment]
        self.client = client
        self.wire = wire

    def get(self, path: str, accept: str, **headers: str) -> httpx.Response:
        self.store.ranges.clear()
        self.store.others = 0
        if self.wire is not None:
            self.wire.down = 0
        answer = self.client.get(f"/dicom-web{path}", headers={"Accept": accept, **headers})
        assert answer.status_code in (200, 206), answer.text
        return answer


@pytest.fixture(scope="module", params=["filesystem", "s3"])
def served(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    wire = None
    with ExitStack() as stack:
        storage: dict[str, Any] = {"minimum_free_bytes": 0}
        if request.param == "s3":
            server = stack.enter_context(s3_server())
            line = stack.enter_context(proxy(server.endpoint))
            wire = line.tamper = Wire()
            storage |= {
                "backend": "s3",
                "s3": {
                    "endpoint": line.endpoint,
                    "access_key": SecretStr(server.access_key),
                    "secret_key": SecretStr(server.secret_key),
                    "secure": False,
                    "bucket": "frame-reads",
                },
            }
        archive = stack.enter_context(fresh_archive(postgres, tmp_path_factory.mktemp("reads"), storage=storage))
        url = stack.enter_context(serving(create_app(archive)))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
        yield Served(archive, client, wire)


@pytest.fixture(scope="module", params=HUGE)
def huge(request: pytest.FixtureRequest, served: Served) -> Huge:
    made = HUGE[request.param]()
    headers = {"Content-Type": "application/dicom"}
    assert served.client.post("/dicom-web/studies", content=b"".join(made.file()), headers=headers).status_code == 200
    return made


def test_frame_2000_is_one_read_of_that_frame(served: Served, huge: Huge) -> None:
    frame = huge.frame(NUMBER)
    first = served.get(f"{huge.path}/frames/{NUMBER}", RAW)
    assert first.content == frame
    # Once for each object, its header tells how long a frame is.
    assert sum(length for _, length in served.store.ranges) <= len(frame) + LONGEST_HEADER
    assert served.get(f"{huge.path}/frames/{NUMBER}", RAW).content == frame
    ((_, length),) = served.store.ranges
    # Frames in fragments come with the headers of these.
    assert len(frame) <= length <= len(frame) + (16 if huge.is_encapsulated else 0)
    assert served.store.others == 0
    if served.wire is not None:
        assert len(frame) <= served.wire.down <= len(frame) + LONGEST_HEADER


def test_a_frame_in_a_part_is_one_read_too(served: Served, huge: Huge) -> None:
    frame = huge.frame(NUMBER)
    for _ in range(3):  # by a thread, and without one
        answer = served.get(f"{huge.path}/frames/{NUMBER}", IN_PARTS)
        head, _, rest = answer.content.partition(b"\r\n\r\n")
        boundary = head.partition(b"\r\n")[0]
        assert boundary.decode().removeprefix("--") in answer.headers["content-type"]
        assert rest == frame + b"\r\n" + boundary + b"--\r\n"
        assert len(served.store.ranges) <= 2
    ((_, length),) = served.store.ranges
    assert len(frame) <= length <= len(frame) + (16 if huge.is_encapsulated else 0)
    assert served.store.others == 0


def test_frames_in_a_row_are_one_read_and_others_one_each(served: Served, huge: Huge) -> None:
    served.get(f"{huge.path}/frames/1", RAW)
    answer = served.get(f"{huge.path}/frames/{NUMBER}-{NUMBER + 9}", IN_PARTS)
    assert all(huge.frame(number) in answer.content for number in range(NUMBER, NUMBER + 10))
    assert len(served.store.ranges) == 1
    answer = served.get(f"{huge.path}/frames/{NUMBER},7,{COUNT}", IN_PARTS)
    assert all(huge.frame(number) in answer.content for number in (NUMBER, 7, COUNT))
    assert len(served.store.ranges) == 3


def test_a_rendered_frame_is_that_frame_and_the_header(served: Served, huge: Huge) -> None:
    served.get(f"{huge.path}/frames/{NUMBER}/rendered", "image/png")
    extra = 16 * COUNT + LONGEST_HEADER  # an extended offset table is a part of the header
    assert len(served.store.ranges) <= 3
    assert sum(length for _, length in served.store.ranges) <= len(huge.frame(NUMBER)) + extra


def test_a_range_of_bulk_data_reads_that_range(served: Served, huge: Huge) -> None:
    size = SIDE * SIDE * 2
    start = size * (NUMBER - 1)
    accept = "application/octet-stream"
    answer = served.get(f"{huge.path}/bulkdata/7FE00010", accept, Range=f"bytes={start}-{start + size - 1}")
    read = sum(length for _, length in served.store.ranges)
    if not huge.is_encapsulated:
        assert answer.content == huge.frame(NUMBER)
        assert read <= size + LONGEST_HEADER
    else:
        # Decoded: the first frame tells how long each is, the header how to decode it.
        assert len(answer.content) == size
        assert read <= 2 * size + 4 * (16 * COUNT + LONGEST_HEADER)


def test_a_range_of_an_object_reads_that_range(served: Served, huge: Huge) -> None:
    answer = served.get(huge.path, "application/dicom; transfer-syntax=*", Range="bytes=100000-100999")
    assert len(answer.content) == 1000
    assert [length for _, length in served.store.ranges] == [1000]
