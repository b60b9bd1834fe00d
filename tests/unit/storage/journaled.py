"""Stores whose journal is in use, in this process and in others."""

from __future__ import annotations

from pathlib import Path

from storage.filesystem import FilesystemStore
from storage.journal import Journal

SEGMENT = 1 << 20
STORING = """
from storage.journal import Journal
import threading
import storage.journal
storage.journal.SETTLED_AFTER = 1e9
root, count, size, segment_size = Path(sys.argv[1]), *map(int, sys.argv[2:5])
store = FilesystemStore(root, journal=Journal(str(root), segments=4, segment_size=segment_size, after=0))
with store.create("warm/up", indexed=True) as writer:
    writer.commit()
while not store._journal.active:
    pass
for number in range(count):
    with store.create(f"a/{number}", indexed=True) as writer:
        writer.write(bytes([number % 255 + 1]) * size)
        writer.commit()
"""
"""Stores objects with a journal in a process of its own."""


def journaled(root: Path, segments: int = 4, segment_size: int = SEGMENT) -> FilesystemStore:
    """A store whose journal is in use."""
    store = FilesystemStore(root, journal=Journal(str(root), segments=segments, segment_size=segment_size, after=0))
    commit(store, "warm/up", b"")
    journal = store._journal
    assert journal is not None
    while len(journal._free) + journal.active < segments:
        assert journal._thread is not None and journal._thread.is_alive()
    return store


def commit(store: FilesystemStore, key: str, data: bytes) -> None:
    with store.create(key, indexed=True) as writer:
        writer.write(data)
        writer.commit()
