"""A C-STORE sender that costs little: objects are framed before the clock starts, ``TCP_NODELAY`` and quick ACKs on.

Quick ACKs matter for the rivals: Orthanc and DCMTK write a response in two pieces under Nagle's algorithm, and without
them each object would wait 40 ms for a delayed acknowledgement.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PDU_LENGTH = 16384
PATIENCE = 300
"""Seconds after which a server that does nothing has failed."""


@dataclass(frozen=True)
class Object:
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


@dataclass
class Result:
    """Of one run: seconds in all, seconds of each object, and how many were not answered with Success."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: int = 0


def send(host: str, port: int, called: str, objects: list[Object], associations: int) -> Result:
    """Send all objects, dealt out to this many associations at once."""
    links = [_Link(host, port, called, objects[k::associations]) for k in range(associations)]
    threads = [threading.Thread(target=link.run) for link in links]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = Result(time.perf_counter() - started)
    for link in links:
        link.close()
        result.latencies += link.latencies
        result.failures += len(link.messages) - link.successes
    return result


class _Link:
    def __init__(self, host: str, port: int, called: str, objects: list[Object]) -> None:
        self.latencies: list[float] = []
        self.successes = 0
        contexts: dict[tuple[str, str], int] = {}
        for item in objects:
            contexts.setdefault((item.sop_class_uid, item.transfer_syntax_uid), 2 * len(contexts) + 1)
        self.messages = [
            _message(n, contexts[item.sop_class_uid, item.transfer_syntax_uid], item) for n, item in enumerate(objects)
        ]
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # By the kernel: Python's own would cost a system call before each other.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE, 0))
        self._socket.sendall(associate(called, contexts))
        kind, _ = self._receive()
        if kind != 2:
            raise ConnectionError(f"port {port}: association not accepted (PDU type {kind})")

    def run(self) -> None:
        for message in self.messages:
            started = time.perf_counter()
            self._socket.sendall(message)
            kind, body = self._receive()
            self.latencies.append(time.perf_counter() - started)
            self.successes += kind == 4 and _status(body) == 0

    def stream(self, size: int, pieces: Iterable[bytes]) -> int:
        """Send the only message, which lacks its dataset, with these pieces as dataset."""
        self._socket.sendall(self.messages[0])
        for piece in pieces:
            size -= len(piece)
            self._socket.sendall(pdus(1, piece, 0, last=size == 0))
        _, body = self._receive()
        return _status(body)

    def close(self) -> None:
        self._socket.sendall(struct.pack(">BxII", 5, 4, 0))
        self._receive()
        self._socket.close()

    def _receive(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise ConnectionError("closed by the server")
            data += chunk
        return bytes(data)


def send_streamed(host: str, port: int, called: str, item: Object, size: int, pieces: Iterable[bytes]) -> int:
    """Send one object whose dataset, of `size` bytes, is made while it is sent: `item` has none. The status."""
    link = _Link(host, port, called, [item])
    try:
        return link.stream(size, pieces)
    finally:
        link.close()


def framed(kind: int, body: bytes) -> bytes:
    """An item of an association's negotiation (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(body)) + body


def associate(
    called: str,
    contexts: dict[tuple[str, str], int],
    *,
    calling: str = "BENCHMARK",
    extended: Mapping[str, bytes] | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); `extended` is extended negotiation by SOP class (PS3.7 D.3.3.5)."""
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    body += framed(0x10, b"1.2.840.10008.3.1.1.1")
    for (abstract, transfer), number in contexts.items():
        syntaxes = framed(0x30, abstract.encode()) + framed(0x40, transfer.encode())
        body += framed(0x20, struct.pack(">B3x", number) + syntaxes)
    users = framed(0x51, struct.pack(">I", 1 << 20)) + framed(0x52, b"2.25.1")
    for uid, information in (extended or {}).items():
        users += framed(0x56, struct.pack(">H", len(uid)) + uid.encode() + information)
    body += framed(0x50, users)
    return struct.pack(">BxI", 1, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    """An element of a command set (PS3.7 6.3.1)."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def _message(number: int, context: int, item: Object) -> bytes:
    command = (
        element(0x0002, item.sop_class_uid.encode())
        + element(0x0100, struct.pack("<H", 1))
        + element(0x0110, struct.pack("<H", number % 65535 + 1))
        + element(0x0700, b"\0\0")
        + element(0x0800, b"\0\0")
        + element(0x1000, item.sop_instance_uid.encode())
    )
    command = element(0, struct.pack("<I", len(command))) + command
    return pdus(context, command, 1) + pdus(context, item.dataset, 0)


def pdus(context: int, data: bytes, flag: int, *, last: bool = True) -> bytes:
    """P-DATA-TF PDUs of a command (flag 1) or dataset (0)."""
    room = PDU_LENGTH - 6
    parts = []
    for offset in range(0, len(data), room):
        piece = data[offset : offset + room]
        end = 2 if last and offset + room >= len(data) else 0
        parts.append(struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, context, flag | end) + piece)
    return b"".join(parts)


def _status(body: bytes) -> int:
    offset = 6
    while offset + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHI", body, offset)
        if (group, element) == (0, 0x0900):
            return int(struct.unpack_from("<H", body, offset + 8)[0])
        offset += 8 + length
    return -1
