"""``python -m benchmarks retrieve``: a full series by WADO-RS, against Orthanc's DICOMweb plugin.

Both serve the same series, in turns, as it is stored (``transfer-syntax=*``), to one client and to four at once. The
files are in the memory of the machine. ``processor ms`` is what an instance takes of all processes of a server.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from benchmarks.command import Parser, say, scratch
from benchmarks.contenders import ORTHANC, Contender, interleaved, started
from benchmarks.images import ct_objects, part10
from benchmarks.results import OURS, Report, table
from benchmarks.sender import Object, send
from benchmarks.web import Received, get

ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
CLIENTS: Final = (1, 4)


def case_name(slices: int, clients: int) -> str:
    return f"series of {slices} slices" + (f", {clients} clients at once" if clients > 1 else "")


def main(arguments: list[str]) -> int:
    parser = Parser("retrieve", __doc__)
    parser.add("--rounds", 9, 5, type=int, help="counted runs of each case and server")
    parser.add("--slices", 300, 300, type=int, help="of 512 x 512 pixels of 16 bits")
    parser.add_argument("--servers", nargs="+", choices=(OURS, ORTHANC), default=[OURS, ORTHANC])
    given = parser.read(arguments)
    report = Report("retrieve", "A series by WADO-RS", is_quick=given.quick)
    objects = ct_objects(512, given.slices, seed=1, slices=given.slices)
    size = sum(len(item.dataset) for item in objects)
    with scratch() as folder, started(report, folder, given.servers, web=True) as running:
        path = _path(objects[0])
        ready = [each for each in running.values() if report.attempt(each.name, partial(_fill, each, path, objects))]
        for clients in CLIENTS:
            _case(report, ready, path, (given.slices, size), clients, given.rounds)
            report.write()
    return 1 if report.failures else 0


def _case(
    report: Report, running: Sequence[Contender], path: str, series: tuple[int, int], clients: int, rounds: int
) -> None:
    slices, size = series
    case = case_name(slices, clients)

    def run(server: Contender, _: int) -> dict[str, float]:
        before = server.processor_seconds()
        begun = time.perf_counter()
        answers = _ask(server, path, clients)
        seconds = time.perf_counter() - begun
        if len(answers) < clients or min(each.size for each in answers) < size:
            raise SystemExit(f"{server.name} left something out")
        return {
            # Of the series as it was sent: framing does not count.
            "MB/s": clients * size / seconds / 1e6,
            "first byte ms": statistics.median(each.first for each in answers) * 1000,
            "processor ms": (server.processor_seconds() - before) / clients / slices * 1000,
        }

    for name, quantities in interleaved(report, running, rounds, case, int, run).items():
        report.add(case, name, quantities, clients=clients, bytes=size)
    print("\n".join(table([each for each in report.measures if each.case == case])), flush=True)


def _ask(server: Contender, path: str, clients: int) -> list[Received]:
    answers: list[Received] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(server.web_port, path, ACCEPT))) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _fill(server: Contender, path: str, objects: list[Object]) -> bool:
    """Send the objects. Raises if the server gives anything but these: others cannot be compared."""
    say(f"sending {len(objects)} objects to {server.name}")
    if failures := send("127.0.0.1", server.dicom_port, "PACS", objects, 4).failures:
        raise SystemExit(f"refused {failures} objects")
    kept = bytearray()
    get(server.web_port, path, ACCEPT, kept)
    missing = [item for item in objects if kept.find(item.sop_instance_uid.encode()) < 0]
    if missing:
        raise SystemExit(f"left {len(missing)} of {len(objects)} instances out")
    return True


def _path(item: Object) -> str:
    ds = dcmread(DicomBytesIO(part10(item)), stop_before_pixels=True)
    return f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
