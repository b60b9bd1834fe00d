"""A peer that takes reports but says nothing of roles, as older devices do, on a raw socket."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.dicom_node.peer import COMMAND, LAST, command_set, decode_command, item, p_data, pdu, pdv


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", _exactly(connection, 6))
    return kind, _exactly(connection, length)


def _serve(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        _, request = _pdu(connection)
        context = bytes([1, 0, 0, 0]) + item(0x40, b"1.2.840.10008.1.2.1")
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4")
        head = struct.pack(">Hxx", 1) + request[4:36] + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1")
        connection.sendall(pdu(2, head + item(0x21, context) + item(0x50, user)))
        command, has_data = b"", False
        while not has_data:
            _, body = _pdu(connection)
            offset = 0
            while offset < len(body):
                (size,) = struct.unpack_from(">I", body, offset)
                control = body[offset + 5]
                if control & COMMAND:
                    command += body[offset + 6 : offset + 4 + size]
                has_data = has_data or control == LAST
                offset += 4 + size
        number = int.from_bytes(decode_command(command)[0x110], "little")
        answer = command_set({0x100: 0x8100, 0x120: number, 0x800: 0x101, 0x900: 0})
        connection.sendall(p_data(pdv(1, COMMAND | LAST, answer)))
        assert _pdu(connection)[0] == 5
        connection.sendall(pdu(6, bytes(4)))


@contextmanager
def roleless_peer() -> Iterator[int]:
    """Takes one report; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(120)
        assert not thread.is_alive()
