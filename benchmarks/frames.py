"""``python -m benchmarks frames``: single frames by WADO-RS, against Orthanc's DICOMweb plugin, interleaved.

Both serve the same objects in the same run, in turns. ``processor ms`` is what a request takes of all processes of a
server.
"""

from __future__ import annotations

import argparse
import random
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.command import Parser, scratch
from benchmarks.contenders import ORTHANC, Contender, interleaved, started
from benchmarks.huge import Huge, encapsulated, native
from benchmarks.memory import store_dimse
from benchmarks.results import OURS, Report, percentile, table

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JPEG_LS = 'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80'


@dataclass(frozen=True)
class Case:
    """Objects of one kind, and how many clients ask for their frames at once."""

    name: str
    connections: int
    objects: Sequence[Huge]
    accept: str


class Connection:
    """HTTP with so little of its own that the server is what is measured. It keeps the connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 22)
        self._port = port

    def get(self, path: str, accept: str) -> memoryview:
        """The body, valid until the next request. Raises if the answer is not 200."""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: {accept}\r\n\r\n".encode()
        )
        view, held = memoryview(self._buffer), 0
        while (end := self._buffer.find(b"\r\n\r\n", 0, held)) < 0:
            held += self._receive(view[held:])
        head = bytes(view[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"{path}: {bytes(view[:held])[:500]!r}")
        if b"content-length:" not in head:
            return self._chunked(end + 4, held)
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while held < end + 4 + length:
            held += self._receive(view[held:])
        return view[end + 4 : end + 4 + length]

    def _chunked(self, start: int, held: int) -> memoryview:
        view, at = memoryview(self._buffer), start
        while True:
            while (end := self._buffer.find(b"\r\n", at, held)) < 0:
                held += self._receive(view[held:])
            length = int(bytes(view[at:end]), 16)
            at = end + 2 + length + 2
            while held < at:
                held += self._receive(view[held:])
            if not length:
                return view[start:at]

    def _receive(self, room: memoryview) -> int:
        count = self._socket.recv_into(room)
        if not count:
            raise SystemExit("the server closed the connection")
        return count

    def close(self) -> None:
        self._socket.close()


def run(port: int, case: Case, seconds: float, seed: int) -> tuple[float, list[float]]:
    """Requests a second, and the seconds of each."""
    latencies: list[float] = []
    ready = threading.Barrier(case.connections)

    def work(choice: random.Random) -> None:
        connection = Connection(port)
        connection.get(_path(case, choice), case.accept)
        found = []
        ready.wait()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.get(_path(case, choice), case.accept)
            found.append(time.perf_counter() - began)
        connection.close()
        latencies.extend(found)

    threads = [threading.Thread(target=work, args=(random.Random(seed + n),)) for n in range(case.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each client asks again as soon as it has its answer.
    return case.connections * len(latencies) / sum(latencies), latencies


def _path(case: Case, choice: random.Random) -> str:
    huge = choice.choice(case.objects)
    return f"/dicom-web{huge.path}/frames/{choice.randint(1, huge.count)}"


def cases() -> list[Case]:
    """What viewers ask for: slices of a CT, frames of a loop as stored, and compressed ones."""
    first = native(1)
    slices = [first, *(native(1, beside=first) for _ in range(199))]
    loop, compressed = [native(200)], [encapsulated(200, "basic")]
    return [
        Case(name, connections, objects, accept)
        for name, objects, accept in (
            ("512 KiB, an object each", slices, OCTETS),
            ("512 KiB, of 200 in an object", loop, OCTETS),
            ("215 KiB JPEG-LS, of 200 in an object", compressed, JPEG_LS),
            ("8 KiB, of 2000 in an object", [native(2000, 64)], OCTETS),
        )
        for connections in (1, 4)
    ]


def _fill(server: Contender, case: Case) -> bool:
    """Send the objects. Raises if the server gives other bytes back: then it cannot be compared."""
    for huge in case.objects:
        store_dimse(server.dicom_port, huge)
    huge = case.objects[0]
    number = huge.count // 2 + 1 if huge.count > 1 else 1
    connection = Connection(server.web_port)
    body = bytes(connection.get(f"/dicom-web{huge.path}/frames/{number}", case.accept))
    connection.close()
    if huge.frame(number) not in body:
        raise SystemExit(f"gives another frame {number} ({case.name})")
    return True


def main(arguments: list[str]) -> int:
    parser = Parser("frames", __doc__)
    parser.add("--seconds", 3.0, 0.8, type=float, help="of each run")
    parser.add("--rounds", 5, 3, type=int, help="counted runs of each case and server")
    given = parser.read(arguments)
    report = Report("frames", "Single frames by WADO-RS", is_quick=given.quick)
    with scratch() as folder, started(report, folder, (OURS, ORTHANC), web=True) as running:
        for case in cases():
            if case.connections == 1:
                ready = [each for each in running.values() if report.attempt(each.name, partial(_fill, each, case))]
            _case(report, ready, case, given)
            report.write()
    return 1 if report.failures else 0


def _case(report: Report, running: Sequence[Contender], case: Case, given: argparse.Namespace) -> None:
    name = f"{case.name}, {case.connections} connection{'s' if case.connections > 1 else ''}"

    def measure(server: Contender, seed: int) -> dict[str, float]:
        before = server.processor_seconds()
        rate, latencies = run(server.web_port, case, given.seconds, seed)
        return {
            "requests/s": rate,
            "p50 ms": percentile(latencies, 0.5) * 1000,
            "p99 ms": percentile(latencies, 0.99) * 1000,
            "processor ms": (server.processor_seconds() - before) / len(latencies) * 1000,
        }

    for server, quantities in interleaved(report, running, given.rounds, name, int, measure).items():
        report.add(name, server, quantities, connections=case.connections)
    print("\n".join(table([each for each in report.measures if each.case == name])), flush=True)
