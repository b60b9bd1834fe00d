"""Listens for associations and gives each a thread (PS3.8 9.1).

One thread per association, blocking: the operating system does the waiting, an idle association costs a stack and no
time, and a slow or dead peer can only hold up itself.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

from config.logs import correlated, fields
from config.peers import PeerBook
from config.settings import NodeSettings
from dicom_node.association import Association
from dicom_node.operation import Service
from dicom_node.wire import Wire

log = logging.getLogger(__name__)

ROOM_BESIDE_PDU = 256 * 1024
"""Bytes of receive buffer beyond one PDU of the largest size: what one receive can take in one go."""
MOST_UNESTABLISHED = 64
"""Connections beside the associations allowed: before the request, being rejected, closing. More are closed unread."""


class DicomServer:
    """The node's listening socket and its associations."""

    def __init__(self, settings: NodeSettings, peers: PeerBook, services: dict[int, Service]) -> None:
        self._settings = settings
        self._peers = peers
        self._services = services
        self._socket: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._slots = threading.Semaphore(settings.maximum_associations)
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, tuple[Association, Wire]] = {}
        self._stopping = False

    @property
    def port(self) -> int:
        """The port listened on, also when the settings left the choice to the system."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    @property
    def associations(self) -> int:
        """How many connections are open: associations, and what is about to become one or was one."""
        with self._lock:
            return len(self._running)

    def start(self) -> None:
        """Bind and listen. Raises `OSError` when the port cannot be had."""
        self._socket = socket.create_server((self._settings.host, self._settings.port), backlog=256, reuse_port=False)
        self._acceptor = threading.Thread(target=self._accept, name="acceptor", daemon=True)
        self._acceptor.start()
        log.info(
            "DICOM node listens",
            extra=fields(host=self._settings.host, port=self.port, ae_title=self._settings.ae_title),
        )

    def stop(self) -> None:
        """Stop listening, let running transfers finish within the grace time, then close what is left."""
        self._stopping = True
        if self._socket is not None:
            # Wakes the acceptor, which a mere close would not.
            _quietly(self._socket.shutdown, socket.SHUT_RDWR)
            self._socket.close()
        if self._acceptor is not None:
            self._acceptor.join()
        deadline = time.monotonic() + self._settings.shutdown_grace
        self._wake_idle()
        self._join_until(deadline)
        with self._lock:
            left = list(self._running.values())
        for association, connection in left:
            log.warning("association cut off at shutdown", extra=fields(busy=association.busy))
            _quietly(connection.socket.shutdown, socket.SHUT_RDWR)
        # A thread may be in the middle of making an object durable: that is worth waiting for.
        self._join_until(time.monotonic() + 30)

    def _wake_idle(self) -> None:
        """End associations that wait for a message; those in the middle of one see `stopping` when it is done."""
        with self._lock:
            running = list(self._running.values())
        for association, connection in running:
            association.stopping = True
            if not association.busy:
                _quietly(connection.socket.shutdown, socket.SHUT_RD)

    def _join_until(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            with self._lock:
                thread = next(iter(self._running), None)
            if thread is None:
                return
            thread.join(min(left, 0.5))
            self._wake_idle()

    def _accept(self) -> None:
        assert self._socket is not None
        while not self._stopping:
            try:
                connection, address = self._socket.accept()
            except OSError as error:
                if self._stopping:
                    return
                # Out of file descriptors, or the peer was gone already: the node must go on listening.
                log.error("a connection could not be accepted", extra=fields(error=str(error)))
                time.sleep(0.1)
                continue
            try:
                self._begin(connection, str(address[0]))
            except Exception:
                log.exception("a connection could not be served", extra=fields(address=str(address[0])))
                connection.close()

    def _begin(self, connection: socket.socket, address: str) -> None:
        settings = self._settings
        if self.associations >= settings.maximum_associations + MOST_UNESTABLISHED:
            log.warning("a connection over the limit was closed", extra=fields(address=address))
            connection.close()
            return
        wire = Wire(
            connection,
            settings.maximum_pdu_length + 6 + ROOM_BESIDE_PDU,
            read_timeout=settings.artim_timeout,
            write_timeout=settings.write_timeout,
        )
        association = Association(wire, address, settings, self._peers, self._services, self._slots)
        thread = threading.Thread(target=self._run, args=(association,), name=f"association {address}", daemon=True)
        with self._lock:
            self._running[thread] = (association, wire)
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: the connection is refused, and must not count.
            with self._lock:
                del self._running[thread]
            raise

    def _run(self, association: Association) -> None:
        try:
            with correlated():
                association.run()
        finally:
            with self._lock:
                self._running.pop(threading.current_thread(), None)


def _quietly(close: Callable[..., object], *arguments: object) -> None:
    """Shut a socket down that may be closed already."""
    with contextlib.suppress(OSError):
        close(*arguments)
