"""An MP4 file while it is written, and afterwards with the index of its frames in front (ISO/IEC 14496-12 4.2, 8.7.5).

A writer learns the index last and puts it last; players want it first, to play while they load. It is small, so
it is kept apart, and no byte of the rest is moved.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from archive.private_file import PrivateFile

_CHUNK: Final = 1 << 20
_IN_MEMORY: Final = 4 << 20
_HEAD: Final = 4096
"""Bytes at the start that may be written again: there is the length of all frames, which is known last."""
_CONTAINERS: Final = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl"))
_OFFSETS: Final = {b"stco": "I", b"co64": "Q"}


class MP4File:
    """Write it like a file, then `finish` it and `read` any part of it."""

    def __init__(self, folder: Path) -> None:
        """Use temporary files in `folder` if it becomes large."""
        self._head = bytearray()
        self._rest = PrivateFile(_IN_MEMORY, folder)
        self._at = self._end = 0
        self._index = b""
        self._first = 0
        """Where the index goes: behind the box that says what kind of file it is."""
        self.size = 0
        """When it is finished."""

    def write(self, data: bytes) -> int:
        """At the position: at the end, or in the first bytes again."""
        split = max(0, min(len(data), _HEAD - self._at))
        self._head[self._at : self._at + split] = data[:split]
        if len(data) > split:
            if self._at + split != self._end and self._at + split != max(self._end, _HEAD):
                raise OSError("only the start of the file can be written again")
            self._rest.write(data[split:])
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position at which `write` goes on."""
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence] + offset
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def finish(self) -> None:
        """Put the index in front. Raises `ValueError` for what is no MP4 file as our writer makes it."""
        boxes = list(self._boxes())
        if not boxes or boxes[0].kind != b"ftyp" or boxes[-1].kind != b"moov":
            raise ValueError("the index is not at the end of the file")
        self._first, self._end = boxes[0].end, boxes[-1].start
        self._index = _moved(self._written(boxes[-1].start, boxes[-1].end), boxes[-1].end - boxes[-1].start)
        self.size = self._end + len(self._index)

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """A part of the finished file, in chunks."""
        end = min(offset + length, self.size)
        while offset < end:
            if offset < self._first:
                chunk = self._written(offset, min(end, self._first))
            elif offset < self._first + len(self._index):
                chunk = self._index[offset - self._first : end - self._first]
            else:
                shift = len(self._index)
                chunk = self._written(offset - shift, min(end, offset + _CHUNK) - shift)
            yield chunk
            offset += len(chunk)

    def close(self) -> None:
        """Forget the bytes."""
        self._rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _written(self, start: int, end: int) -> bytes:
        """Bytes as they were written."""
        data = bytes(self._head[start : min(end, _HEAD)])
        if end > _HEAD:
            self._rest.seek(max(start, _HEAD) - _HEAD)
            data += self._rest.read(end - max(start, _HEAD))
        return data

    def _boxes(self) -> Iterator[_Box]:
        at = 0
        while at < self._end:
            box = _box(self._written(at, min(self._end, at + 16)), at)
            yield box
            at = box.end


class _Box(NamedTuple):
    kind: bytes
    start: int
    content: int
    end: int


def _box(header: bytes, at: int) -> _Box:
    if len(header) < 8:
        raise ValueError("a box is cut off")
    size, kind = struct.unpack_from(">I4s", header)
    content = at + 8
    if size == 1 and len(header) >= 16:
        size, content = struct.unpack_from(">Q", header, 8)[0], at + 16
    if size < content - at:
        raise ValueError("a box is shorter than its header")
    return _Box(kind, at, content, at + size)


def _moved(index: bytes, distance: int) -> bytes:
    """The index of frames that lie so many bytes farther back."""
    made = bytearray(index)
    _move(made, 0, len(made), distance)
    return bytes(made)


def _move(index: bytearray, at: int, end: int, distance: int) -> None:
    while at < end:
        box = _box(bytes(index[at : at + 16]), at)
        if box.kind in _CONTAINERS:
            _move(index, box.content, box.end, distance)
        elif box.kind in _OFFSETS:
            (count,) = struct.unpack_from(">I", index, box.content + 4)
            form = f">{count}{_OFFSETS[box.kind]}"
            offsets = struct.unpack_from(form, index, box.content + 8)
            struct.pack_into(form, index, box.content + 8, *(each + distance for each in offsets))
        at = box.end
