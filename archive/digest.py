"""SHA-256 of an object on its way in: of a large one beside the thread that receives it, while a processor is free.

Hashing takes as long as receiving and writing together. The thread that hashes works on copies, so that the receive
buffer can be filled anew meanwhile: to copy takes a twentieth of the time.
"""

from __future__ import annotations

import hashlib
import os
import threading
from queue import SimpleQueue
from typing import Any, Final

from storage.base import Buffer

BESIDE_FROM: Final = 4 << 20
"""Bytes of an object that are hashed as they come; what follows is worth a thread."""
THREAD: Final = "object digest"
"""Name of a thread that hashes."""
_PIECE: Final = 512 * 1024
"""Bytes of a buffer. A thread has two: one is hashed, the other filled."""

_places: Final = threading.BoundedSemaphore(len(os.sched_getaffinity(0)) // 2)
"""For threads that hash. Where none is free, the processors have enough to do."""


class Digest:
    """The digest of bytes that come piece by piece. Used by one thread at a time; `value` or `close` must end it."""

    __slots__ = ("_beside", "_hash", "_left")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._left = BESIDE_FROM
        self._beside: _Beside | None = None

    def update(self, data: Buffer) -> None:
        """Append bytes. They may change as soon as this returns."""
        if self._beside is not None:
            self._beside.update(data)
            return
        self._hash.update(data)
        self._left -= len(data)
        if self._left < 0:
            self._beside = _Beside.begin(self._hash)
            # Where there is no place now, one may be free when as much again has come.
            self._left = BESIDE_FROM

    def value(self) -> bytes:
        """The digest of all that came."""
        self.close()
        return self._hash.digest()

    def close(self) -> None:
        """Wait for what is being hashed."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.close()


class _Beside:
    """A thread that hashes copies of what it is given. It has a place until `close`."""

    def __init__(self, sha256: Any) -> None:
        self._hash = sha256
        self._given: SimpleQueue[memoryview | None] = SimpleQueue()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(2):
            self._free.put(memoryview(bytearray(_PIECE)))
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)

    @classmethod
    def begin(cls, sha256: Any) -> _Beside | None:
        """None if there is no place, or no thread to be had."""
        if not _places.acquire(blocking=False):
            return None
        try:
            beside = cls(sha256)
            beside._thread.start()
        except BaseException as error:
            _places.release()
            if isinstance(error, RuntimeError | MemoryError):
                return None
            raise
        return beside

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        for offset in range(0, len(view), _PIECE):
            piece = view[offset : offset + _PIECE]
            copy = self._free.get()
            copy[: len(piece)] = piece
            self._given.put(copy[: len(piece)])

    def close(self) -> None:
        self._given.put(None)
        self._thread.join()
        _places.release()

    def _run(self) -> None:
        while (piece := self._given.get()) is not None:
            self._hash.update(piece)
            self._free.put(memoryview(piece.obj))
