"""``python -m benchmarks metadata``: metadata of a large study, against Orthanc's DICOMweb plugin, interleaved.

Nobody else asks meanwhile. *Cold*: nothing was made before, the cache is deleted before each run; the files are in the
memory of the machine, as they are for Orthanc. *New address*: made ahead by the service, but asked for under an address
that nobody came by before. *Ours* without more: the same for an address that is known, from ``web.public_url`` or
because somebody came by it. Prints a Markdown table; writes ``build/benchmarks/metadata.json`` and ``metadata.md``.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.command import Parser, say, scratch
from benchmarks.results import OURS, Report
from benchmarks.sender import Object, send
from benchmarks.servers import Rival, orthanc_web, service

_STUDY: Final = "1.2.826.0.1.3680043.8.498.1500"
_SERIES: Final = 3
_PATIENCE: Final = 600
_OTHER: Final = "Orthanc"


class Answer(NamedTuple):
    """One answer: seconds to its first and last byte, and its body as it came."""

    first: float
    last: float
    encoding: str
    body: bytes

    def instances(self) -> list[str]:
        """SOP Instance UIDs, sorted."""
        content = gzip.decompress(self.body) if self.encoding == "gzip" else self.body
        return sorted(each["00080018"]["Value"][0] for each in json.loads(content))


class Row(NamedTuple):
    """The runs of one case; seconds and bytes."""

    case: str
    first: list[float]
    last: list[float]
    size: int


def main(arguments: list[str]) -> int:
    parser = Parser("metadata", __doc__)
    parser.add("--rounds", 7, 4, type=int, help="counted runs of each case, interleaved")
    parser.add_argument("--instances", type=int, default=1500)
    parser.add_argument("--side", type=int, default=256, help="rows and columns of each image")
    given = parser.read(arguments)
    objects = list(_images(given.instances, given.side))
    report = Report("metadata", "Metadata of a large study by WADO-RS", is_quick=given.quick)
    with scratch() as folder:
        rows = _measure(report, folder, objects, given.rounds)
    _report(report, rows, given)
    return 1 if report.failures else 0


def _measure(report: Report, folder: Path, objects: list[Object], rounds: int) -> list[Row]:
    with ExitStack() as stack:
        for name in ("ours", "other"):
            (folder / name).mkdir()
        say(f"starting {OURS} and {_OTHER}, sending {len(objects)} objects to each")
        ours = stack.enter_context(service(folder / "ours", PACS_FEED__QUIET="1"))
        _fill(ours.dicom_port, objects)
        _wait_until_made(ours.web_port, len(objects))

        def rival() -> Rival:
            running = stack.enter_context(orthanc_web(folder / "other"))
            _fill(running.dicom_port, objects)
            return running

        other = report.attempt(_OTHER, rival)
        cache = folder / "ours" / "cache" / "metadata"

        def cold(_: int) -> Answer:
            shutil.rmtree(cache)
            return _get(ours.web_port)

        cases: dict[str, Callable[[int], Answer]] = {
            "ours, new address": lambda number: _get(ours.web_port, host=f"round{number}.example"),
            "ours, cold": cold,
            OURS: lambda _: _get(ours.web_port),
            "ours, not compressed": lambda _: _get(ours.web_port, encoding="identity"),
        }
        if other:
            port = other.web_port
            cases[_OTHER] = lambda _: _get(port)
            cases[f"{_OTHER}, not compressed"] = lambda _: _get(port, encoding="identity")
        runs: dict[str, list[Answer]] = {name: [] for name in cases}
        wanted = sorted(item.sop_instance_uid for item in objects)
        for number in range(rounds + 1):
            for name, get in [*cases.items()]:
                answer = report.attempt(name, partial(get, number))
                if answer is None:
                    del cases[name]
                elif number:  # the first round is for warming up, and for looking whether all is there
                    runs[name].append(answer._replace(body=b"", encoding=str(len(answer.body))))
                elif answer.instances() != wanted:
                    report.failures.append(f"{name} left instances out")
                    del cases[name]
    return [
        Row(name, [each.first for each in found], [each.last for each in found], int(found[0].encoding))
        for name, found in runs.items()
        if found
    ]


def _fill(port: int, objects: list[Object]) -> None:
    if failures := send("127.0.0.1", port, "PACS", objects, 2).failures:
        raise SystemExit(f"refused {failures} objects")


def _get(port: int, *, encoding: str = "gzip", host: str = "pacs.example") -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.connect()
        headers = {"Accept": "application/dicom+json", "Accept-Encoding": encoding, "Host": host}
        started = time.perf_counter()
        connection.request("GET", f"/dicom-web/studies/{_STUDY}/metadata", headers=headers)
        answer = connection.getresponse()
        pieces = [answer.read(1)]
        first = time.perf_counter() - started
        pieces.append(answer.read())
        last = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(f"metadata: {answer.status} {pieces[1][:500]!r}")
        return Answer(first, last, answer.headers.get("Content-Encoding") or "", b"".join(pieces))


def _wait_until_made(port: int, instances: int) -> None:
    """Wait until the service has made the metadata ahead of whoever asks."""
    deadline = time.monotonic() + _PATIENCE
    while _made(port) < instances:
        if time.monotonic() > deadline:
            raise SystemExit("metadata were not made ahead")
        time.sleep(0.2)


def _made(port: int) -> float:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith("pacs_metadata_made_ahead_total ")), 0)


def _images(count: int, side: int) -> Iterator[Object]:
    """Slices of a CT study as devices write them: some 280 elements each, of which 25 differ from slice to slice."""
    random = np.random.default_rng(1)
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.decode()
    ds.StudyInstanceUID = _STUDY
    ds.Rows = ds.Columns = side
    for number in range(count):
        ds.SOPInstanceUID = f"{_STUDY}.{random.integers(1 << 60)}"
        ds.SeriesInstanceUID = f"{_STUDY}.{number * _SERIES // count}"
        ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = (
            number * _SERIES // count + 1,
            number + 1,
            number // 16,
        )
        ds.ImagePositionPatient = [-158.135803, -179.035797, round(-300 + number * 0.625, 3)]
        ds.SliceLocation = ds.ImagePositionPatient[2]
        ds.ContentTime = ds.AcquisitionTime = f"10{number // 60 % 60:02}{number % 60:02}.{random.integers(10**6):06}"
        ds.XRayTubeCurrent, ds.Exposure = int(random.integers(100, 400)), int(random.integers(1000, 4000))
        ds.WindowCenter, ds.WindowWidth = int(random.integers(20, 60)), int(random.integers(200, 400))
        ds.add_new("SmallestImagePixelValue", "SS", int(random.integers(0, 100)))
        ds.add_new("LargestImagePixelValue", "SS", int(random.integers(1000, 4000)))
        referenced = Dataset()
        referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = CTImageStorage, f"1.2.3.{number}"
        ds.ReferencedImageSequence = [referenced]
        for private in range(0x00231080, 0x00231088):
            ds.add_new(private, "DS", f"{random.random():.6f}")
        ds.PixelData = random.integers(0, 4096, side * side, dtype=np.uint16).tobytes()
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, ds)
        yield Object(CTImageStorage, ds.SOPInstanceUID, ExplicitVRLittleEndian, buffer.getvalue())


def _report(report: Report, rows: list[Row], given: argparse.Namespace) -> None:
    for row in rows:
        first, last = ([seconds * 1000 for seconds in each] for each in (row.first, row.last))
        found = {"last byte ms": last, "first byte ms": first, "MB sent": [row.size / 1e6]}
        report.add(f"{given.instances} instances", row.case, found, instances=given.instances)
    report.write()
    print("\n".join(report.lines()))
