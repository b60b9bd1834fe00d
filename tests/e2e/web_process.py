"""``python -m viewer_api`` as a process of its own, with the database of the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from config.settings import Settings
from tests.integration.dicom_node.running import wait_until

ROOT = Path(__file__).parents[2]


class WebProcess:
    """A started service of several processes. Its log is kept in a file."""

    def __init__(self, settings: Settings, folder: Path, processes: int, **variables: str) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PACS_")},
            "PACS_DATA_DIR": str(settings.data_dir),
            "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
            "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
            "PACS_ACCESS__SIGN_IN": "off",
            "PACS_WEB__PORT": "0",
            "PACS_WEB__PROCESSES": str(processes),
            **variables,
        }
        self._log = folder / f"web-{len(list(folder.glob('web-*.log')))}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "viewer_api"], cwd=ROOT, env=environment, stderr=log, stdout=log
            )
        wait_until(lambda: "Uvicorn running" in self.log() or self.process.poll() is not None, "it listens", 120)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log())
        assert found, self.log()
        self.port = int(found[1])
        self.url = found[0]

    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def worker_of(self, client: httpx.Client) -> int:
        """The process id of the one that has the connection of this client."""
        with client.stream("GET", "/health/live") as answer:
            own: int = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            answer.read()
        return next(
            each.pid
            for each in self.workers()
            if any(found.raddr and found.raddr.port == own for found in each.net_connections("tcp"))
        )

    def client(self, **options: str) -> httpx.Client:
        """One with a single connection, which stays."""
        limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
        return httpx.Client(base_url=self.url, timeout=120, limits=limits, headers=options)

    def one_each(self, stack: ExitStack, **headers: str) -> list[httpx.Client]:
        """A client for each process, in the order of process ids."""
        found: dict[int, httpx.Client] = {}
        while len(found) < len(self.workers()):
            client = stack.enter_context(self.client(**headers))
            found.setdefault(self.worker_of(client), client)
        return [found[each] for each in sorted(found)]

    def starts(self) -> dict[str, int]:
        """How often each process was ready, by its number."""
        text = httpx.get(f"{self.url}/metrics", timeout=120).text
        return {name: int(float(count)) for name, count in re.findall(r'_starts_total\{process="(\d)"\} (\S+)', text)}

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(120)


@contextmanager
def web_process(settings: Settings, folder: Path, processes: int = 2, **variables: str) -> Iterator[WebProcess]:
    started = WebProcess(settings, folder, processes, **variables)
    children = started.workers()
    try:
        yield started
    finally:
        if started.process.poll() is None:
            children = started.workers()
            started.process.kill()
            started.process.wait()
        _, alive = psutil.wait_procs(children, timeout=120)
        assert not alive
