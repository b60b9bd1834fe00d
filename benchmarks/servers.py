"""Starts the servers that are compared, each on a fresh folder and a free port of the loopback interface."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    """The node as shipped: embedded PostgreSQL with its default durability, filesystem store."""
    port = free_port()
    environment = {
        **os.environ,
        "PACS_DATA_DIR": str(folder),
        "PACS_NODE__PORT": str(port),
        "PACS_NODE__HOST": "127.0.0.1",
        "PACS_UNKNOWN_PEERS": "accept",
        "PACS_LOG__LEVEL": "WARNING",
    }
    environment.pop("PACS_CONFIG", None)
    subprocess.run(
        [sys.executable, "-m", "archive", "migrate"], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    with _running([sys.executable, "-m", "dicom_node"], port, environment):
        yield port


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Debian's Orthanc with its default index (SQLite) and storage."""
    port = free_port()
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": port,
        "DicomAet": "PACS",
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with _running([_tool("Orthanc"), str(configuration)], port, dict(os.environ)):
        yield port


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """DCMTK's receiver: writes files, keeps no index, flushes nothing."""
    port = free_port()
    with _running(
        [_tool("storescp"), "--fork", "+xa", "-aet", "PACS", "-od", str(folder), str(port)], port, dict(os.environ)
    ):
        yield port


SERVERS: dict[str, Callable[[Path], object]] = {"ours": ours, "Orthanc": orthanc, "storescp": storescp}


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install orthanc dcmtk")
    return found


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)
