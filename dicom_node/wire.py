"""PDUs on a blocking socket (PS3.8 9.3): one buffer per association, no copies, no polling.

Time limits are the kernel's (``SO_RCVTIMEO``, ``SO_SNDTIMEO``): unlike Python's socket timeouts they cost no extra
``poll`` for each receive.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Final

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


class Wire:
    """A connection with its receive buffer. `buffer[start:end]` is what was received and not yet consumed."""

    def __init__(self, connection: socket.socket, capacity: int, *, read_timeout: float, write_timeout: float) -> None:
        self.socket = connection
        # Pages that nothing was received into cost nothing: an idle association holds next to no memory.
        self.buffer = mmap.mmap(-1, capacity)
        self.view = memoryview(self.buffer)
        self.start = 0
        self.end = 0
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.set_read_timeout(read_timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(write_timeout))
        # A peer that stopped taking our bytes: the kernel gives up as well.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(write_timeout * 1000))

    def set_read_timeout(self, seconds: float) -> None:
        """How long a receive may wait for the next byte."""
        self._read_timeout = seconds
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))

    def fill(self) -> None:
        """Receive at least one byte behind `end`. Raises `PeerGone`, `PeerSilent`."""
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == len(self.buffer):
            self._make_room()
        try:
            count = self.socket.recv_into(self.view[self.end :])
        except BlockingIOError:
            raise PeerSilent("nothing received for too long") from None
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None
        if count == 0:
            raise PeerGone("closed by the peer")
        self.end += count

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
            count = self.socket.recv_into(self.view[self.end :], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None
        if count == 0:
            raise PeerGone("closed by the peer")
        self.end += count
        return True

    def send(self, data: bytes) -> None:
        """Send all of `data` in one write. Raises `PeerGone`, also when it was not taken in time."""
        try:
            self.socket.sendall(data)
            # Having answered, the kernel would hold back its next ACK for 40 ms, and a sender that leaves Nagle's
            # algorithm on (DCMTK does) its dataset until that ACK: 20 objects a second instead of hundreds.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            raise PeerGone("our answer was not taken for too long") from None
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None

    def abort(self, source: int, reason: int, patience: float) -> None:
        """Tell the peer, if it still listens, and give it a moment to read that before the connection closes."""
        try:
            self.send(abort_pdu(source, reason))
            self.await_close(patience)
        except (PeerGone, PeerSilent):
            pass

    def await_close(self, patience: float) -> None:
        """Let the peer close first (Sta13), so that our last PDU is not lost to a reset."""
        deadline = time.monotonic() + patience
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.set_read_timeout(left)
                self.start = self.end = 0
                self.fill()
        except (PeerGone, PeerSilent):
            return

    def close(self) -> None:
        """Close the connection and let go of the buffer."""
        self.socket.close()
        self.view.release()


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    # A zero timeval would mean "for ever".
    return struct.pack("@ll", whole, max(int((seconds - whole) * 1_000_000), 0 if whole else 1000))
