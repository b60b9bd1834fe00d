"""Several processes for one service: one thread of Python code at a time is not all of a machine.

The master takes the ports, forks the processes and does nothing else: it has no threads and no database. The processes
accept from the same sockets, so no connection that waits is lost with a process. A process that ends by itself is
started again; its own connections are lost as with a network, and what it had reserved in the index is settled by the
others. When the master dies, in whatever way, so do the processes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from config.logs import fields
from config.processes import die_with

log = logging.getLogger(__name__)

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
SETTLED: Final = 60.0
"""Seconds that a process has to live for its end to be an accident, not a service that cannot start."""
LONGEST_PAUSE: Final = 30.0
"""Seconds at most before a process that keeps ending is started again."""


class Front(Protocol):
    """What the processes of a service share."""

    number: int
    """Which of the processes this one is."""

    def leave(self, number: int) -> None:
        """Process `number` has ended."""

    def close(self) -> None:
        """Stop listening, as far as this process is concerned."""


AnyFront = TypeVar("AnyFront", bound=Front)


class Workers(Generic[AnyFront]):
    """The processes of a service. `run` returns the exit code when all have ended."""

    def __init__(self, of: str, front: AnyFront, count: int, serve: Callable[[AnyFront], int]) -> None:
        """`of` names the service in the log; `serve` serves in a process until SIGTERM, and gives the exit code."""
        self._of = of
        self._front = front
        self._count = count
        self._serve = serve
        self._running: dict[int, int] = {}
        """Number of the process by process id."""
        self._begun: dict[int, float] = {}
        self._ends: dict[int, int] = dict.fromkeys(range(count), 0)
        """How often each has ended too soon, one time after the other."""
        self._due: dict[int, float] = {}
        """When to start again which."""
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Start them all, keep them running, and end them when asked to by SIGTERM or SIGINT."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.freeze()  # what is shared stays shared: a collection would write into its pages
        for number in range(self._count):
            self._start(number)
        while self._running or (self._due and not self._stopping):
            pause = max(min(self._due.values(), default=time.monotonic() + 3600) - time.monotonic(), 0)
            told = signal.sigtimedwait(_SIGNALS, pause)
            if told is not None and told.si_signo != signal.SIGCHLD:
                self._stop()
            self._bury()
            for number in [each for each, when in self._due.items() if when <= time.monotonic()]:
                del self._due[number]
                self._start(number)
        return self._code

    def _start(self, number: int) -> None:
        if self._stopping:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        master = os.getpid()
        process = os.fork()
        if process == 0:
            os._exit(self._live(number, master))
        self._running[process] = number
        self._begun[number] = time.monotonic()

    def _live(self, number: int, master: int) -> int:
        """In the new process: serve to the end."""
        try:
            die_with(master, signal.SIGKILL)
            self._front.number = number
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return self._serve(self._front)
        except BaseException:
            log.exception("a process of the service failed", extra=fields(service=self._of))
            return 1
        finally:
            logging.shutdown()
            sys.stderr.flush()

    def _stop(self) -> None:
        self._stopping = True
        self._front.close()
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def _bury(self) -> None:
        """Take note of the processes that have ended."""
        while self._running:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            number = self._running.pop(process)
            self._front.leave(number)
            self._ended(number, os.waitstatus_to_exitcode(status))

    def _ended(self, number: int, code: int) -> None:
        if self._stopping:
            self._code = self._code or max(code, 0)
            return
        lived = time.monotonic() - self._begun[number]
        if lived >= SETTLED:
            self._ends[number] = 0
        elif code in (1, 2) and not self._ends[number]:
            # It says itself that it cannot start: so will the others.
            self._code = code
            self._stop()
            return
        pause = min(0.5 * 2 ** self._ends[number], LONGEST_PAUSE)
        self._ends[number] += 1
        self._due[number] = time.monotonic() + pause
        log.error(
            "a process of the service ended by itself and is started again",
            extra=fields(service=self._of, process=number, exit_code=code, seconds=round(lived, 1), pause=pause),
        )
