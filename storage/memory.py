"""Objects in the memory of this process, for tests and demonstrations. Same rules, but nothing survives the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.base import CHUNK_SIZE, Buffer, ObjectStat, validate_key
from storage.errors import ObjectExists, ObjectNotFound, RangeNotSatisfiable
from storage.together import Together


class MemoryWriter:
    """An object that is entered in the store when committed."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self.key = key
        self._store = store
        self._data = bytearray()
        self._open = True

    def write(self, data: Buffer) -> None:
        """Append `data`."""
        self._assert_open()
        self._data += memoryview(data).cast("B")

    def read_back(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of what was written so far."""
        self._assert_open()
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        return bytes(memoryview(self._data)[offset : offset + length])

    @property
    def shares(self) -> bool:
        """It waits for nothing."""
        return True

    def enter(self, together: Together) -> None:
        """There is nothing to share."""

    def commit(self) -> ObjectStat:
        """Enter the object. Raises `ObjectExists`."""
        self._assert_open()
        self._open = False
        return self._store._publish(self.key, bytes(self._data))

    def abort(self) -> None:
        """Forget the object. Does nothing after ``commit`` or ``abort``."""
        self._open = False
        self._data = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def _assert_open(self) -> None:
        if not self._open:
            raise ValueError(f"the writer of {self.key} is closed")


class MemoryReader:
    """A range of an object. It keeps the bytes, also if the object is deleted meanwhile."""

    def __init__(self, data: memoryview, object_size: int | None = None) -> None:
        self.size = len(data)
        self.object_size = self.size if object_size is None else object_size
        self._data: memoryview | None = data

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative."""
        if self._data is None:
            raise ValueError("the reader is closed")
        wanted = len(self._data) if length < 0 else length
        data, self._data = bytes(self._data[:wanted]), self._data[wanted:]
        return data

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_SIZE):
            yield chunk

    def close(self) -> None:
        """Let go of the bytes. May be called twice."""
        self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class MemoryStore:
    """A store in the memory of this process."""

    name = "memory"

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def sibling(self, suffix: str) -> MemoryStore:
        """A store of other objects; see `storage.filesystem.FilesystemStore.sibling`."""
        del suffix
        return MemoryStore()

    def create(self, key: str, *, indexed: bool = False) -> MemoryWriter:  # noqa: ARG002  part of the contract
        """Start to write `key`. Raises `InvalidKey`."""
        return MemoryWriter(self, validate_key(key))

    def open(self, key: str) -> MemoryReader:
        """Read the whole object. Raises `InvalidKey`, `ObjectNotFound`."""
        return MemoryReader(memoryview(self._get(key)))

    def open_range(self, key: str, offset: int, length: int) -> MemoryReader:
        """Read a range. Raises `InvalidKey`, `RangeNotSatisfiable`, `ObjectNotFound`."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        data = self._get(key)
        if offset >= len(data):
            raise RangeNotSatisfiable(f"{key} has {len(data)} bytes, none from {offset}")
        return MemoryReader(memoryview(data)[offset : offset + length], len(data))

    def stat(self, key: str) -> ObjectStat:
        """Size of the object. Raises `InvalidKey`, `ObjectNotFound`."""
        return ObjectStat(key, len(self._get(key)))

    def delete(self, key: str) -> None:
        """Remove the object, if there is one. Raises `InvalidKey`."""
        with self._lock:
            self._objects.pop(validate_key(key), None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix` at the moment of the call."""
        with self._lock:
            keys = [key for key in self._objects if key.startswith(prefix)]
        return iter(keys)

    def local_path(self, key: str) -> Path | None:
        """None: there are no files. Raises `InvalidKey`."""
        validate_key(key)
        return None

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:  # noqa: ARG002  part of the contract
        """Nothing outlives the process."""
        return 0

    def check(self) -> None:
        """Memory is always there."""

    def close(self) -> None:
        """Nothing to release."""

    def _get(self, key: str) -> bytes:
        data = self._objects.get(validate_key(key))
        if data is None:
            raise ObjectNotFound(f"no object {key}")
        return data

    def _publish(self, key: str, data: bytes) -> ObjectStat:
        with self._lock:
            if key in self._objects:
                raise ObjectExists(f"{key} exists")
            self._objects[key] = data
        return ObjectStat(key, len(data))
