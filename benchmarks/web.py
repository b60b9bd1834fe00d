"""HTTP that costs the client little: one request on a connection, pieces read into a buffer that is used again."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Final

_ROOM: Final = 1 << 20
_PATIENCE: Final = 600.0


@dataclass(frozen=True)
class Received:
    """What came: seconds from the request to the first byte of the body and to the last, and bytes of the body."""

    first: float
    last: float
    size: int


def post(port: int, path: str, content_type: str, content: bytes, accept: str = "application/dicom+json") -> bytes:
    """The answer's body. Raises if it is not 200."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("POST", path, body=content, headers={"Content-Type": content_type, "Accept": accept})
        answer = connection.getresponse()
        received = answer.read()
        if answer.status != 200:
            raise SystemExit(f"POST {path}: {answer.status} {received[:500]!r}")
        return received


def get(port: int, path: str, accept: str, keep: bytearray | None = None) -> Received:
    """Ask on a connection that ends with the answer, whose body goes into `keep`, or nowhere. Raises if not 200.

    A body in chunks is counted, and kept, with what frames them.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(_ROOM)
    view = memoryview(buffer)
    with closing(socket.create_connection(("127.0.0.1", port), _PATIENCE)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        link.sendall(request.encode())
        held = 0
        while (end := buffer.find(b"\r\n\r\n", 0, held)) < 0 or held == end + 4:
            held += _receive(link, view[held:], path)
        first = time.perf_counter() - begun
        if not buffer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"GET {path}: {bytes(view[: min(held, 500)])!r}")
        size = held - end - 4
        if keep is not None:
            keep += view[end + 4 : held]
        while count := link.recv_into(view):
            size += count
            if keep is not None:
                keep += view[:count]
        return Received(first, time.perf_counter() - begun, size)


def _receive(link: socket.socket, room: memoryview, path: str) -> int:
    count = link.recv_into(room)
    if not count:
        raise SystemExit(f"GET {path}: the server closed the connection")
    return count
