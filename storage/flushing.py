"""Flushes of folders and file systems, which Python has no calls for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_libc: Final = ctypes.CDLL(None, use_errno=True)


def flush_file_system(folder: str) -> None:
    """Return when all that was written to the folder's file system is on the medium (``syncfs``). Raises `OSError`."""
    fd = os.open(folder, _FOLDER)
    try:
        if _libc.syncfs(fd):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)


def flush_folder(folder: str | Path) -> None:
    """Return when the names in it are on the medium. Raises `OSError`."""
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
