"""Starts the servers that are compared, each on a fresh folder and a free port of the loopback interface."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from archive.embedded import EmbeddedPostgres
from benchmarks.profile import profiled
from benchmarks.results import CODE

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    """The node alone, as shipped: embedded PostgreSQL with its default durability, filesystem store."""
    with service(folder, web=False) as running:
        yield running.dicom_port


class Service(NamedTuple):
    """A DICOM node and a web service over one archive: ports and process ids; 0 for what was not started here."""

    dicom_port: int
    web_port: int
    node: int
    web: int
    database: int = 0


@contextmanager
def service(folder: Path, database_url: str = "", *, web: bool = True, **variables: str) -> Iterator[Service]:
    """Both processes as shipped, on the store that the variables say; without a database, with the embedded one."""
    database = 0
    dicom_port, web_port = free_port(), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PACS_")},
        "PACS_DATA_DIR": str(folder),
        "PACS_NODE__PORT": str(dicom_port),
        "PACS_NODE__HOST": "127.0.0.1",
        "PACS_WEB__PORT": str(web_port),
        "PACS_WEB__HOST": "127.0.0.1",
        "PACS_ACCESS__SIGN_IN": "off",
        "PACS_UNKNOWN_PEERS": "accept",
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        "PACS_LOG__LEVEL": "WARNING",
        **variables,
    }
    with ExitStack() as stack:
        if not database_url:
            postgres = EmbeddedPostgres(folder / "postgres")
            stack.callback(postgres.stop)
            database_url, database = postgres.url, postmaster(folder / "postgres")
        environment["PACS_DATABASE__URL"] = database_url
        command = [sys.executable, "-m"]
        subprocess.run([*command, "archive", "migrate"], cwd=CODE, env=environment, check=True, capture_output=True)
        node = stack.enter_context(_running([*command, "dicom_node"], dicom_port, environment, CODE))
        serving = stack.enter_context(_running([*command, "viewer_api"], web_port, environment, CODE)) if web else 0
        for name, process in (("node", node), ("web", serving)):
            if process:
                stack.enter_context(profiled(name, process))
        yield Service(dicom_port, web_port if web else 0, node, serving, database)


def postmaster(folder: Path) -> int:
    """The first process of the embedded PostgreSQL in this folder."""
    return int((folder / "postmaster.pid").read_text().split("\n", 1)[0])


class Rival(NamedTuple):
    """Ports and process id of another archive."""

    dicom_port: int
    web_port: int
    process: int


@contextmanager
def orthanc_web(
    folder: Path, served: Path | None = None, database_url: str = "", *, web: bool = True, **settings: Any
) -> Iterator[Rival]:
    """Debian's Orthanc with its default index (SQLite) and storage, and its DICOMweb plugin unless without `web`; with
    `served` under /viewer; with its index in PostgreSQL, if one is named."""
    plugins = ["DicomWeb"] if web else []
    more: dict[str, Any] = {
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "AuthenticationEnabled": False,
        "KeepAlive": True,
        "HttpThreadsCount": 8,
        **settings,
    }
    if served is not None:
        plugins.append("ServeFolders")
        types = {"wasm": "application/wasm", "js": "text/javascript", "mjs": "text/javascript"}
        folders = {"/viewer": str(served)}
        more["ServeFolders"] = {"AllowCache": True, "GenerateETag": True, "Extensions": types, "Folders": folders}
    if database_url:
        plugins.append("PostgreSQLIndex")
        uri = database_url.replace("postgresql+psycopg", "postgresql")
        more["PostgreSQL"] = {"EnableIndex": True, "EnableStorage": False, "EnableSsl": False, "ConnectionUri": uri}
    with _orthanc(folder, {"Plugins": [_plugin(name) for name in plugins], **more}) as running:
        yield running


def _plugin(name: str) -> str:
    found = next(iter(sorted(Path("/usr").glob(f"**/lib*{name}.so"))), None)
    if found is None:
        raise SystemExit(
            f"Orthanc's plugin {name} is not installed: apt-get install orthanc-dicomweb orthanc-postgresql"
        )
    return str(found)


@contextmanager
def _orthanc(folder: Path, more: dict[str, Any]) -> Iterator[Rival]:
    dicom_port, web_port = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomPort": dicom_port,
        "DicomAet": "PACS",
        "HttpPort": web_port,
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        **more,
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    with _running([_tool("Orthanc"), str(configuration)], dicom_port, dict(os.environ)) as process:
        yield Rival(dicom_port, web_port, process)


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, int]]:
    """DCMTK's receiver: writes files, keeps no index, flushes nothing. Its port and process id."""
    port = free_port()
    command = [_tool("storescp"), "--fork", "+xa", "-aet", "PACS", "-od", str(folder), str(port)]
    with _running(command, port, dict(os.environ)) as process:
        yield port, process


@contextmanager
def probe(folder: Path, database_url: str) -> Iterator[tuple[int, int]]:
    """The floor: the least that a receiver in Python does. Its port and process id."""
    port, uri = free_port(), database_url.replace("postgresql+psycopg", "postgresql")
    command = [sys.executable, "-m", "benchmarks.probe", str(folder), str(port), uri]
    with _running(command, port, dict(os.environ)) as process:
        yield port, process


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install orthanc dcmtk")
    return found


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str], code: Path = ROOT) -> Iterator[int]:
    """Start a server; gives its process id when it listens."""
    process = subprocess.Popen(command, cwd=code, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)  # it may be held while another has its turn
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
