"""A `Wire` over TLS.

The socket does not block: OpenSSL says what it waits for, and `poll` waits. What arrived is taken record by record
until nothing is left, so that the receive loop sees stretches as long as without TLS.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from time import monotonic

from config.certificate import read_peer_certificate
from dicom_node.wire import PeerGone, PeerSilent, Wire

_MOST_AT_ONCE = 64 * 1024
"""Bytes given to OpenSSL in one call, each within the write timeout: it takes all of them or none."""


class HandshakeFailed(PeerGone):
    """The two ends did not agree on TLS, or one does not trust the other."""


class SecureWire(Wire):
    """A connection over TLS, before and after its handshake."""

    socket: ssl.SSLSocket

    def __init__(
        self,
        connection: ssl.SSLSocket,
        capacity: int,
        *,
        read_timeout: float,
        write_timeout: float,
        minimum_rate: float = 0,
    ) -> None:
        super().__init__(
            connection, capacity, read_timeout=read_timeout, write_timeout=write_timeout, minimum_rate=minimum_rate
        )
        self._receive = self._decrypt
        self._send = self._encrypt
        self._ahead = False
        """`await_either` has received what the next `fill` is about."""

    def secure(self, deadline: float) -> None:
        """Shake hands. Raises `HandshakeFailed`, `PeerGone`, `PeerSilent`."""
        try:
            # It counts for the handshake as a whole.
            self.socket.settimeout(max(deadline - monotonic(), 0.001))
            self.socket.do_handshake()
            self.socket.settimeout(0)
            if der := self.socket.getpeercert(binary_form=True):
                self.certificate = read_peer_certificate(der, self.socket.getpeercert() or {})
        except TimeoutError:
            raise PeerSilent("no TLS handshake in time") from None
        except ssl.SSLEOFError:
            raise PeerGone("closed by the peer during the TLS handshake") from None
        except ssl.SSLCertVerificationError as error:
            raise HandshakeFailed(f"certificate not accepted: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise HandshakeFailed((error.reason or str(error)).replace("_", " ").lower()) from None
        except OSError as error:
            raise PeerGone(error.strerror or str(error)) from None
        except ValueError as error:
            raise HandshakeFailed(f"certificate not accepted: {error}") from None
        self.secured = True

    def set_read_timeout(self, seconds: float) -> None:
        """How long a receive may wait for the next byte. What was counted until now was for another limit."""
        self._read_timeout = seconds
        self._received.reset()

    def fill(self, *, resting: bool = False) -> None:
        """Receive at least one byte behind `end`. Raises `PeerGone`, `PeerSilent`."""
        if self._ahead:
            self._ahead = False
        else:
            super().fill(resting=resting)

    def await_either(self, descriptor: int) -> bool:
        """Wait until the peer sent something (False) or `descriptor` is readable (True). Raises `PeerSilent`.

        Bytes on the connection need not be a message: TLS has messages of its own. So they are taken.
        """
        deadline = monotonic() + self._read_timeout
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        if self.start == self.end:
            self.start = self.end = 0
        while not self._ahead:
            self._ahead = self.fill_if_ready()
            if self._ahead:
                break
            ready = {found for found, _ in poll.poll(max(deadline - monotonic(), 0) * 1000)}
            if not ready:
                raise PeerSilent("nothing received for too long")
            if self.socket.fileno() not in ready:
                return True
        return False

    def close(self) -> None:
        """Say good-bye, close the connection and let go of the buffer."""
        with contextlib.suppress(OSError, ValueError):
            if self.secured:
                self.socket.unwrap()
        super().close()

    def _decrypt(self, view: memoryview) -> int:
        deadline = monotonic() + self._read_timeout
        while True:
            try:
                return self._receive_now(view)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline - monotonic())

    def _receive_now(self, view: memoryview) -> int:
        got = 0
        try:
            while got < len(view):
                count = self.socket.recv_into(view[got:])
                if not count:
                    break
                got += count
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not got:
                raise BlockingIOError from None
        except OSError:
            # What came before the connection broke counts; the next receive will fail again.
            if not got:
                raise
        return got

    def _encrypt(self, data: bytes | memoryview) -> int:
        deadline = monotonic() + self._write_timeout
        piece = memoryview(data)[:_MOST_AT_ONCE]
        while True:
            try:
                return self.socket.send(piece)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline - monotonic())
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline - monotonic())

    def _wait(self, event: int, seconds: float) -> None:
        poll = select.poll()
        poll.register(socket.socket.fileno(self.socket), event)
        if not poll.poll(max(seconds, 0) * 1000):
            raise BlockingIOError
