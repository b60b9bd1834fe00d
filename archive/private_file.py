"""Patient data that wait on a local disk while they are worked on, for this process alone.

A temporary file without a name vanishes with its process, but its bytes stay in free blocks of the disk. So they are
encrypted by a key that was never written anywhere. There is nothing to set: it costs less than writing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

Buffer = bytes | bytearray | memoryview

_BLOCK: Final = 16


class PrivateFile:
    """Bytes that are appended, and read from anywhere: in memory at first, beyond `in_memory` bytes in a file.

    `write` always appends. For one thread at a time. Raises `OSError`, as files do.
    """

    def __init__(self, in_memory: int, folder: Path | None = None) -> None:
        """Use a file in `folder`, which is made when it is needed; by default where the system has such files."""
        self._in_memory = in_memory
        self._folder = folder
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._key = b""
        self._writing: CipherContext | None = None
        self._size = 0
        self._position = 0

    def write(self, data: Buffer) -> int:
        """Append; the position is the end then."""
        view = memoryview(data).cast("B")
        if self._file is None and self._size + len(view) > self._in_memory:
            self._to_file()
        self._append(view)
        self._position = self._size
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes from the position on, fewer only at the end; all that is left if negative."""
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        start, self._position = self._position, self._position + size
        if not size:
            return b""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        # Counter mode: any block can be decrypted by itself.
        first, skip = divmod(start, _BLOCK)
        reading = self._cipher(first).decryptor()
        reading.update(bytes(skip))
        parts = []
        while size:
            stored = os.pread(self._file.fileno(), size, start)
            if not stored:
                raise OSError("a temporary file has become shorter")
            parts.append(reading.update(stored))
            start += len(stored)
            size -= len(stored)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position from which `read` goes on."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def close(self) -> None:
        """Forget the bytes. May be called twice."""
        self._memory = bytearray()
        self._size = self._position = 0
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _to_file(self) -> None:
        if self._folder is not None:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        self._key = os.urandom(32)
        self._writing = self._cipher(0).encryptor()
        memory, self._memory, self._size = self._memory, bytearray(), 0
        self._append(memoryview(memory))

    def _append(self, view: memoryview) -> None:
        if self._file is None or self._writing is None:
            self._memory += view
        else:
            stored = memoryview(self._writing.update(view))
            while stored:
                stored = stored[self._file.write(stored) :]
        self._size += len(view)

    def _cipher(self, block: int) -> Cipher[CTR]:
        # The key is of this file alone and each block is written once, so the counter may begin with 0.
        return Cipher(AES(self._key), CTR(block.to_bytes(_BLOCK, "big")))
