"""Reads a medium as pydicom does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.fileset import FileSet


@contextmanager
def file_set(directory: Path) -> Iterator[FileSet]:
    """The file-set of a DICOMDIR. pydicom leaves its folder for changes to the garbage collector, which complains."""
    found = FileSet(directory)
    try:
        yield found
    finally:
        found._stage["t"].cleanup()
