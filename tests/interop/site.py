"""The archive that the clients meet: its processes, its list of peers, and what it holds at the start."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

from archive.core import Archive
from config.settings import load
from tests.factories import ct_image, encode, store, store_bytes
from tests.integration.dicom_node.peer import sha256
from tests.integration.dicom_node.process import NodeProcess
from tests.integration.dicom_node.running import stored_digests, wait_until
from tests.ports import reserved_port

RIGHTS = ["store", "commit", "find", "move", "worklist"]
LISTENERS = ("STORESCP", "DCMQRSCP", "QRSCP", "ORTHANC", "MOVESCU", "GDCMSCU", "PYNETSCP")
"""AE titles of the peers that wait for associations, each on a port that is kept for it."""
CALLER = "CT1"
"""AE title of those that only call."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML: plain values first, then tables and lists of tables."""

    def lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
        nested = {}
        for key, value in table.items():
            if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
                nested[key] = value
            else:
                yield f"{key} = {json.dumps(value)}"
        for key, value in nested.items():
            entries = value if isinstance(value, list) else [value]
            for entry in entries:
                yield f"[[{prefix}{key}]]" if isinstance(value, list) else f"[{prefix}{key}]"
                yield from lines(entry, f"{prefix}{key}.")

    return "\n".join(lines(values, "")) + "\n"


@dataclass
class Site:
    """A running archive, and where its peers are."""

    node: NodeProcess
    archive: Archive
    """The same index and store, opened by the test to see what became of things."""
    folder: Path
    ports: dict[str, int]
    images: list[Dataset] = field(default_factory=list)
    """What it holds from the start, decoded; see `holdings`."""

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def tls_port(self) -> int:
        found: int = next(line["tls_port"] for line in self.node.lines() if line["message"] == "DICOM node listens")
        return found

    def digests(self) -> dict[str, bytes]:
        """SHA-256 of each stored dataset, recomputed, by SOP Instance UID."""
        return {instance: digest for digest, instance in stored_digests(self.archive.settings, self.archive)}

    def wait_for(self, instances: Sequence[str]) -> None:
        """Until these are stored."""
        wait_until(lambda: set(instances) <= self.digests().keys(), f"stored: {instances}", 60)

    def study(self, number: int) -> list[Dataset]:
        """The images of one of the studies of `holdings`."""
        uids = list(dict.fromkeys(image.StudyInstanceUID for image in self.images))
        return [image for image in self.images if image.StudyInstanceUID == uids[number]]


def settings_of(url: str, folder: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    """Settings of an archive with every kind of peer."""
    common = {"facility": "86001", "rights": RIGHTS, "sees": "province"}
    return {
        "data_dir": str(folder / "data"),
        "unknown_peers": "reject",
        "database": {"url": url},
        "storage": {"minimum_free_bytes": 0},
        "node": {"host": "127.0.0.1", "port": 0, "shutdown_grace": 10, "artim_timeout": 10},
        "web": {"port": 0},
        "access": {"sign_in": "off"},
        "facilities": [{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}, {"code": "86002", "name": "TTYT huyện"}],
        "peers": [
            {"ae_title": CALLER, **common},
            {"ae_title": "US2", "facility": "86002"},
            *({"ae_title": title, "host": "127.0.0.1", "port": port, **common} for title, port in ports.items()),
        ],
    }


@contextmanager
def opened(
    url: str, folder: Path, peers: Mapping[str, Mapping[str, Any]] | None = None, **sections: Any
) -> Iterator[Site]:
    """A site with `holdings`. `peers` changes what is said of some of them by AE title, `sections` are more settings."""
    with ExitStack() as stack:
        ports = {title: stack.enter_context(reserved_port()) for title in LISTENERS}
        values = settings_of(url, folder, ports)
        for section, content in sections.items():
            values[section] = {**values.get(section, {}), **content} if isinstance(content, Mapping) else content
        for peer in values["peers"]:
            peer |= (peers or {}).get(peer["ae_title"], {})
        path = folder / "pacs.toml"
        path.write_text(toml(values), encoding="utf-8")
        archive = stack.enter_context(Archive.open(load(path, environ={})))
        images = holdings(archive)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
        environment |= {"PACS_CONFIG": str(path), "PYTHONWARNINGS": "error"}
        node = NodeProcess(archive.settings, folder, environment)
        try:
            yield Site(node, archive, folder, ports, images)
            assert node.terminate() == 0
            assert "Traceback" not in node.log(), node.log()
        finally:
            if node.process.poll() is None:
                node.kill()


def holdings(archive: Archive) -> list[Dataset]:
    """Three studies of two patients: CT of two series, MR, and one stored in RLE."""
    first = ct_image(InstanceNumber=1)
    study = first.StudyInstanceUID
    second = ct_image(
        seed=1, InstanceNumber=2, StudyInstanceUID=study, SeriesInstanceUID=first.SeriesInstanceUID, Rows=16
    )
    other = ct_image(seed=2, StudyInstanceUID=study, SeriesNumber=2, SeriesDescription="Sau tiêm thuốc")
    magnetic = ct_image(
        seed=3,
        SOPClassUID=MRImageStorage,
        Modality="MR",
        StudyDate="20261115",
        StudyDescription="MR khớp gối",
        AccessionNumber="A2",
    )
    plain = [first, second, other, magnetic]
    for image in plain:
        store(archive, image)
    squeezed = ct_image(
        seed=4,
        PatientName="Trần^Thị B",
        PatientID="BN0002",
        PatientSex="F",
        StudyDate="20261120",
        StudyDescription="CT ngực",
        AccessionNumber="A3",
    )
    store_bytes(
        archive,
        encode(rle(squeezed), RLELossless),
        squeezed.SOPClassUID,
        squeezed.SOPInstanceUID,
        transfer_syntax_uid=RLELossless,
    )
    images = [*plain, squeezed]
    for image in images:
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return images


def rle(image: Dataset) -> Dataset:
    """The same image in RLE Lossless."""
    copy = deepcopy(image)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    copy.compress(RLELossless, generate_instance_uid=False)
    return copy


def saved(image: Dataset, path: Path, syntax: str = "1.2.840.10008.1.2.1") -> Path:
    """Write a Part 10 file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(path, enforce_file_format=True)
    return path


def digest(image: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """SHA-256 of the image as it travels."""
    return sha256(encode(image, syntax))
