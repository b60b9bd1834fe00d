"""A DICOM peer that waits for associations and answers garbage, slowly, or not at all. It shares no code with the node."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.integration.dicom_node.fuzzing import mutate
from tests.integration.dicom_node.load import number
from tests.integration.dicom_node.peer import (
    ABORT,
    COMMAND,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RQ,
    command_set,
    decode_command,
    echo_rq,
    item,
    p_data,
    pdu,
    pdv,
)

RELEASE_RP = struct.pack(">BxII", 6, 4, 0)
REJECTION = struct.pack(">BxIBBBB", 3, 4, 0, 1, 1, 3)
N_EVENT_REPORT = 0x100
SAYS_SUCCESS = ("twice", "dataset", "mutated")
"""Wrong responses that may rightly be read as Success: what they answer is kept, for it need not come again."""


class Hangup(Exception):
    """The session is over."""


class EvilScp:
    """Listens on a port of its own. Each connection behaves in a way of its own, from the seed; `reform` ends that."""

    def __init__(self, seed: int) -> None:
        self.good = threading.Event()
        """From now on, what is right is answered."""
        self.sessions = 0
        self.did: Counter[str] = Counter()
        self.received: dict[str, bytes] = {}
        """Datasets taken with Success, by SOP Instance UID."""
        self.reports: list[bytes] = []
        """Datasets of events."""
        self._seed = seed
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.sessions += 1
            rng = random.Random(self._seed * 1_000_003 + self.sessions)
            thread = threading.Thread(target=self._serve, args=(connection, rng))
            thread.start()
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]

    def _serve(self, connection: socket.socket, rng: random.Random) -> None:
        with connection, contextlib.suppress(OSError, Hangup, struct.error, KeyError, IndexError):
            connection.settimeout(30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Session(self, connection, rng).run()

    def did_this(self, what: str) -> None:
        with self._lock:
            self.did[what] += 1


class _Session:
    """One connection."""

    def __init__(self, scp: EvilScp, connection: socket.socket, rng: random.Random) -> None:
        self.scp = scp
        self.connection = connection
        self.rng = rng
        self.command = b""
        self.data = bytearray()
        self.request: dict[int, bytes] = {}

    def run(self) -> None:
        kind, request = self._receive()
        assert kind == 1
        self._agree(request)
        while True:
            kind, body = self._receive()
            if kind == 5:
                self._release()
                return
            if kind != 4:
                return
            self._take(body)

    def _receive(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise Hangup
            data += more
        return data

    def _send(self, data: bytes) -> None:
        """At once, or byte by byte."""
        if self.rng.random() < 0.1 and len(data) < 1000:
            for each in data:
                self.connection.sendall(bytes([each]))
        else:
            self.connection.sendall(data)

    def _wait_for_hangup(self) -> None:
        """Say nothing more, until the node has had enough."""
        while self.connection.recv(1 << 16):
            pass
        raise Hangup

    # -- the parts of a session, right or wrong ------------------------------------------------------------------------

    def _choose(self, step: str, share: float, *wrong: str) -> str:
        """What to do wrong at a step; empty to do it right."""
        if self.scp.good.is_set() or self.rng.random() >= share:
            return ""
        chosen = self.rng.choice(wrong)
        self.scp.did_this(f"{step}: {chosen}")
        return chosen

    def _agree(self, request: bytes) -> None:
        right = pdu(2, _acceptance(request, self.rng))
        wrong = self._choose(
            "association",
            0.4,
            "close",
            "reset",
            "silence",
            "garbage",
            "mutated",
            "reject",
            "abort",
            "half",
            "no",
            "huge",
        )
        if wrong in ("close", "reset"):
            self._hang_up(reset=wrong == "reset")
        if wrong == "silence":
            self._wait_for_hangup()
        answers = {
            "": right,
            "garbage": self.rng.randbytes(200),
            "mutated": mutate(self.rng, right),
            "reject": REJECTION,
            "abort": ABORT,
            "half": right[: len(right) // 2],
            "no": pdu(2, _acceptance(request, self.rng, result=self.rng.randrange(1, 6))),
            "huge": struct.pack(">BxI", 2, 0xFFFFFFF0) + right[6:],
        }
        self._send(answers[wrong])
        if wrong == "half":
            self._wait_for_hangup()

    def _hang_up(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Hangup

    def _take(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            size, context, control = struct.unpack_from(">IBB", body, at)
            fragment = body[at + 6 : at + 4 + size]
            at += 4 + size
            if control & COMMAND:
                self.command += fragment
                if control & LAST:
                    self.request, self.command = decode_command(self.command), b""
                    self.data.clear()
                    if number(self.request[0x800]) == 0x101:
                        self._answer(context)
            else:
                self.data += fragment
                if control & LAST:
                    self._answer(context)

    def _answer(self, context: int) -> None:
        wrong = self._choose(
            "response",
            0.3,
            *("close", "reset", "silence", "garbage", "mutated", "other id", "other context", "dataset", "twice"),
            *("failure", "request", "abort", "release", "half", "huge", "no status"),
        )
        if wrong in ("close", "reset"):
            self._hang_up(reset=wrong == "reset")
        if wrong == "silence":
            self._wait_for_hangup()
        response = self._response(self.rng.choice([0xA700, 0xC000, 0x0122, 0xFFFF]) if wrong == "failure" else 0)
        right = p_data(pdv(context, COMMAND | LAST, response))
        answers = {
            "": right,
            "garbage": self.rng.randbytes(100),
            "mutated": mutate(self.rng, right),
            "other id": p_data(pdv(context, COMMAND | LAST, response.replace(self.request[0x110], b"\x77\x77"))),
            "other context": p_data(pdv((context + 2) % 256, COMMAND | LAST, response)),
            "dataset": right + p_data(pdv(context, DATA | LAST, b"dataset")),
            "twice": right + right,
            "failure": right,
            "request": p_data(pdv(context, COMMAND | LAST, echo_rq())),
            "abort": ABORT,
            "release": RELEASE_RQ,
            "half": right[:-10],
            "huge": struct.pack(">BxI", 4, 0x7FFFFFFF) + right[6:],
            "no status": p_data(pdv(context, COMMAND | LAST, self._response(None))),
        }
        if not wrong or wrong in SAYS_SUCCESS:
            self._keep()
        self._send(answers[wrong])
        if wrong in ("half", "huge"):
            self._wait_for_hangup()

    def _response(self, status: int | None) -> bytes:
        field = number(self.request[0x100])
        elements: dict[int, int | bytes] = {2: self.request[2], 0x100: field | 0x8000, 0x800: 0x101}
        if status is not None:
            elements[0x900] = status
        elements[0x120] = number(self.request[0x110])
        if 0x1000 in self.request:
            elements[0x1000] = self.request[0x1000]
        if 0x1002 in self.request:
            elements[0x1002] = number(self.request[0x1002])
        return command_set(elements)

    def _keep(self) -> None:
        if number(self.request[0x100]) == N_EVENT_REPORT:
            self.scp.reports.append(bytes(self.data))
        else:
            self.scp.received[self.request[0x1000].rstrip(b"\0").decode()] = bytes(self.data)

    def _release(self) -> None:
        wrong = self._choose("release", 0.3, "close", "silence", "garbage")
        if wrong == "silence":
            self._wait_for_hangup()
        if wrong != "close":
            self._send(self.rng.randbytes(30) if wrong == "garbage" else RELEASE_RP)


def _acceptance(request: bytes, rng: random.Random, result: int = 0) -> bytes:
    """The body of an A-ASSOCIATE-AC that takes all contexts of a request, each in its first transfer syntax."""
    items, roles = b"", b""
    at = 68
    while at + 4 <= len(request):
        kind, length = struct.unpack_from(">BxH", request, at)
        content = request[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 0x20:
            items += item(0x21, bytes([content[0], 0, result, 0]) + item(0x40, _first_syntax(content[4:])))
        elif kind == 0x50:
            roles = _roles(content)
    largest = struct.pack(">I", rng.choice([0, 16384, 16384, 300, 64]))
    user = item(0x50, item(0x51, largest) + item(0x52, b"1.2.3.4") + roles)
    return request[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + items + user


def _first_syntax(content: bytes) -> bytes:
    at = 0
    while at + 4 <= len(content):
        kind, length = struct.unpack_from(">BxH", content, at)
        if kind == 0x40:
            return content[at + 4 : at + 4 + length]
        at += 4 + length
    return EXPLICIT.encode()


def _roles(content: bytes) -> bytes:
    """The roles that are proposed, agreed to."""
    found, at = b"", 0
    while at + 4 <= len(content):
        kind, length = struct.unpack_from(">BxH", content, at)
        if kind == 0x54:
            found += content[at : at + 4 + length]
        at += 4 + length
    return found
