"""Reads what is at hand of a store, and never waits for a disk or a network: so an event loop may read, too.

Of files, that is what the kernel has in its memory. Opening finds names among those that the kernel knows (openat2(2),
RESOLVE_CACHED), reading finds bytes among its pages (preadv2(2), RWF_NOWAIT). Where the kernel or the file system
cannot say, nothing is at hand.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

LARGEST: Final = 2 << 20
"""Bytes at once: a larger piece takes an event loop longer than to hand it to a thread."""
_OPENAT2: Final = 437
"""The same number on all machines."""
_RESOLVE_CACHED: Final = 0x20
_HERE: Final = -100
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW: Final = ctypes.byref(_How(os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_CACHED))
_SIZE: Final = ctypes.c_size_t(ctypes.sizeof(_How))
_syscall: Final = getattr(ctypes.CDLL(None), "syscall", None)
if _syscall is not None:
    _syscall.restype = ctypes.c_long


class _Room(threading.local):
    """Room to read into, that is used again: to get new pages for each piece takes far longer than to copy it."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(LARGEST))


_room: Final = _Room()


def read_at_hand(path: str, offset: int, length: int) -> bytes | None:
    """Exactly these bytes of a file; None if they are not all at hand, or for any other reason."""
    if length > LARGEST:
        return None
    data = _room.view[:length]
    return bytes(data) if fill_at_hand(path, offset, data) else None


def fill_at_hand(path: str, offset: int, room: memoryview) -> bool:
    """Fill the room with bytes of a file; False if they are not all at hand, or for any other reason."""
    length = len(room)
    if _syscall is None or not _NOWAIT or length > LARGEST:
        return False
    fd: int = _syscall(ctypes.c_long(_OPENAT2), ctypes.c_int(_HERE), os.fsencode(path), _HOW, _SIZE)
    if fd < 0:
        return False
    try:
        return os.preadv(fd, [room], offset, _NOWAIT) == length
    except OSError:
        return False
    finally:
        os.close(fd)


@runtime_checkable
class HasAtHand(Protocol):
    """A store that can say what is at hand."""

    def read_at_hand(self, key: str, offset: int, length: int) -> bytes | None:
        """Exactly these bytes of an object, without waiting; None if they are to be had by ``open_range``."""

    def fill_at_hand(self, key: str, offset: int, room: memoryview) -> bool:
        """The same, read to where they are to be; False if they are to be had by ``open_range``."""


class WouldWait(Exception):
    """What was asked for is not at hand: to be asked for in a thread, in the ordinary way."""


class AtHand:
    """What of a store is at hand."""

    def __init__(self, store: object) -> None:
        # Not by `isinstance`, which takes longer than to read a small frame.
        self._read: Callable[[str, int, int], bytes | None] | None = getattr(store, "read_at_hand", None)
        self._fill: Callable[[str, int, memoryview], bool] | None = getattr(store, "fill_at_hand", None)

    def open_range(self, key: str, offset: int, length: int) -> Held:
        """As that of the store. Raises `WouldWait`, and nothing else."""
        data = self._read(key, offset, length) if self._read is not None else None
        if data is None:
            raise WouldWait
        return Held(data)

    def fill(self, key: str, offset: int, room: memoryview) -> None:
        """Read as many bytes as there is room. Raises `WouldWait`, and nothing else."""
        if self._fill is None or not self._fill(key, offset, room):
            raise WouldWait


class Held:
    """A range that has been read; an ``ObjectReader`` of it."""

    def __init__(self, data: bytes) -> None:
        self.size = self.object_size = len(data)
        self._data = data
        self._at = 0

    def read(self, length: int = -1, /) -> bytes:
        """Up to `length` bytes, all that is left if negative."""
        start = self._at
        self._at = len(self._data) if length < 0 else min(start + length, len(self._data))
        return self._data[start : self._at]

    def __iter__(self) -> Iterator[bytes]:
        yield self.read()

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
