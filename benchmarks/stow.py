"""``python -m benchmarks stow``: 1,000 objects by STOW-RS in one request, and in eight, against Orthanc's plugin.

Both get the same requests in turns, made before the clock starts. ``processor ms`` is what an object takes of all
processes of a server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.command import Parser, scratch
from benchmarks.contenders import ORTHANC, Contender, interleaved, started
from benchmarks.images import ct_objects, part10
from benchmarks.results import OURS, Report, table
from benchmarks.sender import Object
from benchmarks.web import post

SIDES: Final = {"33 kB": 128, "0.5 MB": 512}
REQUESTS: Final = (1, 8)
_BOUNDARY: Final = "stow-benchmark"
_TYPE: Final = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'


def case_name(count: int, label: str, requests: int) -> str:
    return f"{count} objects of {label} in {requests} request{'s' if requests > 1 else ''}"


def main(arguments: list[str]) -> int:
    parser = Parser("stow", __doc__)
    parser.add("--rounds", 5, 3, type=int, help="counted runs of each case and server")
    parser.add("--objects", 1000, 1000, type=int, help="in all requests of a run together")
    parser.add("--sizes", list(SIDES), list(SIDES)[:1], nargs="+", choices=[*SIDES], help="of objects")
    parser.add_argument("--servers", nargs="+", choices=(OURS, ORTHANC), default=[OURS, ORTHANC])
    given = parser.read(arguments)
    report = Report("stow", "STOW-RS", is_quick=given.quick)
    for label in given.sizes:
        with scratch() as folder, started(report, folder, given.servers, web=True) as running:
            for requests in REQUESTS:
                before = len(report.measures)
                _case(report, list(running.values()), label, requests, given)
                print("\n".join(table(report.measures[before:])), flush=True)
                report.write()
    return 1 if report.failures else 0


def _case(report: Report, running: Sequence[Contender], label: str, requests: int, given: argparse.Namespace) -> None:
    case = case_name(given.objects, label, requests)

    def prepare(number: int) -> list[tuple[int, bytes]]:
        objects = ct_objects(SIDES[label], given.objects if number else max(given.objects // 4, requests), number)
        shares = [objects[k::requests] for k in range(requests)]
        return [(len(share), body(share)) for share in shares]

    def run(server: Contender, bodies: Sequence[tuple[int, bytes]]) -> dict[str, float]:
        before = server.processor_seconds()
        seconds = send(server, bodies)
        count = sum(each for each, _ in bodies)
        processor = (server.processor_seconds() - before) / count * 1000
        size = sum(len(each) for _, each in bodies)
        return {"objects/s": count / seconds, "MB/s sent": size / seconds / 1e6, "processor ms": processor}

    for name, quantities in interleaved(report, running, given.rounds, case, prepare, run).items():
        report.add(case, name, quantities, bytes=SIDES[label] ** 2 * 2, requests=requests)


def body(objects: Sequence[Object]) -> bytes:
    """The objects as parts (PS3.18 8.6.1.2.1)."""
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [piece for item in objects for piece in (head, part10(item), b"\r\n")]
    return b"".join((*parts, f"--{_BOUNDARY}--\r\n".encode()))


def send(server: Contender, bodies: Sequence[tuple[int, bytes]]) -> float:
    """Send the requests at once; the seconds until the last is answered. Raises if an object was not stored."""
    answers: list[tuple[int, bytes]] = []
    failed: list[str] = []

    def work(count: int, content: bytes) -> None:
        try:
            answers.append((count, post(server.web_port, "/dicom-web/studies", _TYPE, content)))
        except (OSError, http.client.HTTPException, SystemExit) as error:
            failed.append(f"{type(error).__name__} {error}")

    threads = [threading.Thread(target=work, args=each) for each in bodies]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if failed:
        raise SystemExit(f"{server.name}: {failed[0]}")
    for count, answer in answers:
        if (stored := stored_in(answer)) != count:
            raise SystemExit(f"{server.name} stored {stored} of {count} objects")
    return seconds


def stored_in(answer: bytes) -> int:
    """How many objects the answer says are stored."""
    return len(json.loads(answer).get("00081199", {}).get("Value", ()))
