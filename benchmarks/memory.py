"""``python -m benchmarks memory``: what the processes take: many large objects at once, and huge ones, also served.

Nothing is held here either: objects are made while they are sent, and checked while they come. Writes
``build/benchmarks/memory.json`` and ``memory.md``.
"""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

from benchmarks.command import Parser, scratch
from benchmarks.huge import Huge, encapsulated, native
from benchmarks.results import OURS, Report
from benchmarks.sender import Object, send_streamed
from benchmarks.servers import Service, service
from benchmarks.stores import STORES
from benchmarks.watch import MEBIBYTE, watched

ROOT = "/dicom-web"
BOUNDARY = "huge-object"
TIMEOUT = 3600
_PIECE = 1 << 20
_OCTETS = "application/octet-stream"
ONE_FRAME = ("one frame in the middle", "the same again")
DECOMPRESSED = "the instance, decompressed"


@dataclass(frozen=True)
class Row:
    """One measured operation; sizes in bytes."""

    store: str
    form: str
    operation: str
    seconds: float
    sent_or_received: int
    growth: int
    read: int


ONE_PROCESS: Final = {"PACS_WEB__PROCESSES": "1"}
"""What an operation takes is the same in each, and here it is known which one to watch."""


class Client:
    """Hashes what comes and lets go of it. Each request has a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, accept: str, **headers: str) -> tuple[int, str]:
        """Length and SHA-256 of the answer. Raises if it is not a success."""
        with self._connection() as connection:
            connection.request("GET", ROOT + path, headers={"Accept": accept, **headers})
            answer = connection.getresponse()
            if answer.status not in (200, 206):
                raise SystemExit(f"{path}: {answer.status} {answer.read(500)!r}")
            return digest(iter(lambda: answer.read(_PIECE), b""))

    def post(self, content_type: str, size: int, pieces: Iterable[bytes]) -> None:
        """STOW-RS. Raises if it is not stored."""
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        with self._connection() as connection:
            connection.request("POST", f"{ROOT}/studies", body=pieces, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise SystemExit(f"STOW-RS: {answer.status} {body[:500]!r}")

    def _connection(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT))


def store_multipart(client: Client, huge: Huge) -> None:
    """STOW-RS in a part."""
    start = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    end = f"\r\n--{BOUNDARY}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield start
        yield from huge.file()
        yield end

    size = len(start) + len(huge.meta) + huge.size + len(end)
    client.post(f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', size, pieces())


def store_single(client: Client, huge: Huge) -> None:
    """STOW-RS as the whole body."""
    client.post("application/dicom", len(huge.meta) + huge.size, huge.file())


def store_dimse(port: int, huge: Huge) -> None:
    """C-STORE."""
    item = Object(huge.dataset.SOPClassUID, huge.dataset.SOPInstanceUID, huge.transfer_syntax_uid, b"")
    status = send_streamed("127.0.0.1", port, "PACS", item, huge.size, huge.encoded())
    if status:
        raise SystemExit(f"C-STORE: {status:04X}")


def digest(pieces: Iterable[bytes]) -> tuple[int, str]:
    """Length and SHA-256."""
    found, length = hashlib.sha256(), 0
    for piece in pieces:
        found.update(piece)
        length += len(piece)
    return length, found.hexdigest()


def retrievals(client: Client, huge: Huge) -> dict[str, Callable[[], int]]:
    """What is retrieved, by name: each gives the length of the answer, and raises if it is not what it is to be."""
    middle = huge.count // 2
    stored = f"{_OCTETS}; transfer-syntax=*"
    in_parts = f'multipart/related; type="{_OCTETS}"; transfer-syntax=*'
    few = [1, middle, huge.count]

    def exactly(expected: Callable[[], tuple[int, str]], path: str, accept: str, **headers: str) -> Callable[[], int]:
        def check() -> int:
            found, wanted = client.get(huge.path + path, accept, **headers), expected()
            if found != wanted:
                raise SystemExit(f"{path or 'instance'}: {found[0]} bytes came, {wanted[0]} are right")
            return found[0]

        return check

    def at_least(least: int, path: str, accept: str) -> Callable[[], int]:
        def check() -> int:
            length, _ = client.get(huge.path + path, accept)
            if length < least:
                raise SystemExit(f"{path}: only {length} bytes came")
            return length

        return check

    frame = digest([huge.frame(middle)])
    pixels = "/bulkdata/7FE00010"
    found = {
        ONE_FRAME[0]: exactly(lambda: frame, f"/frames/{middle}", stored),
        ONE_FRAME[1]: exactly(lambda: frame, f"/frames/{middle}", stored),
        "three frames": at_least(sum(len(huge.frame(n)) for n in few), f"/frames/{few[0]},{few[1]},{few[2]}", in_parts),
        "a tenth of the frames": at_least(huge.size // 12, f"/frames/1-{max(1, huge.count // 10)}", in_parts),
        "all frames": at_least(huge.size * 9 // 10, f"/frames/1-{huge.count}", in_parts),
        "metadata": at_least(100, "/metadata", "application/dicom+json"),
        "a rendered frame": at_least(1000, f"/frames/{middle}/rendered", "image/jpeg"),
        "the instance, single part": at_least(huge.size, "", "application/dicom; transfer-syntax=*"),
        "the instance, multipart": at_least(
            huge.size, "", 'multipart/related; type="application/dicom"; transfer-syntax=*'
        ),
        "the instance, in a ZIP": at_least(huge.size, "", "application/zip; transfer-syntax=*"),
    }
    if not huge.is_encapsulated:
        begin = len(huge.frame(1)) * (middle - 1)
        span = f"bytes={begin}-{begin + len(huge.frame(1)) - 1}"
        found["bulk data, the range of a frame"] = exactly(lambda: frame, pixels, _OCTETS, Range=span)
        found["bulk data, all"] = at_least(huge.size * 9 // 10, pixels, _OCTETS)
    else:
        found["bulk data, all frames in parts"] = at_least(huge.size * 9 // 10, pixels, in_parts)
        found[DECOMPRESSED] = at_least(huge.size, "", "application/dicom")
    return found


class Measurer:
    """Runs operations and notes what the processes took."""

    def __init__(self, running: Service, store: str, form: str) -> None:
        self._running = running
        self._store = store
        self._form = form
        self.rows: list[Row] = []

    def run(self, process: int, operation: str, act: Callable[[], int]) -> Row:
        """Run one operation and show what it took."""
        started = time.perf_counter()
        with watched(process) as use:
            size = act()
        seconds = time.perf_counter() - started
        row = Row(self._store, self._form, operation, round(seconds, 3), size, use.growth, use.read)
        print(shown(row), flush=True)
        self.rows.append(row)
        return row


def measure(
    running: Service, store: str, form: str, made: Callable[[], Huge], without: Collection[str] = ()
) -> list[Row]:
    """Store an object in each way, and retrieve one in each way but those `without`."""
    measurer = Measurer(running, store, form)
    client = Client(running.web_port)
    warm_up(running, client)
    huge = made()

    def storing(way: Callable[[Huge], None], what: Huge) -> Callable[[], int]:
        def act() -> int:
            way(what)
            return what.size

        return act

    other, third = made(), made()
    measurer.run(running.node, "C-STORE", storing(lambda each: store_dimse(running.dicom_port, each), huge))
    measurer.run(running.web, "STOW-RS, multipart", storing(lambda each: store_multipart(client, each), other))
    measurer.run(running.web, "STOW-RS, single part", storing(lambda each: store_single(client, each), third))
    for name, act in retrievals(client, huge).items():
        if name in without:
            continue
        measurer.run(running.web, name, act)
    return measurer.rows


def warm_up(running: Service, client: Client) -> None:
    """Do everything once with a small object, so that what is loaded on first use does not count."""
    for small in (native(3), encapsulated(3, "basic")):
        store_dimse(running.dicom_port, small)
    for way in (store_multipart, store_single):
        small = native(3)
        way(client, small)
    for small in (native(3), encapsulated(3, "basic")):
        store_single(client, small)
        for act in retrievals(client, small).values():
            act()


def shown(row: Row) -> str:
    """The row as Markdown."""
    return (
        f"| {row.store} | {row.form} | {row.operation} | {row.sent_or_received / MEBIBYTE:.1f} | {row.seconds:.2f} "
        f"| {row.growth / MEBIBYTE:.1f} | {row.read / MEBIBYTE:.1f} |"
    )


def main(arguments: list[str]) -> int:
    from benchmarks.crowd import crowd

    parser = Parser("memory", __doc__)
    parser.add_argument("--frames", type=int, default=4000, help="of the native object, 512 KiB each")
    parser.add_argument("--encapsulated", type=int, default=2000, help="frames of the compressed objects")
    parser.add("--stores", [*STORES], [], nargs="*", choices=[*STORES], help="on which huge objects are stored")
    parser.add_argument("--associations", type=int, default=50, help="that send 100 MB each at once; 0: none")
    given = parser.read(arguments)
    report = Report("memory", "Memory of the processes", is_quick=given.quick)
    if given.associations:
        report.add(f"{given.associations} associations of 100 MB", OURS, crowd(given.associations))
    forms: dict[str, Callable[[], Huge]] = {
        "native": lambda: native(given.frames),
        "basic offset table": lambda: encapsulated(given.encapsulated, "basic"),
        "extended offset table": lambda: encapsulated(given.encapsulated, "extended"),
        "empty offset table": lambda: encapsulated(given.encapsulated, "empty"),
    }
    for store in given.stores:
        with scratch() as folder, ExitStack() as stack:
            variables = stack.enter_context(STORES[store]())
            running = stack.enter_context(service(folder, **ONE_PROCESS, **variables))
            for form, made in forms.items():
                for row in measure(running, store, form, made):
                    _add(report, row)
    report.write()
    print("\n".join(report.lines()))
    return 0


def _add(report: Report, row: Row) -> None:
    found = {
        "memory grew by MB": [row.growth / 1e6],
        "seconds": [row.seconds],
        "MB read": [row.read / 1e6],
        "MB sent or received": [row.sent_or_received / 1e6],
    }
    report.add(f"{row.store}, {row.form}: {row.operation}", OURS, found)
