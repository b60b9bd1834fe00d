"""A receiver of HL7 messages that is none of ours: the server of the package hl7apy, or one that misbehaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

from tests.hl7 import read_frame


class Taken(AbstractHandler):
    """Takes every message and answers as it is told to."""

    def __init__(self, message: str, queue: SimpleQueue[Any], code: str) -> None:
        super().__init__(message)
        self.queue, self.code = queue, code

    def reply(self) -> str:
        parsed = parse_message(self.incoming_message, find_groups=False)
        self.queue.put(parsed)
        answer = Message("ACK", version="2.5.1")
        answer.msh.msh_9 = "ACK"
        answer.msa.msa_1 = self.code
        answer.msa.msa_2 = parsed.msh.msh_10
        return str(answer.to_mllp())


@contextmanager
def hl7apy_server(code: str = "AA") -> Iterator[tuple[int, SimpleQueue[Any]]]:
    """A server of hl7apy; gives its port, and the messages as it has read them."""
    taken: SimpleQueue[Any] = SimpleQueue()
    kinds = ("ORU^R01^ORU_R01", "ORM^O01^ORM_O01", "OMG^O19^OMG_O19")
    server = MLLPServer("127.0.0.1", 0, dict.fromkeys(kinds, (Taken, taken, code)), timeout=20)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(reply: Callable[[bytes], bytes | None]) -> Iterator[tuple[int, SimpleQueue[bytes]]]:
    """A server that gives to each message what `reply` says; None: it closes without a word."""
    taken: SimpleQueue[bytes] = SimpleQueue()

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(30)
                try:
                    while True:
                        message = read_frame(sock)
                        answer = reply(message)
                        taken.put(message)
                        if answer is None:
                            break
                        sock.sendall(answer)
                except (OSError, EOFError):
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1], taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def acknowledged(message: bytes, code: str = "AA") -> bytes:
    """The frame of a short acknowledgement."""
    control = message.split(b"\r")[0].split(b"|")[9]
    return b"\x0bMSH|^~\\&|HIS|BV|PACS|X|2026||ACK|1|P|2.5.1\rMSA|" + code.encode() + b"|" + control + b"\r\x1c\r"
