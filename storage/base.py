"""The contract of an object store.

A store maps opaque keys to immutable bytes. It knows nothing of DICOM.

Rules that every backend keeps (``tests/contracts/object_store.py`` runs them on each):

- A key is written once. Nothing is ever overwritten.
- An object is visible to readers only after :meth:`ObjectWriter.commit` returned; then it is durable: it
  survives the loss of the process and of power.
- An aborted, failed or forgotten write leaves nothing that a reader can see. What it may leave on the medium
  (a temporary file, a multipart upload) is removed by ``delete`` of the same key.
- ``delete`` of a key that does not exist succeeds.
- Two unfinished writes of one key: a backend may refuse the second at ``create``. At most one is ever committed.
- A key that is the path of other keys (``a`` beside ``a/b``) may be refused (`ObjectExists`); use keys of one depth.
- A closed reader or writer, and a negative offset or length, raise `ValueError`: a defect of the caller.
- Readers get exactly the bytes that were written; a backend that can detect a difference raises
  :class:`~storage.errors.IntegrityError`.
- All methods may be called from many threads at once. A writer or reader belongs to one thread at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from storage.errors import InvalidKey
from storage.together import Together

KEY_PATTERN = re.compile(r"[a-z0-9]{1,64}(?:/[a-z0-9]{1,64}){0,7}")
CHUNK_SIZE = 1 << 20

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store knows about one object: its key and its size in bytes."""

    key: str
    size: int


class ObjectWriter(Protocol):
    """An object being written. Use as a context manager: leaving without ``commit`` aborts.

    After `StorageUnavailable` the writer is dead: every further use but ``abort`` raises the same again.
    """

    key: str

    def write(self, data: Buffer) -> None:
        """Append `data`. The buffer may be reused by the caller as soon as this returns.

        Raises `StorageUnavailable`.
        """

    def read_back(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of what was written so far; shorter only at the end.

        Raises `StorageUnavailable`.
        """

    @property
    def shares(self) -> bool:
        """Whether it is best committed with others, by one thread (`storage.together`): as things stand, it would not
        wait for the medium by itself."""

    def enter(self, together: Together) -> None:
        """Note what the commit, which is to follow, can share with those of others. Nothing more may be written.

        Raises `StorageUnavailable`.
        """

    def commit(self) -> ObjectStat:
        """Make the object durable, then visible. After it raised, the object counts as not stored.

        Raises `ObjectExists`, `IntegrityError`, `StorageUnavailable`. After the last, a server may still finish
        what it has received: ``delete`` the key before forgetting it.
        """

    def abort(self) -> None:
        """Give up the object. Safe to call at any time, also twice and after ``commit`` (then a no-op)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class ObjectReader(Protocol):
    """An object, or a range of one, being read. Iterate over its chunks, or `read` it; close it when done."""

    size: int
    """Bytes that this reader yields in all."""
    object_size: int
    """Bytes of the whole object."""

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative; ``b""`` only at the end (or for a `length` of 0).

        Raises `StorageUnavailable` if the bytes stop coming, `IntegrityError` if they are found to be wrong.
        """

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class Ranges(Protocol):
    """What can be read from anywhere: all of a store that the parts of an object need."""

    def open_range(self, key: str, offset: int, length: int) -> ObjectReader:
        """Read `length` bytes from `offset`; fewer if the object ends before.

        Raises `RangeNotSatisfiable` if `offset` is at or past the end; `ObjectNotFound`; `StorageUnavailable`.
        """


@runtime_checkable
class ObjectStore(Ranges, Protocol):
    """A store of immutable objects under opaque keys; see the module for the rules."""

    name: str
    """Backend name as in the settings: ``filesystem``, ``s3``, ``memory``."""

    def create(self, key: str, *, indexed: bool = False) -> ObjectWriter:
        """Start to write the object `key`. `indexed`: it is to have a row, by which `recover` will know it.

        Raises `InvalidKey`; `ObjectExists` (here or at ``commit``); `StorageUnavailable`.
        """

    def open(self, key: str) -> ObjectReader:
        """Read the whole object. Raises `InvalidKey`, as all methods do; `ObjectNotFound`; `StorageUnavailable`."""

    def stat(self, key: str) -> ObjectStat:
        """Size of the object.

        Raises `ObjectNotFound`; `StorageUnavailable`; `IntegrityError` if what is there cannot be a whole object.
        """

    def delete(self, key: str) -> None:
        """Remove the object and anything an unfinished write of it left; no error if there is none.

        Durable when it returns. A write of the key that is under way elsewhere may fail, or may still be committed
        afterwards: stop it first. Raises `StorageUnavailable`.
        """

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that start with `prefix`, in no order. For repair and hand-over only, never on a hot path.

        `prefix` is any text, not a key; what no key starts with gives nothing. Raises `StorageUnavailable` while
        iterating.
        """

    def local_path(self, key: str) -> Path | None:
        """The file that holds exactly the object's bytes (for ``sendfile``); None where there is no file or object."""

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Before the store is used: bring back what a crash took of objects that were committed; give how many.

        `known` tells which of some keys have a row, or may have lost it. Raises `StorageUnavailable`, and what `known`
        raises.
        """

    def check(self) -> None:
        """Prove that the store can be written and read now. Raises `StorageUnavailable` with the reason."""

    def close(self) -> None:
        """Release connections. The store must not be used afterwards."""


def validate_key(key: str) -> str:
    """Return `key` if it is of the allowed form: 1-8 parts of 1-64 ``[a-z0-9]`` joined by ``/``.

    No dots, no upper case, no leading slash: a key can never leave the store's root or collide on a
    case-insensitive file system. Raises `InvalidKey`.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise InvalidKey(f"not a valid object key: {key[:80]!r}")
    return key
