"""Reading an encrypted object, or the segments of it in which a range lies."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from storage.base import CHUNK_SIZE, ObjectReader
from storage.encryption.sealed import SEALED, SEGMENT, Cipher, segments
from storage.errors import IntegrityError

_TOGETHER: Final = 16
"""Segments that are read from the medium at once."""


class SealedReader:
    """Decrypts segment by segment. What it gives out is authentic; `IntegrityError` comes before a byte that is not."""

    __slots__ = (
        "_cipher",
        "_index",
        "_inner",
        "_key",
        "_left",
        "_object_segments",
        "_open",
        "_rest",
        "_sealed",
        "_skip",
        "object_size",
        "size",
    )

    def __init__(
        self,
        key: str,
        inner: ObjectReader,
        cipher: Cipher,
        object_size: int,
        offset: int = 0,
        length: int | None = None,
        first: int = 0,
    ) -> None:
        """Read `length` bytes from `offset`, which must be there.

        `inner` comes to segment `first` next, and is taken over.
        """
        self.object_size = object_size
        self.size = object_size - offset if length is None else length
        self._key = key
        self._inner = inner
        self._cipher = cipher
        self._object_segments = segments(object_size)
        self._left = self.size
        self._index = first
        self._skip = offset - first * SEGMENT
        self._sealed = memoryview(b"")
        self._rest: bytes | memoryview = b""
        self._open = True

    def skip(self, first: int) -> None:
        """Pass over the segments before `first`."""
        self._exactly((first - self._index) * SEALED)
        self._skip -= (first - self._index) * SEGMENT
        self._index = first
        self.begin()

    def begin(self) -> None:
        """Decrypt the first segment, so that a wrong one shows now. An empty object is authentic too."""
        if self._left or not self.object_size:
            self._rest = self._next(1)

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative. Raises `StorageUnavailable`, `IntegrityError`."""
        if not self._open:
            raise ValueError(f"the reader of {self._key} is closed")
        wanted = self._left if length < 0 else min(length, self._left)
        parts: list[bytes | memoryview] = []
        missing = wanted
        while missing:
            rest = self._rest or self._next(missing)
            if len(rest) > missing:
                parts.append(memoryview(rest)[:missing])
                self._rest = memoryview(rest)[missing:]
            else:
                parts.append(rest)
                self._rest = b""
            missing -= len(parts[-1])
        self._left -= wanted
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_SIZE):
            yield chunk

    def close(self) -> None:
        """Close what it reads from. May be called twice."""
        self._open = False
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _next(self, wanted: int) -> bytes | memoryview:
        """The next segment decrypted, without what lies before the range. Reads ahead as far as `wanted` goes."""
        if not self._sealed:
            self._sealed = memoryview(self._ahead(wanted + self._skip))
        last = self._index == self._object_segments - 1
        sealed, self._sealed = self._sealed[:SEALED], self._sealed[SEALED:]
        data = self._cipher.open(self._index, sealed, last=last)
        self._index += 1
        if self._skip:
            skip, self._skip = self._skip, 0
            return memoryview(data)[skip:]
        return data

    def _ahead(self, wanted: int) -> bytes:
        count = min(segments(wanted), _TOGETHER, self._object_segments - self._index)
        length = count * SEALED
        if self._index + count == self._object_segments:
            length += self.object_size - self._object_segments * SEGMENT
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = self._inner.read(length)
        while len(data) < length:
            more = self._inner.read(length - len(data))
            if not more:
                raise IntegrityError(f"the encrypted object {self._key} ended early")
            data += more
        return data
