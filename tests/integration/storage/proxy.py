"""A TCP proxy on loopback that does to real bytes what bad networks do: cut, stall or damage them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal

Direction = Literal["up", "down"]
# Given the direction, how many bytes went that way in this connection before, and the bytes: what to pass on. None: cut.
Tamper = Callable[[Direction, int, bytes], bytes | None]


def cut(direction: Direction, after: int) -> Tamper:
    """End the connection when `after` bytes went in `direction`."""
    return lambda way, seen, data: None if way == direction and seen + len(data) > after else data


def flip(direction: Direction, position: int) -> Tamper:
    """Change one bit of the byte at `position` of `direction` in every connection."""

    def tamper(way: Direction, seen: int, data: bytes) -> bytes:
        if way != direction or not seen <= position < seen + len(data):
            return data
        damaged = bytearray(data)
        damaged[position - seen] ^= 1
        return bytes(damaged)

    return tamper


class Proxy:
    """Passes connections on to `upstream`, through `tamper` while it is set."""

    def __init__(self, upstream: str) -> None:
        host, port = upstream.rsplit(":", 1)
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self.tamper: Tamper | None = None
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def stall(self, direction: Direction, after: int) -> None:
        """Pass nothing on in `direction` after so many bytes, and keep the connection open."""

        def tamper(way: Direction, seen: int, data: bytes) -> bytes | None:
            if way == direction and seen + len(data) > after:
                self._closed.wait()
                return None
            return data

        self.tamper = tamper

    def slow(self, direction: Direction, seconds: float) -> None:
        """Let every piece of at most 64 KiB in `direction` take so long, as on a thin line."""

        def tamper(way: Direction, seen: int, data: bytes) -> bytes:
            if way == direction:
                self._closed.wait(seconds)
            return data

        self.tamper = tamper

    def close(self) -> None:
        """End all connections and threads."""
        self._closed.set()
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *self._sockets]:
            sock.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                client.shutdown(socket.SHUT_RDWR)
                continue
            self._sockets.append(server)
            self._spawn(self._pass_on, client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        down = threading.Thread(target=self._pump, args=("down", server, client), daemon=True)
        down.start()
        self._pump("up", client, server)
        down.join()
        # Closed with bytes unread, the peer gets a reset: it must not wait until it has sent all.
        client.close()
        server.close()

    def _pump(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        seen = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                passed = self.tamper(direction, seen, data) if self.tamper else data
                if passed is None:
                    break
                target.sendall(passed)
                seen += len(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy to `upstream` for the length of a test."""
    running = Proxy(upstream)
    try:
        yield running
    finally:
        running.close()
