"""What the allocator of glibc does with memory that pieces of answers were read into.

By itself glibc gives such memory back to the system as soon as a piece was sent, and every page of the next piece is
made anew, filled with zeros, by the kernel: with several large answers at once, a third of their time in the system.
"""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Both of ``malloc.h``; see mallopt(3)."""
_KEPT: Final = 32 << 20
"""Bytes that are free at the end of an arena before it is made smaller. glibc itself goes up to 64 MiB."""
_APART: Final = 16 << 20
"""Bytes from which on a block is mapped alone, and given back with its end. glibc itself goes up to 32 MiB."""


def keep_pages() -> None:
    """Have the pages of a piece used again for the next. Does nothing where the C library has other ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _APART)
