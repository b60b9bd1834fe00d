"""A DICOM peer on a raw socket that can be made to misbehave in every way. It shares no code with the node."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

RELEASE_RQ = struct.pack(">BxII", 5, 4, 0)
ABORT = struct.pack(">BxII", 7, 4, 0)

COMMAND = 1
DATA = 0
LAST = 2


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def pdv(context: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def p_data(*values: bytes) -> bytes:
    return pdu(4, b"".join(values))


def context_item(identifier: int, abstract: str, syntaxes: Iterable[str]) -> bytes:
    body = bytes([identifier, 0, 0, 0]) + item(0x30, abstract.encode())
    return item(0x20, body + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes))


def role_item(abstract: str, scu: int, scp: int) -> bytes:
    """SCP/SCU Role Selection (PS3.7 Table D.3-9)."""
    return item(0x54, struct.pack(">H", len(abstract)) + abstract.encode() + bytes([scu, scp]))


def extended_item(abstract: str, information: bytes) -> bytes:
    """SOP Class Extended Negotiation (PS3.7 Table D.3-11)."""
    return item(0x56, struct.pack(">H", len(abstract)) + abstract.encode() + information)


def associate_rq(
    contexts: Sequence[tuple[str, Sequence[str]]],
    *,
    calling: str | bytes = "CT1",
    called: str | bytes = "PACS",
    maximum_length: int = 0,
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
    items: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ; the contexts get the identifiers 1, 3, 5 ...; `items` are more of the user information."""
    titles = b"".join(
        (title.encode() if isinstance(title, str) else title).ljust(16)[:16] for title in (called, calling)
    )
    user = item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3.4") + items
    body = struct.pack(">Hxx", version) + titles + bytes(32) + item(0x10, application_context.encode())
    body += b"".join(context_item(2 * n + 1, *context) for n, context in enumerate(contexts))
    return pdu(1, body + item(0x50, user))


def command_set(elements: dict[int, int | bytes]) -> bytes:
    """Implicit VR Little Endian; numbers become US, bytes are padded with NUL."""
    body = b""
    for element, value in sorted(elements.items()):
        data = struct.pack("<H", value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
        body += struct.pack("<HHI", 0, element, len(data)) + data
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def store_rq(instance: str | bytes, sop_class: str = CT_IMAGE_STORAGE, message: int = 1, *, data: bool = True) -> bytes:
    name = instance if isinstance(instance, bytes) else instance.encode()
    return command_set(
        {2: sop_class.encode(), 0x100: 1, 0x110: message, 0x700: 0, 0x800: 0 if data else 0x101, 0x1000: name}
    )


def echo_rq(message: int = 1) -> bytes:
    return command_set({2: VERIFICATION.encode(), 0x100: 0x30, 0x110: message, 0x800: 0x101})


def cancel_rq(message: int = 1) -> bytes:
    return command_set({0x100: 0xFFF, 0x120: message, 0x800: 0x101})


def query_rq(sop_class: str, field: int, message: int = 1, **elements: bytes) -> bytes:
    """C-FIND-RQ (20H), C-GET-RQ (10H) or C-MOVE-RQ (21H, with its `destination`)."""
    more = {0x600: elements["destination"].ljust(16)} if elements else {}
    return command_set({2: sop_class.encode(), 0x100: field, 0x110: message, 0x700: 0, 0x800: 1, **more})


def store_rsp(request: dict[int, bytes], status: int = 0) -> bytes:
    """The response to a C-STORE-RQ."""
    return command_set(
        {2: request[2], 0x100: 0x8001, 0x120: request[0x110], 0x800: 0x101, 0x900: status, 0x1000: request[0x1000]}
    )


def elements_of(*elements: tuple[int, int, str, str]) -> bytes:
    """An identifier in Explicit VR Little Endian: group, element, VR, value."""
    encoded = b""
    for group, element, vr, value in elements:
        data = value.encode()
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
        encoded += struct.pack("<HH2sH", group, element, vr.encode(), len(data)) + data
    return encoded


def decode_command(data: bytes) -> dict[int, bytes]:
    elements = {}
    offset = 0
    while offset < len(data):
        _, element, length = struct.unpack_from("<HHI", data, offset)
        elements[element] = data[offset + 8 : offset + 8 + length]
        offset += 8 + length
    return elements


def pieces(data: bytes, size: int) -> Iterator[tuple[bytes, int]]:
    """The data cut into pieces, each with the control bit that says whether it is the last."""
    for start in range(0, max(len(data), 1), size):
        yield data[start : start + size], LAST if start + size >= len(data) else 0


def message(context: int, command: bytes, data: bytes, size: int = 65536) -> bytes:
    """A whole message, fragmented the usual way."""
    head = p_data(pdv(context, COMMAND | LAST, command))
    return head + b"".join(p_data(pdv(context, DATA | last, piece)) for piece, last in pieces(data, size))


class Closed(Exception):
    """The node closed the connection."""


class RawPeer:
    """A connection to the node."""

    def __init__(self, port: int, *, timeout: float = 20, receive_buffer: int | None = None, source: str = "") -> None:
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.syntaxes: dict[int, str] = {}
        self.results: dict[int, int] = {}
        self.last: dict[int, bytes] = {}

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """One PDU: its type and its body. Raises `Closed`."""
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionError:
                more = b""
            if not more:
                raise Closed
            data += more
        return data

    def associate(self, contexts: Sequence[tuple[str, Sequence[str]]] = (), **options: Any) -> Self:
        """Negotiate; by default CT Image Storage in Explicit VR as context 1 and Verification as context 3."""
        self.send(associate_rq(contexts or [(CT_IMAGE_STORAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])], **options))
        kind, body = self.receive()
        assert kind == 2, f"PDU type {kind}: {body.hex()}"
        self._read_acceptance(body)
        return self

    def _read_acceptance(self, body: bytes) -> None:
        offset = 68
        while offset < len(body):
            kind, length = struct.unpack_from(">BxH", body, offset)
            content = body[offset + 4 : offset + 4 + length]
            if kind == 0x21:
                self.results[content[0]] = content[2]
                if content[2] == 0:
                    self.syntaxes[content[0]] = content[8:].decode().rstrip("\0")
            offset += 4 + length

    def response(self) -> dict[int, bytes]:
        """The command set of the next response, put together from its fragments."""
        data = b""
        while True:
            kind, body = self.receive()
            assert kind == 4, f"PDU type {kind}: {body.hex()}"
            offset = 0
            while offset < len(body):
                size, _, control = struct.unpack_from(">IBB", body, offset)
                assert control & COMMAND
                data += body[offset + 6 : offset + 4 + size]
                offset += 4 + size
                if control & LAST:
                    assert offset == len(body)
                    return decode_command(data)

    def message(self) -> tuple[int, dict[int, bytes], bytes]:
        """The next message, request or response: its context, its command set and its dataset, if it has one."""
        command, data, whole = b"", bytearray(), False
        context = 0
        while not whole:
            kind, body = self.receive()
            assert kind == 4, f"PDU type {kind}: {body[:100].hex()}"
            offset = 0
            while offset < len(body):
                size, context, control = struct.unpack_from(">IBB", body, offset)
                fragment = body[offset + 6 : offset + 4 + size]
                offset += 4 + size
                if control & COMMAND:
                    command += fragment
                    whole = bool(control & LAST) and decode_command(command)[0x800] == b"\x01\x01"
                else:
                    data += fragment
                    whole = bool(control & LAST)
        return context, decode_command(command), bytes(data)

    def status(self) -> int:
        """The status of the next response."""
        self.last = self.response()
        return int.from_bytes(self.last[0x900], "little")

    def store(
        self, instance: str, data: bytes, *, context: int = 1, sop_class: str = CT_IMAGE_STORAGE, size: int = 65536
    ) -> int:
        """Send one object; give the status."""
        self.send(message(context, store_rq(instance, sop_class), data, size))
        return self.status()

    def echo(self, context: int = 3) -> int:
        self.send(p_data(pdv(context, COMMAND | LAST, echo_rq())))
        return self.status()

    def release(self) -> None:
        """Release and see the node agree."""
        self.send(RELEASE_RQ)
        assert self.receive() == (6, bytes(4))
        self.close()

    def aborted(self) -> tuple[int, int]:
        """Source and reason of the A-ABORT that must come next, skipping responses that were under way."""
        while True:
            kind, body = self.receive()
            if kind == 7:
                return body[2], body[3]
            assert kind in (2, 4), f"PDU type {kind}: {body.hex()}"

    def is_closed(self) -> bool:
        """Wait for the close; False if there is something to read instead."""
        try:
            self.receive()
        except Closed:
            return True
        return False

    def reset(self) -> None:
        """Die: the node gets an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
