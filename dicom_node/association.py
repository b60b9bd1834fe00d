"""One association as acceptor: the upper layer state machine of PS3.8 9.2 on a thread of its own.

The receive loop is the hot path of the archive. It reads as much as the socket has into one buffer, closes the gaps
that PDU and PDV headers leave between the data fragments, and hands each stretch of dataset on in one piece. Nothing is
queued, polled or copied twice, and the answer goes out in one write.
"""

from __future__ import annotations

import logging
import time

from config.logs import fields
from config.node import NodeSettings
from dicom_node import wire
from dicom_node.admission import Admission, Admitted, Connection
from dicom_node.commands import (
    C_CANCEL_RQ,
    LONGEST_COMMAND,
    MESSAGE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO,
    N_EVENT_REPORT_RQ,
    RESPONSE,
    STATUS,
    BadCommand,
    Command,
    decode_command,
    encode_command,
)
from dicom_node.events import Outbox
from dicom_node.exchange import Agreement, Exchange
from dicom_node.negotiation import Context, Rejection, Request, accept, receive_request
from dicom_node.operation import NOTHING, Caller, Dialogue, Greet, Ignored, Operation, Service, Unrecognized
from dicom_node.secure_wire import HandshakeFailed
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError, Wire

log = logging.getLogger(__name__)

LONGEST_CONTROL = 4096
"""Bytes of an A-RELEASE-RQ or A-ABORT; they have 10."""
CLOSE_TIMEOUT = 5.0
"""Seconds for the peer to close after the association has ended (ARTIM in Sta13), unless ``artim_timeout`` is less."""


class Association:
    """Runs one association from A-ASSOCIATE-RQ to the close of the connection."""

    def __init__(
        self,
        connection: Wire,
        address: str,
        settings: NodeSettings,
        admission: Admission,
        services: dict[int, Service],
        greet: Greet | None = None,
    ) -> None:
        self._wire = connection
        self.address = address
        self._settings = settings
        self._admission = admission
        self._services = services
        self._admitted: Admitted | None = None
        """Holds a place of the node as long as it is set."""
        self._maximum_length = settings.maximum_pdu_length
        self._greet = greet
        self._contexts: dict[int, Context] = {}
        self._peer_maximum_length = 0
        self._caller: Caller | None = None
        self._command_bytes = bytearray()
        self._context_id = 0
        self._operation: Operation | None = None
        self._message_id = 0
        self._cancelled = False
        self._outbox = Outbox()
        self._dialogue: Dialogue | None = None
        """What is to send responses once the PDU that completed the request is consumed."""
        self._patience = min(CLOSE_TIMEOUT, settings.artim_timeout)
        self._messages = 0
        self.busy = False
        """In the middle of a message: a stop of the node waits for it."""
        self.stopping = False

    @property
    def established(self) -> bool:
        """It was accepted, and is not over: it holds a place."""
        return self._admitted is not None

    def run(self) -> None:
        """Serve the association to its end. Never raises."""
        started = time.monotonic()
        ended = "error"
        try:
            ended = self._run_to_end()
        except Exception:
            log.exception("an association failed", extra=fields(address=self.address))
            self._abort(wire.SERVICE_PROVIDER, wire.NOT_SPECIFIED)
        finally:
            self._release()
        if self._caller is None:
            log.info("connection ended without association", extra=fields(address=self.address, how=ended))
            return
        log.info(
            "association ended",
            extra=fields(
                calling=self._caller.calling_ae_title,
                address=self.address,
                messages=self._messages,
                seconds=round(time.monotonic() - started, 3),
                how=ended,
            ),
        )

    def _run_to_end(self) -> str:
        """Serve, and end what went wrong as PS3.8 9.2.3 says; give the reason of the end."""
        established = False
        try:
            deadline = time.monotonic() + self._settings.artim_timeout
            self._wire.secure(deadline)
            request = receive_request(self._wire, deadline)
            if not self._establish(request):
                return "rejected"
            established = True
            return self._serve()
        except HandshakeFailed as error:
            log.warning("TLS handshake failed", extra=fields(address=self.address, error=str(error)))
            return f"no TLS: {error}"
        except PeerGone as error:
            if not self.stopping:
                return f"connection lost: {error}"
            if established:
                self._abort(wire.SERVICE_USER, wire.NOT_SPECIFIED)
            return "stopped"
        except PeerSilent as error:
            # Before an association there is nothing to abort: the connection is closed (AA-2).
            if established:
                self._abort(wire.SERVICE_PROVIDER, wire.NOT_SPECIFIED)
            return f"timeout: {error}"
        except ProtocolError as error:
            if established:
                self._abort(wire.SERVICE_PROVIDER, error.reason)  # AA-8
            else:
                self._abort(wire.SERVICE_USER, wire.NOT_SPECIFIED)  # AA-1
            return f"protocol error: {error}"

    def _release(self) -> None:
        """Let go of everything, whatever fails."""
        try:
            if self._operation is not None:
                self._operation.abort()
        except Exception:
            log.exception("an operation could not be aborted", extra=fields(address=self.address))
        finally:
            self._wire.close()
            self._outbox.close()
            self._leave()

    def _leave(self) -> None:
        """Give the place back."""
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            self._admission.leave(admitted.peer)

    # -- establishing ----------------------------------------------------------------------------------------------

    def _establish(self, request: Request) -> bool:
        """Answer the request; True if the association stands."""
        connection = Connection(self.address, self._wire.secured, self._wire.certificate)
        decided = self._admission.decide(request, connection)
        if isinstance(decided, Rejection):
            self._wire.send(decided.encode())
            self._wire.await_close(self._patience)
            return False
        self._admitted, peer = decided, decided.peer
        self._maximum_length = peer.limits.maximum_pdu_length or self._settings.maximum_pdu_length
        self._wire.set_write_timeout(peer.limits.write_timeout or self._settings.write_timeout)
        acceptance = accept(request, self._maximum_length, decided.identity_response)
        self._contexts = acceptance.contexts
        self._peer_maximum_length = acceptance.peer_maximum_length
        titles = request.calling_ae_title, request.called_ae_title
        self._caller = Caller(peer, *titles, self.address, self._outbox, decided.user)
        agreed = {"facility": peer.facility, "user": decided.user, "contexts": len(acceptance.contexts)}
        log.info("association accepted", extra=fields(**connection.facts(request), **agreed))
        self._wire.send(acceptance.pdu)
        self._wire.set_read_timeout(peer.limits.idle_timeout or self._settings.idle_timeout)
        if self._greet is not None:
            self._greet(self._contexts, self._caller)
        return True

    # -- data transfer ---------------------------------------------------------------------------------------------

    def _serve(self) -> str:
        """Consume PDUs until the association ends; give the reason."""
        connection = self._wire
        while True:
            ended = self._consume()
            if ended:
                return ended
            if self.stopping and not self.busy:
                self._abort(wire.SERVICE_USER, wire.NOT_SPECIFIED)
                return "stopped"
            if self._outbox.is_open and not self.busy:
                self._report()
            connection.fill(resting=not self.busy)

    def _report(self) -> None:
        """Send what was posted until the peer says something."""
        while self._wire.await_either(self._outbox.wakeup):
            for message_id, event in self._outbox.take():
                command = encode_command({**event.command, MESSAGE_ID: message_id})
                self._wire.send(wire.command_pdus(event.context_id, command, self._peer_maximum_length))
                if event.dataset is not None:
                    pdus = wire.data_pdus(event.context_id, (event.dataset,), self._peer_maximum_length)
                    self._wire.send(b"".join(pdus))

    def _consume(self) -> str | None:
        """Take all whole PDUs from the buffer. Gives the reason when one of them ended the association."""
        connection = self._wire
        buffer, end = connection.buffer, connection.end
        position = connection.start
        largest = self._maximum_length
        while end - position >= 6:
            kind, length = wire.PDU_HEADER.unpack_from(buffer, position)
            if kind != wire.P_DATA_TF:
                if kind in (wire.RELEASE_RQ, wire.ABORT) and end - position < 6 + length <= LONGEST_CONTROL:
                    break
                return self._control(kind, length)
            if length > largest:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"P-DATA-TF of {length} bytes, {largest} were offered")
            if end - position < 6 + length:
                break
            position = self._data_run(position, end, largest)
            if self._dialogue is not None:
                connection.start = position
                self._converse(self._dialogue)
                position, end = connection.start, connection.end
        connection.start = position
        return None

    def _control(self, kind: int, length: int) -> str:
        if kind in (wire.RELEASE_RQ, wire.ABORT) and 6 + length > LONGEST_CONTROL:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"PDU type {kind:#04x} of {length} bytes")
        if kind == wire.RELEASE_RQ:
            if self._operation is not None or self._command_bytes:
                raise ProtocolError(wire.UNEXPECTED_PDU, "A-RELEASE-RQ in the middle of a message")
            # The peer may call again at once, before we have seen it close.
            self._leave()
            self._wire.send(wire.RELEASE_RP)
            self._wire.await_close(self._patience)
            return "released"
        if kind == wire.ABORT:
            return "aborted by the peer"
        # Told by its type alone: what is not expected need not be read to its end.
        reason = wire.UNEXPECTED_PDU if 1 <= kind <= 6 else wire.UNRECOGNIZED_PDU
        raise ProtocolError(reason, f"PDU type {kind:#04x} during data transfer")

    def _data_run(self, position: int, end: int, largest: int) -> int:
        """Take a run of whole P-DATA-TF PDUs; dataset fragments of one message leave it joined.

        They are moved together inside the buffer (`gathered` bytes from `first`), over the headers that stood between
        them, so that a run costs one write whatever the peer's PDU size is.
        """
        buffer, view = self._wire.buffer, self._wire.view
        unpack_pdu, unpack_pdv = wire.PDU_HEADER.unpack_from, wire.PDV_HEADER.unpack_from
        first = gathered = 0
        while end - position >= 6:
            kind, length = unpack_pdu(buffer, position)
            stop = position + 6 + length
            if kind != 4 or stop > end or length > largest:
                break
            at = position + 6
            while at < stop:
                size, context_id, control = unpack_pdv(buffer, at) if stop - at >= 6 else (0, 0, 0)
                begin, at = at + 6, at + 4 + size
                if size < 2 or at > stop:
                    raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"a PDV of {size} bytes does not fit its PDU")
                if control & 1:
                    self._take_command(context_id, control, view[begin:at])
                    continue
                operation = self._operation
                if operation is None or context_id != self._context_id:
                    raise ProtocolError(wire.UNEXPECTED_PDU, "a dataset fragment without its command")
                if not gathered:
                    first = begin
                elif begin != first + gathered:
                    view[first + gathered : first + gathered + at - begin] = view[begin:at]
                gathered += at - begin
                if control & 2:
                    operation.write(view[first : first + gathered])
                    gathered = 0
                    self._finish(operation)
            position = stop
        if gathered and self._operation is not None:
            self._operation.write(view[first : first + gathered])
        return position

    def _take_command(self, context_id: int, control: int, fragment: memoryview) -> None:
        if self._operation is not None or self._dialogue is not None:
            self._command_during_operation(control, fragment)
            return
        if context_id not in self._contexts:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"presentation context {context_id} was not accepted")
        if self._command_bytes and context_id != self._context_id:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, "a command set in fragments of two presentation contexts")
        self.busy = True
        self._context_id = context_id
        command = self._gathered(control, fragment)
        if command is not None:
            self._start(command)

    def _gathered(self, control: int, fragment: memoryview) -> Command | None:
        """The command set that this fragment completes; None if more of it is to come."""
        self._command_bytes += fragment
        if len(self._command_bytes) > LONGEST_COMMAND:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, "the command set is too long")
        if not control & wire.LAST_FRAGMENT:
            return None
        try:
            command = decode_command(self._command_bytes)
        except BadCommand as error:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, str(error)) from None
        self._command_bytes.clear()
        return command

    def _command_during_operation(self, control: int, fragment: memoryview) -> None:
        """Only a C-CANCEL may overtake a message. It counts for an operation that will have several responses.

        The answer to an event is taken as well: a peer that answers from another thread than it sends from
        (pynetdicom) may put it between the fragments of an object.
        """
        command = self._gathered(control, fragment)
        if command is None:
            return
        if command.field == N_EVENT_REPORT_RQ | RESPONSE and not command.has_data_set:
            self._outbox.answered(command.number(MESSAGE_ID_BEING_RESPONDED_TO), command.number(STATUS))
            return
        if command.field != C_CANCEL_RQ:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a command within the dataset of another")
        self._cancelled |= command.number(MESSAGE_ID_BEING_RESPONDED_TO) == self._message_id

    def _start(self, command: Command) -> None:
        """Begin the operation that a command asks for."""
        if command.field == C_CANCEL_RQ:
            # It came after the operation was done: no reply is due.
            self.busy = False
            return
        if command.field & RESPONSE:
            self._take_response(command)
            return
        assert self._caller is not None
        service = self._services.get(command.field)
        context = self._contexts[self._context_id]
        operation = service(command, context, self._caller) if service else Unrecognized(command)
        self._operation = operation
        self._message_id = command.message_id
        self._cancelled = False
        if not command.has_data_set:
            self._finish(operation)

    def _take_response(self, command: Command) -> None:
        """The answer to an event. One to nothing that was asked means nothing."""
        is_event = command.field == N_EVENT_REPORT_RQ | RESPONSE
        if is_event:
            self._outbox.answered(command.number(MESSAGE_ID_BEING_RESPONDED_TO), command.number(STATUS))
        if not command.has_data_set:
            self.busy = False
        elif is_event:
            self._operation = Ignored()  # an Event Reply, of which no service of ours has use (PS3.7 10.1.1.1.8)
        else:
            raise ProtocolError(wire.UNEXPECTED_PDU, f"unexpected response {command.field:#06x}")

    def _finish(self, operation: Operation) -> None:
        self._operation = None
        answer = operation.finish()
        if answer == NOTHING:
            self.busy = False
            return
        self._messages += 1
        if not isinstance(answer, bytes):
            self._dialogue = answer
            return
        self._wire.send(wire.command_pdus(self._context_id, answer, self._peer_maximum_length))
        self.busy = False

    def _converse(self, dialogue: Dialogue) -> None:
        """Give the connection to an operation until it has sent its final response."""
        agreement = Agreement(self._contexts, self._maximum_length, self._peer_maximum_length)
        exchange = Exchange(
            self._wire, agreement, self._context_id, self._message_id, self._command_bytes, outbox=self._outbox
        )
        exchange.cancelled = self._cancelled
        dialogue(exchange)
        self._dialogue = None
        self.busy = False

    # -- ending ----------------------------------------------------------------------------------------------------

    def _abort(self, source: int, reason: int) -> None:
        # Whoever is dead keeps his place no longer than that.
        self._leave()
        self._wire.abort(source, reason, self._patience)
