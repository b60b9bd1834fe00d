"""Stores behind a spool for tests, in this process and in others that are killed."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from storage.base import ObjectWriter
from storage.filesystem import FilesystemStore
from storage.journal import Journal
from storage.s3 import S3Store
from storage.uploader import Uploader, waiting
from storage.write_back import WriteBackStore
from tests.integration.storage.conftest import settings_for
from tests.s3_server import S3Server

Known = Callable[[Sequence[str]], Collection[str]]


class IndexedStore(WriteBackStore):
    """All that is created is to have a row."""

    def create(self, key: str, *, indexed: bool = True) -> ObjectWriter:
        return super().create(key, indexed=indexed)


def spooled(
    server: S3Server,
    folder: Path,
    *,
    endpoint: str = "",
    receives: bool = True,
    minimum_free_bytes: int = 0,
    patience: float = 0,
    kind: type[WriteBackStore] = IndexedStore,
) -> WriteBackStore:
    """A store whose spool is in `folder`. It uploads when `recover` is called, and without `patience` lets nothing go first."""
    root = folder / "spool"
    s3 = S3Store(settings_for(server, retries=0, endpoint=endpoint or server.endpoint), folder / "parts")
    spool = FilesystemStore(root, minimum_free_bytes, Journal(str(root), segment_size=1 << 20, after=0))
    return kind(spool, s3, Uploader(root, s3, 4, patience), receives=receives, looks_first=True)


def nothing_known(keys: Sequence[str]) -> Collection[str]:
    """No key has a row."""
    del keys
    return ()


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Poll; fail with `what` when it does not become true."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, f"still not: {what}"
        threading.Event().wait(0.005)


def wait_until_empty(folder: Path) -> None:
    """All that was in the spool is with S3."""
    wait_until(lambda: not waiting(folder / "spool").objects, "the spool is empty")


def command(code: str, server: S3Server, folder: Path, *arguments: str) -> list[str]:
    """The command line that runs `code` in a process of its own, where `store` is over the same spool."""
    preamble = """
    import os, signal, sys
    from pathlib import Path
    from storage import uploader
    from tests.integration.storage.spooling import nothing_known, spooled, wait_until_empty
    from tests.s3_server import S3Server
    folder = Path(sys.argv[1])
    server = S3Server(*sys.argv[2:5])
    store = spooled(server, folder)

    def put(key, data):
        with store.create(key) as writer:
            writer.write(data)
            writer.commit()

    def die(*ignored):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    parts = [server.endpoint, server.access_key, server.secret_key, *arguments]
    return [sys.executable, "-c", textwrap.dedent(preamble) + textwrap.dedent(code), str(folder), *parts]
