"""PDUs on a blocking socket (PS3.8 9.3): one buffer per association, no copies, no polling.

Time limits are the kernel's (``SO_RCVTIMEO``, ``SO_SNDTIMEO``): unlike Python's socket timeouts they cost no extra
``poll`` for each receive. `dicom_node.secure_wire` has the same over TLS.
"""

from __future__ import annotations

import contextlib
import mmap
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Final

from config.certificate import PeerCertificate

ASSOCIATE_RQ: Final = 0x01
P_DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
ABORT: Final = 0x07

PDU_HEADER: Final = struct.Struct(">BxI")
PDV_HEADER: Final = struct.Struct(">IBB")
COMMAND_FRAGMENT: Final = 1
LAST_FRAGMENT: Final = 2

RELEASE_RP: Final = struct.pack(">BxII", 0x06, 4, 0)

SERVICE_USER: Final = 0
SERVICE_PROVIDER: Final = 2
NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PDU_PARAMETER: Final = 6


class PeerGone(Exception):
    """The peer closed the connection, or it broke, or the peer takes nothing any more."""


class PeerSilent(Exception):
    """The peer sent nothing for as long as the settings allow."""


class ProtocolError(Exception):
    """The peer broke the upper layer protocol; the association is aborted with `reason` (PS3.8 Table 9-26)."""

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def abort_pdu(source: int, reason: int) -> bytes:
    """An A-ABORT PDU (PS3.8 9.3.8)."""
    return struct.pack(">BxIBBBB", ABORT, 4, 0, 0, source, reason)


def command_pdus(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """P-DATA-TF PDUs with a command set, to be sent in one write (PS3.8 9.3.5, D.1)."""
    # Fragments are of even length. Less than one character in a PDU cannot be meant, whatever the peer announced.
    room = max(((maximum_length or 16384) - 6) & ~1, 2)
    parts = []
    for offset in range(0, len(command), room):
        fragment = command[offset : offset + room]
        last = LAST_FRAGMENT if offset + room >= len(command) else 0
        parts.append(PDU_HEADER.pack(P_DATA_TF, len(fragment) + 6))
        parts.append(PDV_HEADER.pack(len(fragment) + 2, context_id, COMMAND_FRAGMENT | last))
        parts.append(fragment)
    return b"".join(parts)


LONGEST_PDU_SENT: Final = 128 * 1024
"""Bytes of a P-DATA-TF with dataset fragments, however much more the peer takes."""


def data_pdus(context_id: int, chunks: Iterable[bytes], maximum_length: int) -> Iterator[bytes]:
    """P-DATA-TF PDUs with a dataset, in portions to be sent in one write each (PS3.8 9.3.5, D.1).

    Portions are about as large as the chunks, so that memory is bounded by theirs and small PDUs do not mean many
    writes. The last fragment is marked only when the chunks have come to their end.
    """
    room = max((min(maximum_length or LONGEST_PDU_SENT, LONGEST_PDU_SENT) - 6) & ~1, 2)
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        whole = max(len(rest) - 1, 0) // room * room
        if whole:
            with memoryview(rest) as view:
                portion = b"".join(
                    part for at in range(0, whole, room) for part in _data_pdu(context_id, 0, view[at : at + room])
                )
            del rest[:whole]
            yield portion
    yield b"".join(_data_pdu(context_id, LAST_FRAGMENT, rest))


def _data_pdu(context_id: int, control: int, fragment: bytearray | memoryview) -> tuple[bytes, bytes]:
    size = len(fragment)
    return PDU_HEADER.pack(P_DATA_TF, size + 6) + PDV_HEADER.pack(size + 2, context_id, control), bytes(fragment)


class Pace:
    """Tells who is slow from who only pretends to be alive, by bytes for the seconds that they kept us waiting.

    Our own time does not count, so that a peer never pays for a database that does not answer.
    """

    __slots__ = ("count", "rate", "seconds")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.count = 0
        """Bytes."""
        self.seconds = 0.0

    def reset(self) -> None:
        """Forget what was counted."""
        self.count = 0
        self.seconds = 0.0

    def was_too_slow(self) -> bool:
        """Asked at the end of each window of so many seconds: whether it had less than the rate. The next begins."""
        slow = self.count < self.rate * self.seconds
        self.reset()
        return slow


class Wire:
    """A connection with its receive buffer. `buffer[start:end]` is what was received and not yet consumed."""

    secured = False
    """The connection is encrypted."""
    certificate: PeerCertificate | None = None
    """What the peer proved itself with, over TLS."""

    def __init__(
        self,
        connection: socket.socket,
        capacity: int,
        *,
        read_timeout: float,
        write_timeout: float,
        minimum_rate: float = 0,
    ) -> None:
        self.socket = connection
        # Pages that nothing was received into cost nothing: an idle association holds next to no memory.
        self.buffer = mmap.mmap(-1, capacity)
        self.view = memoryview(self.buffer)
        self.start = 0
        self.end = 0
        self._receive: Callable[[memoryview], int] = connection.recv_into
        self._send: Callable[[bytes | memoryview], int] = connection.send
        self._received, self._sent = Pace(minimum_rate), Pace(minimum_rate)
        connection.setblocking(True)
        for option, value in _TCP_OPTIONS:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.set_read_timeout(read_timeout)
        self.set_write_timeout(write_timeout)

    def secure(self, deadline: float) -> None:
        """Negotiate TLS, where there is any, by that moment of the monotonic clock. Raises as `fill` does."""

    def set_read_timeout(self, seconds: float) -> None:
        """How long a receive may wait for the next byte. What was counted until now was for another limit."""
        self._read_timeout = seconds
        self._received.reset()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))

    def set_write_timeout(self, seconds: float) -> None:
        """How long the peer may take none of our bytes."""
        self._write_timeout = seconds
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(seconds))
        # The kernel gives up as well what it has taken from us and the peer does not acknowledge.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(int(seconds * 1000), 1))

    def fill(self, *, resting: bool = False) -> None:
        """Receive at least one byte behind `end`. Raises `PeerGone`, `PeerSilent`.

        `resting`: no message has begun, so the peer may take its time until the first byte of the next.
        """
        if self.start == self.end:
            self.start = self.end = 0
            if resting:
                self._received.reset()
        elif self.end == len(self.buffer):
            self._make_room()
        pace = self._received
        began = monotonic()
        try:
            count = self._receive(self.view[self.end :])
        except BlockingIOError:
            raise PeerSilent("nothing received for too long") from None
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None
        if count == 0:
            raise PeerGone("closed by the peer")
        self.end += count
        pace.count += count
        pace.seconds += monotonic() - began
        if pace.seconds >= self._read_timeout and pace.was_too_slow():
            raise PeerSilent("a message came too slowly")

    def first_pdu(self, deadline: float, check: Callable[[int, int], None]) -> bytes:
        """The first PDU of the connection, by `deadline` however slowly it trickles in.

        `check` is told its type and length and may raise. Raises `PeerGone`, `PeerSilent`.
        """
        needed = 6
        while self.end < needed:
            left = deadline - monotonic()
            if left <= 0:
                raise PeerSilent("no whole PDU in time")
            self.set_read_timeout(left)
            self.fill()
            if needed == 6 and self.end >= 6:
                kind, length = PDU_HEADER.unpack_from(self.buffer, 0)
                check(kind, length)
                needed = 6 + length
        self.start = needed
        return bytes(self.view[:needed])

    def await_either(self, descriptor: int) -> bool:
        """Wait until the peer sent something (False) or `descriptor` is readable (True). Raises `PeerSilent`."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        ready = {found for found, _ in poll.poll(self._read_timeout * 1000)}
        if not ready:
            raise PeerSilent("nothing received for too long")
        return self.socket.fileno() not in ready

    def _make_room(self) -> None:
        """Move what is not yet consumed to the front of the buffer."""
        rest = self.end - self.start
        self.view[:rest] = self.view[self.start : self.end]
        self.start, self.end = 0, rest

    def fill_if_ready(self) -> bool:
        """Receive what is there without waiting for more; False if nothing is. Raises `PeerGone`."""
        if self.end == len(self.buffer):
            self._make_room()
        try:
            count = self._receive_now(self.view[self.end :])
        except BlockingIOError:
            return False
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None
        if count == 0:
            raise PeerGone("closed by the peer")
        self.end += count
        return True

    def _receive_now(self, view: memoryview) -> int:
        """Receive what is there. Raises `BlockingIOError` when nothing is."""
        return self.socket.recv_into(view, 0, socket.MSG_DONTWAIT)

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises `PeerGone`, also when it was not taken in time."""
        try:
            # All of it in one call, unless the peer took only some within the write timeout.
            sent = self._send_counted(data)
            while sent < len(data):
                sent += self._send_counted(memoryview(data)[sent:])
            # Having answered, the kernel would hold back its next ACK for 40 ms, and a sender that leaves Nagle's
            # algorithm on (DCMTK does) its dataset until that ACK: 20 objects a second instead of hundreds.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            raise PeerGone("our answer was not taken for too long") from None
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None

    def _send_counted(self, data: bytes | memoryview) -> int:
        pace = self._sent
        began = monotonic()
        count = self._send(data)
        pace.count += count
        pace.seconds += monotonic() - began
        if pace.seconds >= self._write_timeout and pace.was_too_slow():
            raise PeerGone("our answer was taken too slowly")
        return count

    def abort(self, source: int, reason: int, patience: float) -> None:
        """Tell the peer, if it still listens, and give it a moment to read that before the connection closes."""
        try:
            self.send(abort_pdu(source, reason))
            self.await_close(patience)
        except (PeerGone, PeerSilent):
            pass

    def await_close(self, patience: float) -> None:
        """Let the peer close first (Sta13), so that our last PDU is not lost to a reset."""
        deadline = monotonic() + patience
        try:
            while (left := deadline - monotonic()) > 0:
                self.set_read_timeout(left)
                self.start = self.end = 0
                self.fill()
        except (PeerGone, PeerSilent):
            return

    def interrupt(self, how: int) -> None:
        """Shut the connection down under whoever waits for it, from any thread: ``SHUT_RD`` or ``SHUT_RDWR``."""
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would go on without encryption.
            socket.socket.shutdown(self.socket, how)

    def close(self) -> None:
        """Close the connection and let go of the buffer."""
        self.socket.close()
        self.view.release()


_TCP_OPTIONS: Final = (
    (socket.TCP_NODELAY, 1),
    # A peer that lost its power or its network says nothing: it is found out within two minutes, whatever it may idle.
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    # A zero timeval would mean "for ever".
    return struct.pack("@ll", whole, max(int((seconds - whole) * 1_000_000), 0 if whole else 1000))
