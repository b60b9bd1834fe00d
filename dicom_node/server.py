"""Listens for associations and gives each a thread (PS3.8 9.1).

One thread per association, blocking: the operating system does the waiting, an idle association costs a stack and no
time, and a slow or dead peer can only hold up itself.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import Counter

from config.logs import correlated, fields
from config.node import NodeSettings
from config.peers import PeerBook, plain_address
from config.sockets import BACKLOG
from config.tls import credentials
from dicom_node.admission import Admission, Told
from dicom_node.association import Association
from dicom_node.front import Front
from dicom_node.operation import Greet, Service
from dicom_node.places import Places
from dicom_node.secure_wire import SecureWire
from dicom_node.wire import Wire

log = logging.getLogger(__name__)

ROOM_BESIDE_PDU = 256 * 1024
"""Bytes of receive buffer beyond one PDU of the largest size: what one receive can take in one go."""
LEAST_ROOM = 64
"""Connections beside the associations (before the request, being rejected, closing) that there may be at any rate; more
where more associations are allowed, so that all peers may call at the same moment."""
POLITENESS = 0.005
"""Seconds that a process with more connections than another leaves a new one to that."""
BETWEEN_TELLINGS = 10.0
"""Seconds between two log lines about a flood."""


class DicomServer:
    """The node's listening sockets and their associations."""

    def __init__(
        self,
        settings: NodeSettings,
        peers: PeerBook,
        services: dict[int, Service],
        greet: Greet | None = None,
        rejected: Told | None = None,
        front: Front | None = None,
    ) -> None:
        """Without `front`, this process is the whole node, and takes its ports at `start`.

        Raises `ValueError` when a file of the settings cannot be used.
        """
        self._settings = settings
        self._services = services
        self._front = front
        places = (
            Places(settings.maximum_associations) if front is None else front.make_places(settings.maximum_associations)
        )
        self._admission = Admission(settings, peers, places, rejected)
        self._credentials = credentials(settings.tls) if settings.tls.listens else None
        self._peers = peers
        self._room = max(LEAST_ROOM, settings.maximum_associations)
        self._acceptors: list[threading.Thread] = []
        self._end_of_acceptors = -1, -1
        self._greet = greet
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, tuple[Association, Wire]] = {}
        self._stopping = False
        self._eviction_told = float("-inf")

    @property
    def port(self) -> int:
        """The port listened on without TLS, also when the settings left the choice to the system."""
        assert self._front is not None
        assert self._front.plain is not None
        return int(self._front.plain.getsockname()[1])

    @property
    def tls_port(self) -> int:
        """The port listened on for TLS."""
        assert self._front is not None
        assert self._front.secured is not None
        return int(self._front.secured.getsockname()[1])

    @property
    def associations(self) -> int:
        """How many connections are open: associations, and what is about to become one or was one."""
        with self._lock:
            return len(self._running)

    def start(self) -> None:
        """Bind and listen. Raises `OSError` when a port cannot be had."""
        front = self._front = self._front or Front.open(self._settings)
        self._end_of_acceptors = os.pipe()
        for listener in front.sockets:
            listener.listen(BACKLOG)
            # Another process may be quicker to take a connection that both were told of.
            listener.setblocking(False)
        front.board.tell(front.number, 0)
        for listener in front.sockets:
            thread = threading.Thread(target=self._accept, args=(front, listener), name="acceptor", daemon=True)
            self._acceptors.append(thread)
            thread.start()
        log.info(
            "DICOM node listens",
            extra=fields(
                host=self._settings.host,
                port=self.port if front.plain else None,
                tls_port=self.tls_port if front.secured else None,
                ae_title=self._settings.ae_title,
                process=front.number,
            ),
        )

    def stop(self) -> None:
        """Stop listening, let running transfers finish within the grace time, then close what is left."""
        self._stopping = self._admission.stopping = True
        self._stop_accepting()
        deadline = time.monotonic() + self._settings.shutdown_grace
        self._wake_idle()
        self._join_until(deadline)
        with self._lock:
            left = list(self._running.values())
        for association, connection in left:
            log.warning("association cut off at shutdown", extra=fields(busy=association.busy))
            connection.interrupt(socket.SHUT_RDWR)
        # A thread may be in the middle of making an object durable: that is worth waiting for.
        self._join_until(time.monotonic() + 30)

    def _stop_accepting(self) -> None:
        wake, told = self._end_of_acceptors
        if self._front is None or told < 0:
            return
        self._front.board.leave(self._front.number)
        os.close(told)  # wakes them; the sockets may be other processes' as well, and are only let go of
        for acceptor in self._acceptors:
            acceptor.join()
        os.close(wake)
        self._end_of_acceptors = -1, -1
        self._front.close()

    def _wake_idle(self) -> None:
        """End associations that wait for a message; those in the middle of one see `stopping` when it is done."""
        with self._lock:
            running = list(self._running.values())
        for association, connection in running:
            association.stopping = True
            if not association.busy:
                connection.interrupt(socket.SHUT_RD)

    def _join_until(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            with self._lock:
                thread = next(iter(self._running), None)
            if thread is None:
                return
            thread.join(min(left, 0.5))
            self._wake_idle()

    def _accept(self, front: Front, listener: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._end_of_acceptors[0], select.POLLHUP)
        while not self._stopping:
            poll.poll()
            if front.board.is_busiest(front.number):
                time.sleep(POLITENESS)  # in which the other takes it, unless it is busier than it looks
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if self._stopping:
                    return
                # Out of file descriptors, or the peer was gone already: the node must go on listening.
                log.error("a connection could not be accepted", extra=fields(error=str(error)))
                time.sleep(0.1)
                continue
            try:
                self._begin(connection, plain_address(str(address[0])), secured=listener is front.secured)
            except OSError as error:
                log.info("a connection was gone at once", extra=fields(address=str(address[0]), error=str(error)))
                connection.close()
            except Exception:
                log.exception("a connection could not be served", extra=fields(address=str(address[0])))
                connection.close()

    def _begin(self, connection: socket.socket, address: str, *, secured: bool) -> None:
        settings = self._settings
        self._evict()
        if self.associations >= settings.maximum_associations + 2 * self._room:
            log.warning("a connection over the limit was closed", extra=fields(address=address))
            connection.close()
            return
        wire = self._wire(connection, secured=secured)
        association = Association(wire, address, settings, self._admission, self._services, self._greet)
        thread = threading.Thread(target=self._run, args=(association,), name=f"association {address}", daemon=True)
        with self._lock:
            self._running[thread] = (association, wire)
            self._tell()
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: the connection is refused, and must not count.
            with self._lock:
                del self._running[thread]
                self._tell()
            wire.close()
            raise

    def _wire(self, connection: socket.socket, *, secured: bool) -> Wire:
        limits = {
            "read_timeout": self._settings.artim_timeout,
            "write_timeout": self._settings.write_timeout,
            "minimum_rate": self._settings.minimum_rate,
        }
        # Who calls is not known yet: room for what any peer may be offered.
        own = (peer.limits.maximum_pdu_length or 0 for peer in self._peers.listed)
        capacity = max(self._settings.maximum_pdu_length, *own, 0) + 6 + ROOM_BESIDE_PDU
        if not secured:
            return Wire(connection, capacity, **limits)
        assert self._credentials is not None
        context = self._credentials.server()
        # Hands are shaken in the thread of the association: a peer that takes its time holds up nobody.
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return SecureWire(wrapped, capacity, **limits)

    def _evict(self) -> None:
        """Keep connections without association few: over the limit, the oldest of the busiest address must go.

        Who opens connections and says nothing thus takes places from himself. Who means it has long asked by then.
        """
        with self._lock:
            idle = [(thread, *each) for thread, each in self._running.items() if not each[0].established]
        if len(idle) < self._room:
            return
        [(busiest, count)] = Counter(association.address for _, association, _ in idle).most_common(1)
        thread, _, wire = next(each for each in idle if each[1].address == busiest)
        wire.interrupt(socket.SHUT_RDWR)
        thread.join(0.2)
        if time.monotonic() - self._eviction_told > BETWEEN_TELLINGS:
            self._eviction_told = time.monotonic()
            log.warning("connections that ask for nothing are closed", extra=fields(address=busiest, count=count))

    def _run(self, association: Association) -> None:
        try:
            with correlated():
                association.run()
        finally:
            with self._lock:
                self._running.pop(threading.current_thread(), None)
                self._tell()

    def _tell(self) -> None:
        if self._front is not None and not self._stopping:
            self._front.board.tell(self._front.number, len(self._running))
