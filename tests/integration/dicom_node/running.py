"""A node in this process and what can be asked about it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from archive.core import Archive
from archive.reindex import OF_ARCHIVE
from config.settings import Settings
from dicom_node.__main__ import services
from dicom_node.audited import Rejections
from dicom_node.commitment.desk import Desk
from dicom_node.server import DicomServer
from storage.journal import THREAD
from storage.segments import FOLDER
from tests.integration.dicom_node.peer import RawPeer

PATIENCE = 120.0


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Poll; fail with `what` when it does not become true."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"still not: {what}"
        threading.Event().wait(0.005)


def open_files() -> int:
    """Without those of the receive journal, which is made once there is something for it."""
    return sum(not _target(fd).endswith(".segment") for fd in os.listdir("/proc/self/fd"))


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""  # that of the listing itself


def live_threads() -> int:
    """Without that of the receive journal."""
    return sum(thread.name != THREAD for thread in threading.enumerate())


@dataclass
class Node:
    """A running node and its archive."""

    archive: Archive
    server: DicomServer
    settings: Settings

    @property
    def port(self) -> int:
        return self.server.port

    def peer(self, **options: Any) -> RawPeer:
        return RawPeer(self.port, **options)

    def wait_until_idle(self) -> None:
        """Until no connection is left."""
        wait_until(lambda: self.server.associations == 0, "no connection is left")

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return sql(self.settings, statement, *parameters)

    def keys(self) -> list[str]:
        """Keys of the rows of the index."""
        return sorted(key for (key,) in self.sql("SELECT key FROM stored_object"))

    def leftovers(self) -> list[str]:
        """What is in the store without a row, temporary files too."""
        return leftovers(self.settings, self.archive)

    def digests(self) -> list[bytes]:
        """SHA-256 of the stored datasets, recomputed from the store."""
        return [digest for digest, _ in stored_digests(self.settings, self.archive)]


def sql(settings: Settings, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def leftovers(settings: Settings, archive: Archive) -> list[str]:
    indexed = {key for (key,) in sql(settings, "SELECT key FROM stored_object")}
    assert indexed <= set(archive.store.keys()), "a row without bytes"
    root = settings.objects_dir
    files = {str(path.relative_to(root)) for path in object_files(root)}
    return sorted(files - indexed)


def stored_digests(settings: Settings, archive: Archive) -> list[tuple[bytes, str]]:
    """Recomputed and recorded digest of every stored object must agree; give them with the instance UID."""
    import hashlib

    found = []
    for key, offset, size, digest, instance in sql(
        settings,
        "SELECT key, dataset_offset, size, digest, sop_instance_uid FROM stored_object "
        "JOIN instance ON instance.id = instance_id",
    ):
        with archive.store.open(key) as reader:
            data = reader.read()
        assert len(data) == size
        assert hashlib.sha256(data[offset:]).digest() == digest
        found.append((digest, instance))
    return found


@contextmanager
def running(settings: Settings, archive: Archive, *, committing: bool = False) -> Iterator[Node]:
    """A node that must give back every thread and file descriptor; `committing` starts its work in the background."""
    # Warmed up, so that what is opened once and kept does not look like a leak.
    archive.check()
    archive.audit.session.run(lambda connection: connection.execute("SELECT 1").rowcount)
    desk = Desk(archive, poll=0.05)
    server = DicomServer(settings.node, archive.peers, services(archive, desk), desk.greet, Rejections(archive))
    server.start()
    with desk if committing else nullcontext():
        try:
            yield Node(archive, server, settings)
        finally:
            server.stop()
    wait_until(
        lambda: not any(each.name.startswith(("association", "acceptor")) for each in threading.enumerate()),
        "all threads of the node have ended",
    )


def with_node(settings: Settings, **changes: Any) -> Settings:
    """The settings with other values in the section of the node."""
    node = type(settings.node)(**{**settings.node.model_dump(), **changes})
    return settings.model_copy(update={"node": node})


def object_files(folder: Path) -> list[Path]:
    """Without what the archive keeps there for itself: anchors of the audit trail, the receive journal."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if not str(path.relative_to(folder)).startswith((OF_ARCHIVE, FOLDER))]
