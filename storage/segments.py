"""Segments of the receive journal, see `storage.journal`: files of records one behind the other, without gaps.

Each segment is locked as long as its process lives. What one says that nobody locks is believed as far as its checksums
go: a record that was acknowledged is whole, and so are those before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xxhash import xxh3_64

from storage.base import Buffer

FOLDER: Final = ".journal"
"""Below the root of the store; no key has a dot."""
WRITTEN, WITHDRAWN = 0, 1
"""Kinds of records: the bytes of a file; the number of such a record that is void."""
_HEAD: Final = struct.Struct("<8sQQIIQ")
"""Magic, generation of the segment, number of the record, kind and bytes of the path, bytes of the data, checksum."""
_MAGIC: Final = b"pacsjrnl"
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended for one file."""

    path: str
    """Below the root of the store."""
    kind: int
    data: Buffer

    @property
    def size(self) -> int:
        """Bytes in a segment, at most: a path has ASCII letters only."""
        return _HEAD.size + len(self.path) + len(self.data)

    def encoded(self, generation: int, number: int) -> tuple[Buffer, ...]:
        """As it is written: the checksum is of all of it."""
        path = self.path.encode("ascii")
        facts = (_MAGIC, generation, number, self.kind << 16 | len(path), len(self.data))
        return _HEAD.pack(*facts, _checksum(facts, path, self.data)), path, self.data


class Segment:
    """A file of the journal that this process has locked."""

    def __init__(self, folder: Path, size: int) -> None:
        """Make a file and write all of it, which takes a moment. Raises `OSError`."""
        self.path = folder / f"{secrets.token_hex(8)}.segment"
        with _alone(folder):
            self._fd = os.open(self.path, _NEW, 0o640)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            nothing = bytes(1 << 20)
            for offset in range(0, size, len(nothing)):
                os.pwrite(self._fd, nothing, offset)
            os.fsync(self._fd)
        except BaseException:
            self.remove()
            raise
        self.size = size
        self.end = 0
        self.began: float | None = None
        """Moment of the monotonic clock of its first record; None while it is empty."""
        self.busy = 0
        """Objects in it whose files do not have their names yet. Changed under the lock of the journal."""
        self.generation = secrets.randbits(64)

    def append(self, records: Sequence[Record], first: int) -> None:
        """Write records, numbered from `first` on, and flush them. Raises `OSError`."""
        buffers = [part for n, record in enumerate(records, first) for part in record.encoded(self.generation, n)]
        size = sum(len(part) for part in buffers)
        if os.pwritev(self._fd, buffers, self.end) != size:
            raise OSError("a record was written in part")
        os.fdatasync(self._fd)
        self.end += size

    def clear(self) -> None:
        """Its objects are safe in their own files. Raises `OSError`."""
        os.pwrite(self._fd, bytes(_HEAD.size), 0)
        os.fdatasync(self._fd)
        self.end, self.began = 0, None
        self.generation = secrets.randbits(64)

    def remove(self) -> None:
        """Delete the file, of which nothing is needed any more."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Unlock it, for `left_behind`."""
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a segment that its process left behind."""

    path: str
    """Below the root of the store."""
    data: memoryview


@contextlib.contextmanager
def left_behind(root: str) -> Iterator[list[Found]]:
    """What the segments of dead processes hold; they are deleted at the end of the block, unless it raises.

    One process at a time: another one waits until the files are there again. Raises `OSError`.
    """
    folder = Path(root, FOLDER)
    if not folder.is_dir():
        yield []
        return
    with _alone(folder), contextlib.ExitStack() as held:
        segments = []
        for path in sorted(folder.glob("*.segment")):
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                held.callback(os.close, _locked(path))
                segments.append(path)
        written: dict[int, Found] = {}
        void: set[int] = set()
        for path in segments:
            _read(path.read_bytes(), written, void)
        yield [found for number, found in sorted(written.items()) if number not in void]
        for path in segments:
            path.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process recovers, or makes a segment that is not locked yet."""
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of the file. Raises `BlockingIOError` if another process does."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read(content: bytes, written: dict[int, Found], void: set[int]) -> None:
    """Add the records of a segment, up to the first that is not whole or not of the segment's last use."""
    view, at = memoryview(content), 0
    generation: int | None = None
    while at + _HEAD.size <= len(view):
        *facts, checksum = _HEAD.unpack_from(view, at)
        magic, used, number, kind_and_path, size = facts
        path_at = at + _HEAD.size
        data_at = path_at + (kind_and_path & 0xFFFF)
        path, data = bytes(view[path_at:data_at]), view[data_at : data_at + size]
        generation = used if generation is None else generation
        if magic != _MAGIC or used != generation or len(data) != size or _checksum(facts, path, data) != checksum:
            return
        if kind_and_path >> 16 == WITHDRAWN:
            void.add(struct.unpack("<Q", data)[0])
        else:
            written[number] = Found(path.decode("ascii"), data)
        at = data_at + size


def _checksum(facts: Sequence[bytes | int], path: bytes, data: Buffer) -> int:
    digest = xxh3_64(_HEAD.pack(*facts, 0))
    digest.update(path)
    digest.update(data)
    return digest.intdigest()
