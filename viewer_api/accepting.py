"""Takes connections from a socket that other processes listen on as well, about as many as each of them.

The kernel wakes all of them for a connection, and whoever is quickest would take those that come together: of four
connections of a viewer all four, while another process has nothing to do. So a process that serves more than another
waits a moment, in which that other takes it. If that one is busier than it looks, the first takes it all the same.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from config.logs import fields
from viewer_api.front import Front

log = logging.getLogger(__name__)

POLITENESS: Final = 0.005
"""Seconds that a process with more connections than another leaves a new one to that."""
_OUT_OF_FILES: Final = 0.1
"""Seconds to wait after a connection could not be taken."""


class Connections(set[Any]):
    """Those that a server has open; tells when there are more or fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: Callable[[], None] = lambda: None

    def add(self, connection: Any) -> None:
        super().add(connection)
        self.changed()

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        self.changed()

    def remove(self, connection: Any) -> None:
        super().remove(connection)
        self.changed()


class Acceptor:
    """Accepts in the running event loop from `start` until `close`; an `asyncio.Server` as far as uvicorn needs one."""

    def __init__(
        self,
        front: Front,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        """`connections` are those that `protocol` opens."""
        assert front.listener is not None
        self._front = front
        self._listener = front.listener
        self._connections = connections
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, backlog: int) -> None:
        """Listen. Raises `OSError`."""
        self._listener.listen(backlog)
        self._listener.setblocking(False)
        self._connections.changed = self._tell
        self._tell()
        self._loop.add_reader(self._listener.fileno(), self._called)

    def close(self) -> None:
        """Take no more; those that wait are for other processes."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())
            self._front.board.leave(self._front.number)
            for task in self._opening:
                task.cancel()

    async def wait_closed(self) -> None:
        """Nothing more comes."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _called(self) -> None:
        if self._front.board.is_busiest(self._front.number):
            self._rest(POLITENESS, take=True)
        else:
            self._take()

    def _rest(self, seconds: float, *, take: bool) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(seconds, self._go_on, take)

    def _go_on(self, take: bool) -> None:
        if self._closed:
            return
        self._loop.add_reader(self._listener.fileno(), self._called)
        if take:
            self._take()

    def _take(self) -> None:
        """Take one; where more wait, the loop calls again."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of file descriptors: the service must go on listening, and not be asked again at once.
            log.error("a connection could not be accepted", extra=fields(error=str(error)))
            self._rest(_OUT_OF_FILES, take=False)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        self._tell()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._tell()

    def _tell(self) -> None:
        """Those count, too, that were taken and are not open yet: their TLS is being agreed upon."""
        if not self._closed:
            self._front.board.tell(self._front.number, len(self._connections) + len(self._opening))

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls)
        except (OSError, asyncio.CancelledError):  # as of who speaks no TLS, or goes before it is agreed upon
            connection.close()
