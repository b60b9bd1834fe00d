"""``python -m benchmarks.probe FOLDER PORT DATABASE``: the least that a receiver in plain Python does, as a floor.

A blocking loop and a connection to PostgreSQL for each association; of each object a file with ``fdatasync`` and a
committed row, before Success. Nothing more: it accepts every context, believes what comes, reads no element of a
dataset, writes no file meta information, does not flush the folder, logs nothing, keeps nobody out and never answers
anything but Success. It neither checks nor describes what it takes: a measure for ``receive``, never an archive.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.sender import PDU_LENGTH, element, framed, pdus

_READ_AHEAD: Final = 1 << 18
_PIECES: Final = 64
"""Fragments that are written by one system call."""
_TABLE: Final = "CREATE TABLE IF NOT EXISTS object (uid text, path text, size bigint)"
_ROW: Final = "INSERT INTO object VALUES (%s, %s, %s)"


def accepted(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that takes the first transfer syntax of every context (PS3.8 9.3.3)."""
    answer = request[:68] + framed(0x10, b"1.2.840.10008.3.1.1.1")
    for kind, context in _items(request[68:]):
        if kind == 0x20:
            syntax = next(value for each, value in _items(context[4:]) if each == 0x40)
            answer += framed(0x21, context[:1] + b"\0\0\0" + framed(0x40, syntax))
    answer += framed(0x50, framed(0x51, struct.pack(">I", PDU_LENGTH)) + framed(0x52, b"2.25.2"))
    return struct.pack(">BxI", 2, len(answer)) + answer


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def response(context: int, command: bytes) -> tuple[str, bytes]:
    """The SOP Instance UID of a C-STORE-RQ, and its response with Success (PS3.7 9.3.1)."""
    values = {}
    while command:
        number, length = struct.unpack_from("<HI", command, 2)
        values[number] = command[8 : 8 + length]
        command = command[8 + length :]
    answer = (
        element(0x0002, values[0x0002])
        + element(0x0100, b"\x01\x80")
        + element(0x0120, values[0x0110])
        + element(0x0800, b"\x01\x01")
        + element(0x0900, b"\0\0")
        + element(0x1000, values[0x1000])
    )
    answer = element(0, struct.pack("<I", len(answer))) + answer
    return values[0x1000].rstrip(b"\0").decode(), pdus(context, answer, 1)


def _fragments(link: BufferedReader[Any]) -> Iterator[tuple[int, int, bytes]]:
    """Context, control and content of each fragment, until the association ends."""
    while len(head := link.read(6)) == 6:
        kind, length = struct.unpack(">BxI", head)
        body = link.read(length)
        if kind != 4:
            return
        while body:
            (size, context, control) = struct.unpack_from(">IBB", body)
            yield context, control, body[6 : 4 + size]
            body = body[4 + size :]


def serve(link: socket.socket, folder: Path, database: str) -> None:
    """One association."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with (
        link,
        BufferedReader(link.makefile("rb", 0), _READ_AHEAD) as stream,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        _, length = struct.unpack(">BxI", stream.read(6))
        link.sendall(accepted(stream.read(length)))
        command, pieces, file, size, uid, answer = b"", [], -1, 0, "", b""
        for context, control, piece in _fragments(stream):
            if control & 1:
                command += piece
                if control & 2:
                    uid, answer = response(context, command)
                    file, size, command = os.open(folder / uid, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 0, b""
                continue
            pieces.append(piece)
            size += len(piece)
            if control & 2 or len(pieces) == _PIECES:
                os.writev(file, pieces)
                pieces.clear()
            if control & 2:
                os.fdatasync(file)
                os.close(file)
                connection.execute(_ROW, (uid, str(folder / uid), size), prepare=True)
                link.sendall(answer)
        link.sendall(struct.pack(">BxII", 6, 4, 0))


def main(folder: Path, port: int, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_TABLE)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            link, _ = listener.accept()
            threading.Thread(target=serve, args=(link, folder, database), daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
