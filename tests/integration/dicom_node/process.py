"""``python -m dicom_node`` as a process of its own, with the database of the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.settings import Settings
from tests.integration.dicom_node.peer import RawPeer
from tests.integration.dicom_node.running import wait_until

ROOT = Path(__file__).parents[3]


class NodeProcess:
    """A started node. Its log is kept in a file."""

    def __init__(
        self, settings: Settings, folder: Path, variables: Mapping[str, str] | None = None, **node: Any
    ) -> None:
        """Start it with these settings of its own section, or with environment variables that say all."""
        self.settings = settings
        self.environment = dict(variables or environment(settings, folder, **node))
        self._log = folder / f"node-{len(list(folder.glob('node-*.log')))}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicom_node"], cwd=ROOT, env=self.environment, stderr=log, stdout=log
            )
        wait_until(lambda: self._listens() or self.process.poll() is not None, "the node listens", 120)
        assert self.process.poll() is None, self.log()
        self.port: int = next(line["port"] for line in self.lines() if line["message"] == "DICOM node listens")

    def _listens(self) -> bool:
        return "DICOM node listens" in self.log()

    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The log, a dictionary per line; a line that is still being written is left out."""
        return [json.loads(line) for line in self.log().splitlines(keepends=True) if line.endswith("}\n")]

    def peer(self, **options: Any) -> RawPeer:
        return RawPeer(self.port, **options)

    def peak_memory(self) -> int:
        """Bytes: the most this process ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024

    def terminate(self) -> int:
        """Ask it to stop; give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def node_process(settings: Settings, folder: Path, **node: Any) -> Iterator[NodeProcess]:
    started = NodeProcess(settings, folder, **node)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def environment(settings: Settings, folder: Path, **node: Any) -> dict[str, str]:
    """Environment for a process of the archive with these settings."""
    path = folder / "pacs.toml"
    values: dict[str, dict[str, Any]] = {
        "database": {"url": settings.database.url.get_secret_value()},
        "storage": {"minimum_free_bytes": 0},
        "node": {"host": "127.0.0.1", "port": 0, "shutdown_grace": 10, "processes": 1, **node},
        "log": {"level": "INFO"},
    }
    text = f'data_dir = "{settings.data_dir}"\nunknown_peers = "accept"\n'
    for section, content in values.items():
        text += f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in content.items())
    for code in ("86001", "86002"):
        text += f'[[facilities]]\ncode = "{code}"\nname = "{code}"\n'
    text += (
        '[[peers]]\nae_title = "CT1"\nfacility = "86001"\nrights = ["store", "commit", "find", "move", "worklist"]\n'
    )
    for peer in settings.peers:
        if peer.host:
            text += f'[[peers]]\nae_title = "{peer.ae_title}"\nfacility = "{peer.facility}"\n'
            text += f'host = "{peer.host}"\nport = {peer.port}\nparallel = {peer.parallel}\n'
    if settings.routes:
        text += _table("[forward]", settings.forward.model_dump(exclude_defaults=True))
    for route in settings.routes:
        text += _table("[[routes]]", route.model_dump(exclude_defaults=True))
    path.write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    return {**kept, "PACS_CONFIG": str(path), "PYTHONWARNINGS": "error"}


def _table(header: str, values: dict[str, Any]) -> str:
    return f"{header}\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def archive_command(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m archive`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "archive", *arguments],
        cwd=ROOT,
        env=environment(settings, folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
