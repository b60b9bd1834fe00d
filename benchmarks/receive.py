"""``python -m benchmarks receive``: C-STORE against Orthanc and DCMTK's ``storescp``, interleaved, as ratios.

Prints a Markdown table and writes the figures to ``build/benchmarks/receive.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.sender import Object, send
from benchmarks.servers import SERVERS

CASES = (("0.5 MB", 512, 1), ("0.5 MB", 512, 4), ("33 kB", 128, 1), ("33 kB", 128, 4))
SLICES = 100


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks receive", description=__doc__)
    parser.add_argument("--objects", type=int, default=400, help="objects in each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case and server, interleaved")
    given = parser.parse_args(arguments)
    figures = []
    print("| objects | associations | server | objects/s (median, least-most) | p99 ms | ratio of ours |")
    print("|---|---|---|---|---|---|")
    for label, side, associations in CASES:
        measured = _measure(side, associations, given.objects, given.rounds)
        mine = statistics.median(rate for rate, _ in measured["ours"])
        for name, runs in measured.items():
            rates = sorted(rate for rate, _ in runs)
            median = statistics.median(rates)
            p99 = statistics.median(late for _, late in runs) * 1000
            spread = f"{median:.0f} ({rates[0]:.0f}-{rates[-1]:.0f})"
            print(f"| {label} | {associations} | {name} | {spread} | {p99:.1f} | {mine / median:.2f} |", flush=True)
            figures.append({"size": label, "associations": associations, "server": name, "rates": rates, "p99_ms": p99})
    target = Path("build/benchmarks/receive.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1))
    return 0


def _measure(side: int, associations: int, count: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Objects per second and p99 latency of each run; each round starts all servers afresh, one after the other."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    for round_number in range(rounds):
        for name, start in SERVERS.items():
            objects = _objects(side, count, seed=round_number)
            with tempfile.TemporaryDirectory(prefix="bench") as folder:
                Path(folder).chmod(0o755)
                with cast(AbstractContextManager[int], start(Path(folder))) as port:
                    result = send("127.0.0.1", port, "PACS", objects, associations)
            if result.failures:
                raise SystemExit(f"{name} refused {result.failures} objects")
            latencies = sorted(result.latencies)
            measured[name].append((count / result.seconds, latencies[int(len(latencies) * 0.99)]))
    return measured


def _objects(side: int, count: int, seed: int) -> list[Object]:
    """CT images of `side` x `side` pixels in series of `SLICES`, each under new UIDs."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        if number % SLICES == 0:
            study, series = generate_uid(), generate_uid()
        dataset = Dataset()
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.PatientID, dataset.PatientName = f"P{number // SLICES}", "Benchmark^Patient"
        dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20261101", "083000", "CT"
        dataset.AccessionNumber, dataset.StudyID = f"A{number // SLICES}", "1"
        dataset.SeriesNumber, dataset.InstanceNumber = 1, number % SLICES + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number % SLICES], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = side
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = random.integers(0, 4096, side * side, dtype=np.uint16).tobytes()
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, dataset)
        made.append(Object(CTImageStorage, dataset.SOPInstanceUID, ExplicitVRLittleEndian, buffer.getvalue()))
    return made
