"""What a process says to the kernel about its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final[Any] = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send `by` to this process when the thread that forked it dies, even by SIGKILL (prctl(2)).

    Made before a fork is what this needs: it is safe in the child of a process with several threads.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(by))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
