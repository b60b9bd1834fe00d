"""A bounded cache on the local disk: bytes that can be made again, under names that change with what they are made of.

It is no object store. Nothing in it is counted, listed or repaired, and all of it may be deleted at any time; it lies
in a folder of its own. Any number of processes may share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from config.logs import fields
from storage.encryption.entries import EntrySeal
from storage.errors import IntegrityError, StorageUnavailable

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{16,128}")
_CHECKSUM: Final = 32
_USED_AGAIN: Final = 3600.0
"""Seconds after which a use is noted again: the age of an entry is the time since its file was last touched."""
_UNFINISHED: Final = 3600.0
"""Seconds after which a file that was never finished is left from a crash."""
_FULL: Final = 0.9
"""To which part of the limit old entries are removed."""
_LOOK_AGAIN: Final = 0.05
"""After which part of the limit has been written the folder is measured again."""


class DiskCache:
    """Entries of bytes, the least recently used of which are removed beyond a limit.

    Each entry carries its checksum: after a loss of power, a file may be whole by name and empty by content.
    No error of the disk comes out of here: an entry that cannot be read is none, one that cannot be written is not
    kept.
    """

    def __init__(self, folder: Path, limit: int, minimum_free_bytes: int = 0, *, seal: EntrySeal | None = None) -> None:
        """Keep up to about `limit` bytes in `folder`, which is made at the first entry; 0 keeps nothing.

        Nothing is kept while less than `minimum_free_bytes` are free on the disk, which others need more. With `seal`
        entries are encrypted, and entries that are not are none.
        """
        self._seal = seal
        self._folder = folder
        self._limit = limit
        self._minimum_free = minimum_free_bytes
        self._measuring = threading.Lock()
        # So that the folder is measured with the first entry of this process.
        self._unmeasured = limit

    def get(self, name: str) -> bytes | None:
        """The entry of this name, None if there is none."""
        if not self._limit:
            return None
        path = self._path(name)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _USED_AGAIN:
                os.utime(path)
        except OSError:
            return None
        try:
            return self._opened(name, data)
        except StorageUnavailable:
            return None
        except IntegrityError:
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry of this name; it may be gone, or prove damaged, when it is read."""
        return self._limit > 0 and self._path(name).exists()

    def has_room(self) -> bool:
        """Whether entries are kept at all now."""
        folder = next((each for each in (self._folder, *self._folder.parents) if each.exists()), None)
        return self._limit > 0 and folder is not None and shutil.disk_usage(folder).free >= self._minimum_free

    def put(self, name: str, data: bytes) -> None:
        """Keep an entry, if there is room for it."""
        if len(data) > self._limit:
            return
        path = self._path(name)
        # Two threads may make the same entry at once: both write the same, each its own file.
        unfinished = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < self._minimum_free + len(data):
                return
            try:
                kept = self._sealed(name, data)
                with unfinished.open("wb") as file:
                    os.fchmod(file.fileno(), 0o640)
                    file.write(kept)
                unfinished.replace(path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        except (OSError, StorageUnavailable) as error:
            log.warning("cache cannot be written", extra=fields(folder=str(self._folder), error=str(error)))
            return
        self._unmeasured += len(data)
        if self._unmeasured > self._limit * _LOOK_AGAIN and self._measuring.acquire(blocking=False):
            try:
                self._unmeasured = 0
                self._make_room()
            finally:
                self._measuring.release()

    def _sealed(self, name: str, data: bytes) -> bytes:
        return hashlib.sha256(data).digest() + data if self._seal is None else self._seal.seal(name, data)

    def _opened(self, name: str, kept: bytes) -> bytes:
        if self._seal is not None:
            return self._seal.open(name, kept)
        if hashlib.sha256(memoryview(kept)[_CHECKSUM:]).digest() != kept[:_CHECKSUM]:
            raise IntegrityError(f"the entry {name} is damaged")
        return kept[_CHECKSUM:]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("the name of an entry is hexadecimal")
        return self._folder / name[:2] / name

    def _make_room(self) -> None:
        """Remove what was used least recently until the limit is kept, and what crashes left."""
        kept: list[tuple[float, int, Path]] = []
        now = time.time()
        for path in self._folder.glob("??/*"):
            try:
                found = path.stat()
            except OSError:
                continue
            if not path.name.startswith("."):
                kept.append((found.st_mtime, found.st_size, path))
            elif now - found.st_mtime > _UNFINISHED:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in kept)
        if total <= self._limit:
            return
        for _, size, path in sorted(kept):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size
            if total <= self._limit * _FULL:
                return
