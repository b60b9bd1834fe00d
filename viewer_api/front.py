"""What the processes of one web service share: the socket that it listens on, counts, and where numbers are kept."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from config.board import Board, Cells
from config.settings import Settings
from config.sockets import bind
from viewer_api.sign_in.throttle import Table

LEAST_CONNECTIONS: Final = 4
"""To the index, of each process and role."""
LEAST_THREADS: Final = 8
_KINDS: Final = ("counter", "histogram", "gauge_mostrecent", "gauge_sum")
"""Of files in which prometheus_client keeps the numbers of a process."""
_ROOM: Final = 1 << 20
"""Bytes of each: twice of what all routes take."""


class Revision:
    """Counted up by whichever process changes what others remember of the database."""

    def __init__(self, processes: int = 1, number: int = 0) -> None:
        self._cells = Cells(processes)
        self._number = number
        self._lock = threading.Lock()

    def of(self, number: int) -> Revision:
        """The same, as process `number` counts: each writes a number of its own, so that no change is lost."""
        mine = Revision.__new__(Revision)
        mine._cells, mine._number, mine._lock = self._cells, number, threading.Lock()
        return mine

    def now(self) -> int:
        """Never the same again once something has changed."""
        return sum(self._cells.all)

    def changed(self) -> None:
        """Have all processes look anew."""
        with self._lock:
            self._cells[self._number] += 1


def _folder(processes: int) -> str:
    """A folder with files for numbers, which lie on the disk: else a process would die of a disk that is full."""
    folder = tempfile.mkdtemp(prefix="pacs-web-")
    try:
        for number in range(processes):
            for kind in _KINDS:
                with Path(folder, f"{kind}_{number}.db").open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, _ROOM)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


@dataclass
class Front:
    """One process's look at it. The socket is bound; all listen when the last of them can."""

    processes: int
    listener: socket.socket | None
    """None where there is one process, which takes the port itself."""
    folder: str
    """Where each process keeps the numbers of ``/metrics``; empty where there is one process."""
    board: Board
    """Connections of each process."""
    identifiers: Cells
    """The process id of each that has been ready."""
    starts: Cells
    """How often each was."""
    listening: Cells
    """Those who wait for changes, of each process."""
    sign_ins: Revision
    links: Revision
    failures: Table
    """Of sign-ins, by address."""
    questions: Table
    """Of the public, by address."""
    number: int = 0

    @classmethod
    def alone(cls) -> Self:
        """For a service of one process."""
        return cls._of(1, None, "")

    @classmethod
    def open(cls, settings: Settings, processes: int) -> Self:
        """Take the port, and room for numbers. Raises `OSError` when either cannot be had."""
        listener = bind(settings.web.host, settings.web.port)
        try:
            return cls._of(processes, listener, _folder(processes))
        except BaseException:
            listener.close()
            raise

    @classmethod
    def _of(cls, processes: int, listener: socket.socket | None, folder: str) -> Self:
        return cls(
            processes,
            listener,
            folder,
            board=Board(processes),
            identifiers=Cells(processes),
            starts=Cells(processes),
            listening=Cells(processes),
            sign_ins=Revision(processes),
            links=Revision(processes),
            failures=Table(shared=processes > 1),
            questions=Table(shared=processes > 1),
        )

    @property
    def first(self) -> bool:
        """Whether this process does what is done once beside answering."""
        return self.number == 0

    @property
    def complete(self) -> bool:
        """Whether each process has been ready once: then the service listens, whichever of them is started again."""
        return all(self.starts.all)

    def share(self, settings: Settings) -> Settings:
        """A process's part of what the settings allow to all of them together."""
        threads, connections = settings.web.threads, settings.database.pool_size
        web = {"threads": min(threads, max(LEAST_THREADS, -(-threads // self.processes)))}
        database = {"pool_size": min(connections, max(LEAST_CONNECTIONS, -(-connections // self.processes)))}
        return settings.model_copy(
            update={
                "web": settings.web.model_copy(update=web),
                "database": settings.database.model_copy(update=database),
            }
        )

    def leave(self, number: int) -> None:
        """Process `number` has ended: it serves nobody, and nobody waits in it."""
        self.board.leave(number)
        self.listening[number] = 0
        self.identifiers[number] = 0

    def close(self) -> None:
        """Stop listening, as far as this process is concerned."""
        if self.listener is not None:
            self.listener.close()

    def clear(self) -> None:
        """At the end of all processes: delete what they kept."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
