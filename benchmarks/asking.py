"""``python -m benchmarks.asking PORT CLIENTS SECONDS ADDRESS``: asks a web service as so many clients at once.

A process of its own, so that whoever asks takes no turns of the interpreter from who answers. ``{n}`` in the address is
another number each time. Prints the requests a second.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time

from benchmarks.frames import Connection
from benchmarks.servers import ROOT


def rate(port: int, clients: int, seconds: float, address: str, accept: str = "*/*") -> float:
    """Requests a second of a process that asks."""
    command = [sys.executable, "-m", "benchmarks.asking", str(port), str(clients), str(seconds), address, accept]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _ask(port: int, clients: int, seconds: float, address: str, accept: str) -> float:
    # The clock, so that no two processes ask the same.
    number = itertools.count(time.time_ns() // 1000)
    taken: list[float] = []
    ready = threading.Barrier(clients)

    def work() -> None:
        connection = Connection(port)
        connection.get(address.format(n=next(number)), accept)
        ready.wait()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.get(address.format(n=next(number)), accept)
            taken.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each client asks again as soon as it has its answer.
    return clients * len(taken) / sum(taken)


if __name__ == "__main__":
    print(_ask(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]))
