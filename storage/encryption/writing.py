"""Writing an encrypted object."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from storage.base import Buffer, ObjectStat, ObjectWriter
from storage.encryption.sealed import HEADER, SEALED, SEGMENT, TAG, Cipher
from storage.together import Together

_TOGETHER: Final = 16
"""Segments that are handed on at once, at most."""


class SealedWriter:
    """Encrypts on the way to the writer of the medium. Keeps one plain segment in memory, nothing plain elsewhere."""

    __slots__ = ("_cipher", "_header", "_index", "_inner", "_open", "_pending", "_seen", "_size", "key")

    def __init__(self, inner: ObjectWriter, cipher: Cipher, header: bytes) -> None:
        """Write to `inner`, which is taken over."""
        self.key = inner.key
        self._inner = inner
        self._cipher = cipher
        self._header = header
        self._index = 0
        self._pending = bytearray()
        self._seen: tuple[int, bytes] = (-1, b"")
        self._open = True
        self._size: int | None = None
        """Of the plain object, once all of it was handed on."""

    def write(self, data: Buffer) -> None:
        """Append `data`. Raises `StorageUnavailable`; from then on the writer is dead."""
        self._assert_open()
        view = memoryview(data).cast("B")
        # The last segment is marked as such: a full one waits until it is known that more comes.
        if len(self._pending) + len(view) <= SEGMENT:
            self._pending += view
            return
        try:
            self._seal_whole(view)
        except BaseException:
            self._open = False
            raise

    def read_back(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of what was written so far. Raises `StorageUnavailable`."""
        self._assert_open()
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        sealed = self._index * SEGMENT
        parts = []
        while length and offset < sealed:
            index, start = divmod(offset, SEGMENT)
            part = self._segment(index)[start : start + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        if length:
            start = offset - sealed
            parts.append(bytes(memoryview(self._pending)[start : start + length]))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def shares(self) -> bool:
        """Whether the encrypted bytes do."""
        return self._inner.shares

    def enter(self, together: Together) -> None:
        """Encrypt the last segment, and have the medium take it with those of others. Raises `StorageUnavailable`."""
        self._end()
        self._inner.enter(together)

    def commit(self) -> ObjectStat:
        """Make the object durable, then visible. Raises as the contract says."""
        if self._size is None:
            self._end()
        size, self._size = self._size, None
        self._inner.commit()
        assert size is not None
        return ObjectStat(self.key, size)

    def _end(self) -> None:
        """Hand on the last segment."""
        self._assert_open()
        self._open = False
        size = self._index * SEGMENT + len(self._pending)
        head = self._header if not self._index else b""
        out = bytearray(len(head) + len(self._pending) + TAG)
        out[: len(head)] = head
        self._cipher.seal_into(self._index, self._pending, memoryview(out)[len(head) :], last=True)
        self._inner.write(out)
        self._size = size

    def abort(self) -> None:
        """Give up the object. Does nothing after ``commit`` or ``abort``."""
        self._open = False
        self._size = None
        self._pending = bytearray()
        self._inner.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def _assert_open(self) -> None:
        if not self._open:
            self._inner.read_back(0, 0)  # raises why it is dead, if it is
            raise ValueError(f"the writer of {self.key} is closed")

    def _seal_whole(self, view: memoryview) -> None:
        """Encrypt what is pending and `view`, but for the last bytes, which may become the last segment."""
        count = (len(self._pending) + len(view) - 1) // SEGMENT
        at = 0
        while count:
            batch = min(count, _TOGETHER)
            head = self._header if not self._index else b""
            out = bytearray(len(head) + batch * SEALED)
            out[: len(head)] = head
            with memoryview(out) as target:
                for place in range(len(head), len(out), SEALED):
                    source: Buffer
                    if self._pending:
                        at = SEGMENT - len(self._pending)
                        self._pending += view[:at]
                        source, self._pending = self._pending, bytearray()
                    else:
                        source = view[at : at + SEGMENT]
                        at += SEGMENT
                    self._cipher.seal_into(self._index, source, target[place : place + SEALED])
                    self._index += 1
            self._inner.write(out)
            count -= batch
        self._pending += view[at:]

    def _segment(self, index: int) -> bytes:
        """A segment that was handed on, decrypted; the last one looked at is kept, for headers are read in pieces."""
        if self._seen[0] != index:
            data = self._inner.read_back(HEADER + index * SEALED, SEALED)
            self._seen = (index, self._cipher.open(index, data, last=False))
        return self._seen[1]
