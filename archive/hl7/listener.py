"""Listens for messages over MLLP and gives each connection a thread.

What comes on one connection is taken one by one, so a peer that floods is held up by its own connection. Connections
are few, messages bounded, and no thread waits without an end: seconds count for idle connections, from the first byte
of a message to its last, and while the peer takes our answer.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Final

from archive.hl7.desk import Desk, Line
from archive.hl7.mllp import BadFrame, Framer, TooLong, framed
from config.certificate import PeerCertificate, read_peer_certificate
from config.hl7 import HL7Settings
from config.logs import correlated, fields
from config.peers import plain_address
from config.sockets import listen
from config.tls import credentials

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64 * 1024
_SLOWEST: Final = 16 * 1024
"""Bytes a second; a message may take so much longer than the time limit as its size at this rate."""
_SPARED: Final = 2.0
"""Seconds for which a connection is left in peace before another may take its place."""
GRACE: Final = 10.0
"""Seconds that messages get to be answered when the service stops."""


class _Timeout(Exception):
    """The peer kept us waiting for too long."""


class Connection:
    """One connection of a peer."""

    def __init__(self, sock: socket.socket, address: str, settings: HL7Settings, desk: Desk) -> None:
        self.socket = sock
        self.address = address
        self._settings = settings
        self._desk = desk
        self.resting_since: float | None = time.monotonic()
        """Since when nothing is going on; None in the middle of a message."""
        self.stopping = False

    def run(self) -> None:
        """Serve it to its end."""
        try:
            certificate = self._secure()
            self._serve(Line(self.address, certificate, isinstance(self.socket, ssl.SSLSocket)))
        except BadFrame as error:
            log.warning("what came by HL7 is no frame of MLLP", extra=fields(address=self.address, error=str(error)))
        except _Timeout as error:
            log.info("an HL7 connection was closed", extra=fields(address=self.address, error=str(error)))
        except (OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
            log.info("an HL7 connection ended", extra=fields(address=self.address, error=text))
        except Exception:
            log.exception("an HL7 connection could not be served", extra=fields(address=self.address))
        finally:
            self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def wake(self) -> None:
        """End it if nothing is going on."""
        self.stopping = True
        if self.resting_since is not None:
            self.interrupt()

    def interrupt(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _secure(self) -> PeerCertificate | None:
        if not isinstance(self.socket, ssl.SSLSocket):
            return None
        self.socket.settimeout(self._settings.message_timeout)
        self.socket.do_handshake()
        der = self.socket.getpeercert(binary_form=True)
        return read_peer_certificate(der, self.socket.getpeercert() or {}) if der else None

    def _serve(self, line: Line) -> None:
        framer = Framer(self._settings.maximum_message_bytes)
        began = 0.0
        while not self.stopping:
            try:
                message = framer.take()
            except TooLong as error:
                self._answer(self._desk.too_long(error.head))
                raise
            if message is not None:
                self.resting_since = None
                with correlated():
                    for answer in self._desk.take(line, message):
                        self._answer(answer)
                self.resting_since = time.monotonic()
                began = 0.0
                continue
            if framer.inside:
                began = began or time.monotonic()
                self.resting_since = None
                limit = began + self._settings.message_timeout + framer.pending / _SLOWEST
                left, why = limit - time.monotonic(), "a message did not come to its end in time"
            else:
                left, why = self._settings.idle_timeout, "nothing came for long"
            data = self._receive(left, why)
            if not data:
                if framer.inside:
                    log.info("an HL7 message was broken off", extra=fields(address=self.address, size=framer.pending))
                return
            framer.feed(data)

    def _receive(self, seconds: float, why: str) -> bytes:
        if seconds <= 0:
            raise _Timeout(why)
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(_AT_ONCE)
        except TimeoutError:
            raise _Timeout(why) from None

    def _answer(self, answer: bytes) -> None:
        self.socket.settimeout(self._settings.message_timeout)
        try:
            self.socket.sendall(framed(answer))
        except TimeoutError:
            raise _Timeout("an answer was not taken in time") from None


class Listener:
    """The listening sockets and their connections."""

    def __init__(self, settings: HL7Settings, desk: Desk) -> None:
        """Raises `ValueError` when a file of the settings cannot be used."""
        self._settings = settings
        self._desk = desk
        self._credentials = credentials(settings.tls) if settings.tls.listens else None
        self._plain: socket.socket | None = None
        self._secured: socket.socket | None = None
        self._acceptors: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, Connection] = {}
        self._stopping = False

    @property
    def port(self) -> int:
        """The port listened on without TLS, also when the settings left the choice to the system."""
        assert self._plain is not None
        return int(self._plain.getsockname()[1])

    @property
    def tls_port(self) -> int:
        assert self._secured is not None
        return int(self._secured.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._running)

    def start(self) -> None:
        """Bind and listen. Raises `OSError` when a port cannot be had."""
        settings = self._settings
        if settings.plain:
            self._plain = listen(settings.host, settings.port)
        try:
            if settings.tls.listens:
                self._secured = listen(settings.host, settings.tls.port)
        except OSError:
            self._close()
            raise
        for sock in self._sockets():
            thread = threading.Thread(target=self._accept, args=(sock,), name="HL7 acceptor", daemon=True)
            self._acceptors.append(thread)
            thread.start()
        log.info(
            "HL7 service listens",
            extra=fields(
                host=settings.host,
                port=self.port if self._plain else None,
                tls_port=self.tls_port if self._secured else None,
            ),
        )

    def stop(self) -> None:
        """Take no more, and let messages that came be answered within the grace time."""
        self._stopping = True
        self._close()
        for acceptor in self._acceptors:
            acceptor.join()
        deadline = time.monotonic() + GRACE
        while (left := deadline - time.monotonic()) > 0:
            with self._lock:
                running = dict(self._running)
            if not running:
                return
            for connection in running.values():
                connection.wake()
            next(iter(running)).join(min(left, 0.2))
        with self._lock:
            rest = list(self._running.values())
        for connection in rest:
            connection.interrupt()

    def _sockets(self) -> list[socket.socket]:
        return [sock for sock in (self._plain, self._secured) if sock is not None]

    def _close(self) -> None:
        for sock in self._sockets():
            # Wakes the acceptor, which a mere close would not.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping:
            try:
                sock, given = listener.accept()
            except OSError as error:
                if self._stopping:
                    return
                # Out of file descriptors, or the peer was gone already: the service must go on listening.
                log.error("a connection could not be accepted", extra=fields(error=str(error)))
                time.sleep(0.1)
                continue
            address = plain_address(str(given[0]))
            try:
                self._begin(sock, address, secured=listener is self._secured)
            except (OSError, RuntimeError, ValueError) as error:
                log.warning("an HL7 connection could not be begun", extra=fields(address=address, error=str(error)))
                sock.close()

    def _begin(self, sock: socket.socket, address: str, *, secured: bool) -> None:
        if not self._make_room(address):
            log.warning("an HL7 connection over the limit was closed", extra=fields(address=address))
            sock.close()
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if secured:
            assert self._credentials is not None
            # Hands are shaken in the thread of the connection: a peer that takes its time holds up nobody.
            sock = self._credentials.server().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        connection = Connection(sock, address, self._settings, self._desk)
        thread = threading.Thread(target=self._run, args=(connection,), name=f"HL7 {address}", daemon=True)
        with self._lock:
            self._running[thread] = connection
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                del self._running[thread]
            raise

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                self._running.pop(threading.current_thread(), None)

    def _make_room(self, address: str) -> bool:
        """Whether there is a place. Who rests for the longest has to give way, of the same address first."""
        settings = self._settings
        with self._lock:
            running = list(self._running.items())
        mine = [each for each in running if each[1].address == address]
        if len(mine) >= settings.maximum_connections_of_address:
            candidates = mine
        elif len(running) >= settings.maximum_connections:
            [(busiest, _)] = Counter(connection.address for _, connection in running).most_common(1)
            candidates = [each for each in running if each[1].address == busiest]
        else:
            return True
        now = time.monotonic()
        resting = [
            (connection.resting_since, thread, connection)
            for thread, connection in candidates
            if connection.resting_since is not None and now - connection.resting_since > _SPARED
        ]
        if not resting:
            return False
        _, thread, connection = min(resting, key=lambda each: each[0] or 0)
        connection.interrupt()
        thread.join(0.5)
        return not thread.is_alive()
