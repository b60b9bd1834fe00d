"""ZIP files written as they are read (PS3.18 8.7.3.3, application/zip; APPNOTE 4.4.4 data descriptors, 4.5.3 ZIP64)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Generator, Iterable
from datetime import datetime
from typing import NamedTuple

_EARLIEST = (1980, 1, 1, 0, 0, 0)


class Member(NamedTuple):
    """A file to be put into the ZIP."""

    name: str
    chunks: Iterable[bytes]
    modified: datetime


class _Sink(io.RawIOBase):
    """What `zipfile` writes to: it cannot seek, so sizes follow the data of each member."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._held.append(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._held)
        self._held.clear()
        return taken


def write(members: Iterable[Member]) -> Generator[bytes, None, None]:
    """The ZIP, not compressed: images are compressed already, or the network is not what is slow.

    The central directory comes last and only if all members came whole, so a cut file is not a valid ZIP.
    """
    sink = _Sink()
    file = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)
    for member in members:
        modified = member.modified.timetuple()[:6]
        entry = zipfile.ZipInfo(member.name, max(modified, _EARLIEST))
        with file.open(entry, "w", force_zip64=True) as out:
            for chunk in member.chunks:
                out.write(chunk)
                yield sink.take()
    file.close()
    yield sink.take()
