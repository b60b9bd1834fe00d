"""Memory of the node while many associations send large objects at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from benchmarks.command import say, scratch
from benchmarks.contenders import Contender
from benchmarks.huge import native
from benchmarks.memory import store_dimse
from benchmarks.results import OURS
from benchmarks.servers import service

_FRAMES = 200
"""Of 512 KiB in each object: 105 MB."""


def crowd(associations: int) -> dict[str, list[float]]:
    """Peak of the resident memory of all processes of the node, and before; objects are made while they are sent."""
    with scratch() as folder, service(folder, web=False) as running:
        node = Contender(OURS, running.dicom_port, 0, (running.node,))
        # Everything is loaded when it counts.
        store_dimse(node.dicom_port, native(3))
        processes = [Path(f"/proc/{each.pid}") for each in node.processes()]
        before = sum(_kibibytes(each, "VmRSS") for each in processes)
        for each in processes:
            (each / "clear_refs").write_text("5")  # proc(5): the peak is what it is now
        objects = [native(_FRAMES) for _ in range(associations)]
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                store_dimse(node.dicom_port, objects[number])
            except BaseException as error:
                failed.append(error)

        say(f"sending {associations} objects of {objects[0].size / 1e6:.0f} MB at once")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(associations)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise SystemExit(f"an object was not stored: {failed[0]}")
        seconds = time.perf_counter() - begun
        peak = sum(_kibibytes(each, "VmHWM") for each in processes)
        rate = sum(each.size for each in objects) / seconds / 1e6
        # What processes share counts for each of them, so the sum is never too low.
        return {"RSS MB": [peak * 1024 / 1e6], "RSS before MB": [before * 1024 / 1e6], "MB/s": [rate]}


def _kibibytes(process: Path, name: str) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
