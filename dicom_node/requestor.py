"""Associations that the node starts, to send objects to a destination (PS3.8 7.1, 9.2).

Every wait has a limit: for the connection and the answer to the request ``artim_timeout``, for the peer to take our
bytes ``write_timeout``, for its next byte ``idle_timeout``. A dead destination cannot hold a thread.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Container, Sequence
from typing import Any, Final, Self

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from config.node import NodeSettings
from config.peers import Peer
from config.tls import credentials
from dicom_node import wire
from dicom_node.exchange import Agreement, Exchange
from dicom_node.negotiation import DICOM_APPLICATION_CONTEXT, Context, user_information
from dicom_node.request_items import understandable
from dicom_node.secure_wire import HandshakeFailed, SecureWire
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError, Wire

MOST_CONTEXTS: Final = 128
"""PS3.8 9.3.2.2: identifiers are odd and of one byte."""
_MAXIMUM_LENGTH: Final = 16 * 1024
_CAPACITY: Final = 128 * 1024
_ASSOCIATE_AC: Final = 0x02
_ASSOCIATE_RJ: Final = 0x03
_RELEASE_RQ: Final = struct.pack(">BxII", wire.RELEASE_RQ, 4, 0)

Proposal = tuple[str, Sequence[str]]
"""An abstract syntax and transfer syntaxes for it."""


_REASONS: Final = {
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Of an A-ASSOCIATE-RJ by source and reason (PS3.8 Table 9-21)."""


class Refused(Exception):
    """The destination cannot be reached, or does not want the association. Its cause says at which step it failed."""


class Rejected(PeerGone):
    """The destination answered with an A-ASSOCIATE-RJ."""

    def __init__(self, pdu: bytes) -> None:
        _, self.source, self.reason = pdu[7:10]
        told = _REASONS.get((self.source, self.reason), "no reason given")
        super().__init__(f"the association was rejected: {told}")


class Outgoing:
    """An association that we started. Close it by `release` or `abort`."""

    def __init__(self, connection: Wire, exchange: Exchange) -> None:
        self._wire = connection
        self.exchange = exchange

    @classmethod
    def open(
        cls,
        destination: Peer,
        settings: NodeSettings,
        proposals: Sequence[Proposal],
        *,
        as_scp: Container[str] = (),
    ) -> Self:
        """Associate with a peer, in the role of an SCP for the abstract syntaxes `as_scp`. Raises `Refused`.

        `Context.peer_is_scu` tells whether it accepted that role (PS3.7 D.3.3.4); not every device says so.
        """
        deadline = time.monotonic() + settings.artim_timeout
        connection = _connect(destination, settings)
        try:
            connection.secure(deadline)
            _check_certificate(destination, connection)
            connection.send(_request(destination.ae_title, settings.ae_title, proposals, as_scp))
            answer = connection.first_pdu(deadline, _check_answer)
            if answer[0] == _ASSOCIATE_RJ:
                raise Rejected(answer)
            agreement = _agreement(answer, proposals, as_scp)
            connection.set_read_timeout(destination.limits.idle_timeout or settings.idle_timeout)
        except (PeerGone, PeerSilent, ProtocolError) as error:
            connection.close()
            raise Refused(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, Exchange(connection, agreement, takes_requests=True))

    def be_patient(self, seconds: float) -> None:
        """Wait no longer than this for the next byte of the peer."""
        self._wire.set_read_timeout(max(seconds, 0.001))

    def release(self, patience: float) -> None:
        """End the association in good order, or at any rate."""
        try:
            self._wire.send(_RELEASE_RQ)
            self._wire.set_read_timeout(patience)
            # The A-RELEASE-RP: whatever comes instead, there is nothing left to save.
            self._wire.fill()
        except (PeerGone, PeerSilent):
            pass
        finally:
            self._wire.close()

    def interrupt(self) -> None:
        """Break the connection from another thread: whoever waits for the peer gets `PeerGone` at once."""
        self._wire.interrupt(socket.SHUT_RDWR)

    def abort(self) -> None:
        """End the association at once."""
        try:
            self._wire.send(wire.abort_pdu(wire.SERVICE_USER, wire.NOT_SPECIFIED))
        except PeerGone:
            pass
        finally:
            self._wire.close()


def _connect(destination: Peer, settings: NodeSettings) -> Wire:
    """A connection; over TLS where the destination wants it, not yet shaken hands on. Raises `Refused`."""
    timeouts = {
        "read_timeout": settings.artim_timeout,
        "write_timeout": destination.limits.write_timeout or settings.write_timeout,
        "minimum_rate": settings.minimum_rate,
    }
    try:
        context = credentials(settings.tls).client() if destination.tls else None
        raw = socket.create_connection((destination.host, destination.port or 0), settings.artim_timeout)
        if context is None:
            return Wire(raw, _CAPACITY, **timeouts)
        name = destination.tls_name or destination.host
        with raw:  # left empty by what wraps it
            secured = context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        return SecureWire(secured, _CAPACITY, **timeouts)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot connect: {getattr(error, 'strerror', None) or error}") from error


def _check_certificate(destination: Peer, connection: Wire) -> None:
    """Beside the authority and the name: the certificate is one of the destination's, if those are known."""
    shown = connection.certificate
    if destination.certificates and (shown is None or not shown.is_one_of(destination.certificates)):
        raise HandshakeFailed("the destination has another certificate than those of `certificates`")


def _request(called: str, calling: str, proposals: Sequence[Proposal], as_scp: Container[str]) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = DICOM_APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    contexts = []
    for number, (abstract_syntax, syntaxes) in enumerate(proposals[:MOST_CONTEXTS]):
        context = PresentationContext()
        context.context_id, context.abstract_syntax = 2 * number + 1, abstract_syntax
        for syntax in syntaxes:
            context.add_transfer_syntax(syntax)
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    roles = [_scp_role(uid) for uid in dict.fromkeys(each[0] for each in proposals) if uid in as_scp]
    primitive.user_information = [*user_information(_MAXIMUM_LENGTH), *roles]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def _scp_role(abstract_syntax: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = abstract_syntax, False, True
    return role


def _check_answer(kind: int, length: int) -> None:
    if kind == _ASSOCIATE_RJ and length == 4:
        return
    if kind == wire.ABORT:
        raise PeerGone("aborted by the peer")
    if kind != _ASSOCIATE_AC or length > _CAPACITY - 6:
        raise ProtocolError(wire.UNEXPECTED_PDU, f"PDU type {kind:#04x} of {length} bytes")


def _agreement(pdu: bytes, proposals: Sequence[Proposal], as_scp: Container[str]) -> Agreement:
    """What the destination accepted, as far as we had proposed it."""
    try:
        decoded = A_ASSOCIATE_AC()
        decoded.decode(understandable(pdu))
        primitive: Any = decoded.to_primitive()
        contexts = {}
        agreed = {
            str(item.sop_class_uid)
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.scp_role
        }
        for result in primitive.presentation_context_definition_results_list:
            number, odd = divmod(int(result.context_id), 2)
            if result.result == 0 and odd and number < len(proposals):
                abstract_syntax, syntaxes = proposals[number]
                if (syntax := str(result.transfer_syntax[0])) in syntaxes:
                    contexts[int(result.context_id)] = Context(
                        abstract_syntax,
                        syntax,
                        peer_is_scp=abstract_syntax not in as_scp,
                        peer_is_scu=abstract_syntax in agreed,
                        id=int(result.context_id),
                    )
        return Agreement(contexts, _MAXIMUM_LENGTH, int(primitive.maximum_length_received or 0))
    except Exception as error:
        # pynetdicom raises whatever its converters meet in malformed items.
        raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"malformed A-ASSOCIATE-AC: {type(error).__name__}") from error
