"""Messages within an operation that has several: pending responses, sub-operations, C-CANCEL (PS3.7 8.1, 9.3).

The receive loop of `dicom_node.association` hands the connection over for as long as such an operation lasts. Until
then nothing of this costs anything, so the receipt of objects stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node import wire
from dicom_node.commands import (
    C_CANCEL_RQ,
    LONGEST_COMMAND,
    MESSAGE_ID_BEING_RESPONDED_TO,
    RESPONSE,
    BadCommand,
    Command,
    decode_command,
)
from dicom_node.negotiation import Context
from dicom_node.wire import PeerGone, ProtocolError, Wire


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends agreed on when they associated, as far as messages need it."""

    contexts: Mapping[int, Context]
    maximum_length: int
    """Largest P-DATA-TF variable field that we take."""
    peer_maximum_length: int
    """The same of the peer; 0 means no limit (PS3.8 D.1.1)."""


class Exchange:
    """The connection while one operation has it. Methods raise `PeerGone`, `PeerSilent`, `ProtocolError`."""

    def __init__(
        self,
        connection: Wire,
        agreement: Agreement,
        context_id: int = 0,
        message_id: int = 0,
        command_bytes: bytearray | None = None,
    ) -> None:
        self.agreement = agreement
        self.context_id = context_id
        """The presentation context of the operation, on which its responses are due (PS3.7 8.1)."""
        self.cancelled = False
        """The peer asked to cancel the operation, as far as was read."""
        self._wire = connection
        self._message_id = message_id
        self._command_bytes = bytearray() if command_bytes is None else command_bytes
        self._arrived: deque[Command] = deque()

    def respond(self, context_id: int, command: bytes, dataset: bytes | None = None) -> None:
        """Send one response, with its dataset if it has one, in one write."""
        length = self.agreement.peer_maximum_length
        message = wire.command_pdus(context_id, command, length)
        if dataset is not None:
            message += b"".join(wire.data_pdus(context_id, (dataset,), length))
        self._wire.send(message)

    def request(self, context_id: int, message_id: int, command: bytes, dataset: Iterable[bytes]) -> Command:
        """Send a request of a sub-operation with its dataset, piece by piece; give the response to it."""
        length = self.agreement.peer_maximum_length
        self._wire.send(wire.command_pdus(context_id, command, length))
        for pdus in wire.data_pdus(context_id, dataset, length):
            self._wire.send(pdus)
        while True:
            while self._arrived:
                answer = self._arrived.popleft()
                if answer.number(MESSAGE_ID_BEING_RESPONDED_TO) != message_id or answer.has_data_set:
                    raise ProtocolError(wire.UNEXPECTED_PDU, "a response to something else than was asked")
                return answer
            self._wire.fill()
            self._read()

    def poll(self) -> bool:
        """Read what has arrived, without waiting; True if the operation is to be cancelled (PS3.7 9.3.2.3)."""
        self._read()
        while self._wire.fill_if_ready():
            self._read()
        if self._arrived:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a response to nothing that was asked")
        return self.cancelled

    def _read(self) -> None:
        """Take all whole PDUs from the buffer."""
        connection = self._wire
        while connection.end - connection.start >= 6:
            kind, length = wire.PDU_HEADER.unpack_from(connection.buffer, connection.start)
            if kind == wire.ABORT:
                raise PeerGone("aborted by the peer")
            if kind != wire.P_DATA_TF:
                raise ProtocolError(wire.UNEXPECTED_PDU, f"PDU type {kind:#04x} in the middle of an operation")
            if length > self.agreement.maximum_length:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"P-DATA-TF of {length} bytes")
            stop = connection.start + 6 + length
            if stop > connection.end:
                return
            self._values(connection.start + 6, stop)
            connection.start = stop

    def _values(self, at: int, stop: int) -> None:
        """The presentation data values of one PDU: fragments of commands, nothing else is due now."""
        connection = self._wire
        while at < stop:
            size, context_id, control = (
                wire.PDV_HEADER.unpack_from(connection.buffer, at) if stop - at >= 6 else (0, 0, 0)
            )
            begin, at = at + 6, at + 4 + size
            if size < 2 or at > stop:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"a PDV of {size} bytes does not fit its PDU")
            if not control & wire.COMMAND_FRAGMENT or context_id not in self.agreement.contexts:
                raise ProtocolError(wire.UNEXPECTED_PDU, "a dataset in the middle of an operation")
            self._command_bytes += connection.view[begin:at]
            if len(self._command_bytes) > LONGEST_COMMAND:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, "the command set is too long")
            if control & wire.LAST_FRAGMENT:
                self._take(self._command_bytes)
                self._command_bytes.clear()

    def _take(self, data: bytearray) -> None:
        try:
            command = decode_command(data)
        except BadCommand as error:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, str(error)) from None
        if command.field == C_CANCEL_RQ:
            # One that names another operation comes too late for that one, and means nothing to this.
            self.cancelled |= command.number(MESSAGE_ID_BEING_RESPONDED_TO) == self._message_id
        elif command.field & RESPONSE:
            self._arrived.append(command)
        else:
            # PS3.7 D.3.3.3: without an asynchronous operations window there is one operation at a time.
            raise ProtocolError(wire.UNEXPECTED_PDU, "a request in the middle of an operation")
