"""Bytes on their way to a store that wants to know their number and digest before it takes them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO, Final, Self

from storage.base import Buffer
from storage.errors import StorageUnavailable
from storage.files import COALESCE_SIZE, pread_all, write_all
from storage.os_errors import unavailable

MEMORY_SIZE: Final = 4 << 20
"""Bytes that a spool keeps in memory before it turns to a file."""
_PIECE: Final = 1 << 20


class Spool:
    """An append-only heap of bytes: in memory at first, then in a file without a name in `folder`.

    The file has no name so that a killed process leaves nothing. It is never flushed to the medium: it need not
    outlive the process. One thread writes; any number may then `read` at once.
    """

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._in_file = 0

    @classmethod
    def of(cls, fd: int) -> Self:
        """All bytes of a file that lies on the disk; `fd` stays with the caller. Raises `StorageUnavailable`."""
        spool = cls(Path())
        try:
            if os.fstat(fd).st_size <= MEMORY_SIZE:
                spool.write(pread_all(fd, 0, MEMORY_SIZE))
                return spool
            spool._file = os.fdopen(os.dup(fd), "rb", buffering=0)
            while data := pread_all(fd, spool.size, _PIECE):
                spool.md5.update(data)
                spool.size = spool._in_file = spool.size + len(data)
        except OSError as error:
            spool.close()
            raise unavailable("cannot read a file that is to be uploaded", error) from error
        return spool

    @property
    def in_memory(self) -> bool:
        """Whether all bytes are in memory."""
        return self._file is None

    def write(self, data: Buffer) -> None:
        """Append `data`. Raises `StorageUnavailable`; the spool is then of no more use."""
        view = memoryview(data).cast("B")
        self.md5.update(view)
        self.size += len(view)
        limit = MEMORY_SIZE if self._file is None else COALESCE_SIZE
        if len(self._memory) + len(view) <= limit:
            self._memory += view
            return
        try:
            if self._file is None:
                self._file = self._create()
            self._in_file += write_all(self._file.fileno(), [memoryview(self._memory), view])
            self._memory = bytearray()
        except OSError as error:
            raise unavailable(f"cannot spool to {self._folder}", error) from error

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end. Raises `StorageUnavailable`."""
        length = max(0, min(length, self.size - offset))
        if offset >= self._in_file:
            start = offset - self._in_file
            return bytes(memoryview(self._memory)[start : start + length])
        assert self._file is not None
        from_file = min(length, self._in_file - offset)
        try:
            data = pread_all(self._file.fileno(), offset, from_file)
        except OSError as error:
            raise unavailable(f"cannot read the spool in {self._folder}", error) from error
        if len(data) < from_file:
            raise StorageUnavailable(f"the spool in {self._folder} gave {len(data)} of {from_file} bytes")
        if from_file < length:
            data += bytes(memoryview(self._memory)[: length - from_file])
        return data

    def close(self) -> None:
        """Give the memory and the file back. May be called twice."""
        self._memory = bytearray()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _create(self) -> IO[bytes]:
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self._folder, buffering=0)
