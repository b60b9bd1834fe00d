"""The clients as programs: started, waited for, and what they wrote read back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.integration.dicom_node.running import wait_until
from tests.interop.site import CALLER, Site, listens

PATIENCE = 300
_TRIES = 4
_DROPPED = re.compile(r"Received unexpected [A-Z-]+ service message")


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended."""

    code: int
    output: str


def run(*command: str, cwd: Path | None = None) -> Done:
    """Run a program to its end."""
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, cwd=cwd, env=_environment()
    )
    return Done(done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr))


def dcmtk(program: str, site: Site, *options: str, calling: str = CALLER, last: Sequence[str] = ()) -> Done:
    """Run a client of DCMTK against the node; `last` stands behind the port."""
    return run(program, "-v", "-aet", calling, "-aec", "PACS", *options, "127.0.0.1", str(site.port), *last)


def pynet(
    program: str,
    site: Site,
    *options: str,
    calling: str = CALLER,
    last: Sequence[str] = (),
    cwd: Path | None = None,
) -> Done:
    """Run an app of pynetdicom against the node.

    It is run again where it dropped a response that came too soon for it (see `tests.patient_pynetdicom`).
    """
    here = [sys.executable, "-m", "pynetdicom", program, "127.0.0.1", str(site.port), *last]
    for _ in range(_TRIES):
        done = run(*here, "-v", "-aet", calling, "-aec", "PACS", *options, cwd=cwd)
        if not _DROPPED.search(done.output):
            break
    return done


def gdcm(operation: str, site: Site, *options: str, last: Sequence[str] = ()) -> Done:
    """Run GDCM's client against the node."""
    titles = ["--aetitle", CALLER if operation != "--move" else "GDCMSCU", "--call", "PACS"]
    return run("gdcmscu", operation, *titles, *options, "127.0.0.1", str(site.port), *last)


def keys(**values: str) -> list[str]:
    """Keys of an identifier as options; DCMTK and pynetdicom write them alike."""
    return [part for keyword, value in values.items() for part in ("-k", f"{keyword}={value}")]


@contextmanager
def listening(port: int, *command: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program that waits for associations on this port, until the context ends."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd, env=_environment()
    ) as process:
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, f"{command[0]} listens", PATIENCE)
            assert process.poll() is None, command
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def storescp(site: Site, folder: Path, *options: str) -> Iterator[Path]:
    """DCMTK's storescp as the peer STORESCP; it writes into the folder."""
    folder.mkdir(exist_ok=True)
    port = site.ports["STORESCP"]
    with listening(port, "storescp", "-aet", "STORESCP", "-od", str(folder), *options, str(port)):
        yield folder


@contextmanager
def dcmqrscp(site: Site, folder: Path) -> Iterator[Path]:
    """DCMTK's archive as the peer DCMQRSCP, which knows the node as a place to send to."""
    area = folder / "area"
    area.mkdir(parents=True)
    port = site.ports["DCMQRSCP"]
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\npacs = (PACS, 127.0.0.1, {site.port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {area} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with listening(port, "dcmqrscp", "-c", str(config), str(port)):
        yield area


@contextmanager
def qrscp(site: Site, folder: Path) -> Iterator[Path]:
    """pynetdicom's archive as the peer QRSCP, which knows the node as a place to send to."""
    area = folder / "instances"
    area.mkdir(parents=True)
    port = site.ports["QRSCP"]
    config = folder / "qrscp.ini"
    config.write_text(
        f"[DEFAULT]\nae_title: QRSCP\nport: {port}\nmax_pdu: 16382\nacse_timeout: 30\ndimse_timeout: 30\n"
        f"network_timeout: 30\nbind_address: 127.0.0.1\ninstance_location: {area}\n"
        f"database_location: {folder}/instances.sqlite\nlog_identifier: False\n"
        f"[PACS]\naddress: 127.0.0.1\nport: {site.port}\n"
    )
    with listening(port, sys.executable, "-m", "pynetdicom", "qrscp", "-c", str(config)):
        yield area


def received(folder: Path) -> dict[str, Dataset]:
    """The DICOM files in a folder and below, by SOP Instance UID."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "index.dat":
            read = dcmread(path, force=True)
            found[str(read.SOPInstanceUID)] = read
    return found


def differences(sent: Dataset, got: Dataset) -> list[str]:
    """Keywords of the elements in which two objects differ, pixels compared decoded where they are encoded otherwise."""
    names = {element.keyword for ds in (sent, got) for element in ds} - {"PixelData", "DataSetTrailingPadding"}
    found = sorted(name for name in names if _text(sent, name) != _text(got, name))
    same = sent.get("PixelData") == got.get("PixelData")
    if not same and not np.array_equal(sent.pixel_array, got.pixel_array):
        found.append("PixelData")
    return found


def assert_same(sent: Sequence[Dataset], got: dict[str, Dataset]) -> None:
    """All of these were received, nothing else, and each as it was sent."""
    assert got.keys() == {str(image.SOPInstanceUID) for image in sent}
    for image in sent:
        assert differences(image, got[str(image.SOPInstanceUID)]) == []


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds[keyword].value) if keyword in ds else ""


def _environment() -> dict[str, str]:
    # Some tools leave Nagle's algorithm on otherwise, and wait for each acknowledgement.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    return {**kept, "TCP_NODELAY": "1", "PYTHONWARNINGS": "ignore"}
