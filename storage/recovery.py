"""Brings back from the receive journal what a power cut took; see `storage.journal`.

==============================  ================================  ========================================
the file                        its key has a row, or may have    it has none: nobody was told "stored"
                                had one that is lost
==============================  ================================  ========================================
is whole                        nothing to do                     nothing to do
is missing                      written                           stays away: it was deleted
has other bytes, or some        written                           written: `archive.adopt` takes whole files
==============================  ================================  ========================================
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from config.logs import fields
from storage.files import FILE_MODE, pread_all, temporary_name, write_all
from storage.flushing import flush_file_system
from storage.segments import Found, left_behind

log = logging.getLogger(__name__)

_TOGETHER: Final = 500


def recover(root: str, known: Callable[[Sequence[str]], Collection[str]]) -> int:
    """Write files anew that segments of dead processes hold.

    `known` tells which of these keys have a row, or may have lost it. Gives how many. Raises `OSError`, and what
    `known` raises; then the segments are kept.
    """
    count = 0
    with left_behind(root) as files:
        for start in range(0, len(files), _TOGETHER):
            some = {found.path.partition(".")[0]: found for found in files[start : start + _TOGETHER]}
            rows = known(list(some))
            count += sum(_brought_back(Path(root), found, wanted=key in rows) for key, found in some.items())
        if files:
            # Those that are whole may be so in memory only, and what is written here is, too.
            flush_file_system(root)
            log.warning("a process left a receive journal", extra=fields(objects=len(files), written_anew=count))
    return count


def _brought_back(root: Path, found: Found, *, wanted: bool) -> bool:
    path = root / found.path
    is_whole = _is_whole(path, found.data)
    if is_whole or (is_whole is None and not (wanted and _is_gone(path))):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name(path.name)
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
    try:
        write_all(fd, [found.data])
    finally:
        os.close(fd)
    temporary.rename(path)
    return True


def _is_whole(path: Path, data: memoryview) -> bool | None:
    """Whether the file has these bytes on the medium; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Not what the kernel may have kept in memory of a page that it could not write.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return pread_all(fd, 0, len(data) + 1) == data
    finally:
        os.close(fd)


def _is_gone(path: Path) -> bool:
    """Whether there is no other form of the object either: it may have been encrypted, which deletes the plain one."""
    key = path.name.partition(".")[0]
    return not (path.parent.is_dir() and any(each.name.partition(".")[0] == key for each in path.parent.iterdir()))
