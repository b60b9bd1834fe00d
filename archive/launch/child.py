"""A service as a child process: started so that it cannot outlive the launcher, its log kept, its end noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from archive.launch.logfile import RotatingFile
from archive.launch.messages import say
from config.processes import die_with

_LOUD = frozenset({"WARNING", "ERROR", "CRITICAL"})
_PLAIN = frozenset({"time", "level", "logger", "message", "correlation", "exception"})
_TAIL_LINES = 15


class Child:
    """``python -m module`` with its output in ``logs/module.log``; warnings and errors also go to the terminal.

    `ended` is called once, from another thread, when the process is gone.
    """

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        logs: Path,
        ended: Callable[[Child], None],
        keep_open: Sequence[int] = (),
    ) -> None:
        self.module = module
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log = RotatingFile(logs / f"{module}.log")
        self._ended = ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C at the terminal reaches the launcher only, which stops the services in order.
            start_new_session=True,
            pass_fds=keep_open,
            # Safe in a process of one thread, which is why `follow` is apart. The kernel watches that very thread.
            preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {module}", daemon=True)

    def follow(self) -> None:
        """Keep its log and notice its end. Call it when all children are started."""
        self._reader.start()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def pid(self) -> int:
        return self._process.pid

    def last_lines(self) -> str:
        """The end of its log; all of it, if the process is gone."""
        if not self.is_running and self._reader.is_alive():
            self._reader.join(timeout=5)
        return "\n".join(list(self._tail))

    def terminate(self) -> None:
        """Ask it to finish what it does and stop."""
        self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if self._reader.is_alive():
            self._reader.join(timeout=5)
        return True

    def kill(self) -> None:
        self._process.kill()

    def _read(self) -> None:
        stream: IO[bytes] | None = self._process.stdout
        assert stream is not None
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                self._tail.append(line)
                self._log.write(line + "\n")
                if loud := for_terminal(line):
                    say(f"[{self.module}] {loud}")
        self._process.wait()
        self._log.close()
        self._ended(self)


def for_terminal(line: str) -> str:
    """A warning or an error as a person reads it; empty for all other lines of a log."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or entry.get("level") not in _LOUD:
        return ""
    facts = " ".join(f"{name}={value}" for name, value in entry.items() if name not in _PLAIN)
    return f"{str(entry.get('time'))[11:19]} {entry['level']} {entry.get('message')} {facts}".rstrip()
