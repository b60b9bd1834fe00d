"""A proxy before the node that keeps what a client sent, so that it can be compared with what was stored."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator


class Tee:
    """Forwards connections one after the other and takes the datasets out of the client's stream."""

    def __init__(self, port: int) -> None:
        self._node_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._streams: list[bytearray] = []
        self._thread = threading.Thread(target=self._run)

    def datasets(self) -> Iterator[bytes]:
        """Each dataset that was sent, in order."""
        for stream in self._streams:
            yield from _datasets(bytes(stream))

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, socket.create_connection(("127.0.0.1", self._node_port)) as node:
                    for each in (client, node):
                        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    stream = bytearray()
                    self._streams.append(stream)
                    back = threading.Thread(target=_pump, args=(node, client, bytearray()))
                    back.start()
                    _pump(client, node, stream)
                    back.join()

    def __enter__(self) -> Tee:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            kept += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _datasets(stream: bytes) -> Iterator[bytes]:
    offset, dataset = 0, bytearray()
    while offset < len(stream):
        kind, length = struct.unpack_from(">BxI", stream, offset)
        offset += 6
        end = offset + length
        while kind == 4 and offset < end:
            size, _, control = struct.unpack_from(">IBB", stream, offset)
            if not control & 1:
                dataset += stream[offset + 6 : offset + 4 + size]
                if control & 2:
                    yield bytes(dataset)
                    dataset.clear()
            offset += 4 + size
        offset = end
