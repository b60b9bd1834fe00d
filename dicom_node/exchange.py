"""Messages within an operation that has several: pending responses, sub-operations, C-CANCEL (PS3.7 8.1, 9.3).

The receive loop of `dicom_node.association` hands the connection over for as long as such an operation lasts. Until
then nothing of this costs anything, so the receipt of objects stays as it is.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node import wire
from dicom_node.commands import (
    C_CANCEL_RQ,
    LONGEST_COMMAND,
    MESSAGE_ID_BEING_RESPONDED_TO,
    N_EVENT_REPORT_RQ,
    RESPONSE,
    STATUS,
    BadCommand,
    Command,
    decode_command,
)
from dicom_node.events import Outbox
from dicom_node.negotiation import Context
from dicom_node.wire import PeerGone, PeerSilent, ProtocolError, Wire

LONGEST_DATASET = 8 << 20
"""Bytes of the dataset of a message within an operation: an N-EVENT-REPORT about tens of thousands of instances."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends agreed on when they associated, as far as messages need it."""

    contexts: Mapping[int, Context]
    maximum_length: int
    """Largest P-DATA-TF variable field that we take."""
    peer_maximum_length: int
    """The same of the peer; 0 means no limit (PS3.8 D.1.1)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the peer: a response, or on an association that we opened a request such as N-EVENT-REPORT."""

    context_id: int
    command: Command
    dataset: bytes = b""


class Exchange:
    """The connection while one operation has it. Methods raise `PeerGone`, `PeerSilent`, `ProtocolError`."""

    def __init__(
        self,
        connection: Wire,
        agreement: Agreement,
        context_id: int = 0,
        message_id: int = 0,
        command_bytes: bytearray | None = None,
        *,
        takes_requests: bool = False,
        outbox: Outbox | None = None,
    ) -> None:
        self.agreement = agreement
        self.context_id = context_id
        """The presentation context of the operation, on which its responses are due (PS3.7 8.1)."""
        self.cancelled = False
        """The peer asked to cancel the operation, as far as was read."""
        self._wire = connection
        self._message_id = message_id
        self._command_bytes = bytearray() if command_bytes is None else command_bytes
        self._takes_requests = takes_requests
        self._outbox = outbox
        """Of the association: the answer to an event that was sent before the operation may come within it."""
        self._arrived: deque[Message] = deque()
        self._requests: deque[Message] = deque()
        self._unfinished: Message | None = None
        """A message whose dataset is being received."""
        self._dataset = bytearray()

    def respond(self, context_id: int, command: bytes, dataset: bytes | None = None) -> None:
        """Send one response, with its dataset if it has one, in one write."""
        length = self.agreement.peer_maximum_length
        message = wire.command_pdus(context_id, command, length)
        if dataset is not None:
            message += b"".join(wire.data_pdus(context_id, (dataset,), length))
        self._wire.send(message)

    def request(
        self, context_id: int, message_id: int, command: bytes, dataset: Iterable[bytes] | None = None
    ) -> Message:
        """Send a request with its dataset, if it has one, piece by piece; give the response to it."""
        length = self.agreement.peer_maximum_length
        self._wire.send(wire.command_pdus(context_id, command, length))
        if dataset is not None:
            for pdus in wire.data_pdus(context_id, dataset, length):
                self._wire.send(pdus)
        while not self._arrived:
            self._wire.fill(resting=self._between_messages)
            self._read()
        answer = self._arrived.popleft()
        # On another context it is the answer to nothing, though that context was accepted (PS3.7 8.1).
        if answer.context_id != context_id or answer.command.number(MESSAGE_ID_BEING_RESPONDED_TO) != message_id:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a response to something else than was asked")
        return answer

    def wait(self, descriptor: int) -> None:
        """Wait until the peer sent something or `descriptor` is readable, however long that takes."""
        waiting = True
        while waiting:
            # The peer owes nothing while we work for it: its silence means nothing.
            with contextlib.suppress(PeerSilent):
                self._wire.await_either(descriptor)
                waiting = False

    def receive(self) -> Message:
        """Wait for the peer to request something, on an association that we opened. The caller must `respond`."""
        while not self._requests:
            self._wire.fill(resting=self._between_messages)
            self._read()
        return self._requests.popleft()

    def poll(self) -> bool:
        """Read what has arrived, without waiting; True if the operation is to be cancelled (PS3.7 9.3.2.3)."""
        self._read()
        while self._wire.fill_if_ready():
            self._read()
        if self._arrived:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a response to nothing that was asked")
        return self.cancelled

    @property
    def _between_messages(self) -> bool:
        return self._unfinished is None and not self._command_bytes

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
        """The presentation data values of one PDU: fragments of messages."""
        connection = self._wire
        while at < stop:
            size, context_id, control = (
                wire.PDV_HEADER.unpack_from(connection.buffer, at) if stop - at >= 6 else (0, 0, 0)
            )
            begin, at = at + 6, at + 4 + size
            if size < 2 or at > stop:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, f"a PDV of {size} bytes does not fit its PDU")
            if context_id not in self.agreement.contexts:
                raise ProtocolError(wire.UNEXPECTED_PDU, f"presentation context {context_id} was not accepted")
            fragment, last = connection.view[begin:at], bool(control & wire.LAST_FRAGMENT)
            if control & wire.COMMAND_FRAGMENT:
                self._command_fragment(context_id, fragment, last=last)
            else:
                self._data_fragment(context_id, fragment, last=last)

    def _command_fragment(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if self._unfinished is not None:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a command within the dataset of another")
        self._command_bytes += fragment
        if len(self._command_bytes) > LONGEST_COMMAND:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, "the command set is too long")
        if last:
            try:
                command = decode_command(self._command_bytes)
            except BadCommand as error:
                raise ProtocolError(wire.INVALID_PDU_PARAMETER, str(error)) from None
            self._command_bytes.clear()
            self._take(Message(context_id, command))

    def _data_fragment(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        begun = self._unfinished
        if begun is None or begun.context_id != context_id:
            raise ProtocolError(wire.UNEXPECTED_PDU, "a dataset in the middle of an operation")
        self._dataset += fragment
        if len(self._dataset) > LONGEST_DATASET:
            raise ProtocolError(wire.INVALID_PDU_PARAMETER, "the dataset of a message is too long")
        if last:
            self._unfinished = None
            self._keep(Message(context_id, begun.command, bytes(self._dataset)))
            self._dataset.clear()

    def _take(self, message: Message) -> None:
        """A command set is whole."""
        command = message.command
        if command.field == C_CANCEL_RQ:
            # One that names another operation comes too late for that one, and means nothing to this.
            self.cancelled |= command.number(MESSAGE_ID_BEING_RESPONDED_TO) == self._message_id
        elif not (command.field & RESPONSE or self._takes_requests):
            # PS3.7 D.3.3.3: without an asynchronous operations window there is one operation at a time.
            raise ProtocolError(wire.UNEXPECTED_PDU, "a request in the middle of an operation")
        elif command.has_data_set:
            self._unfinished = message
        else:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        command = message.command
        if command.field == N_EVENT_REPORT_RQ | RESPONSE and self._outbox is not None:
            self._outbox.answered(command.number(MESSAGE_ID_BEING_RESPONDED_TO), command.number(STATUS))
        else:
            (self._arrived if command.field & RESPONSE else self._requests).append(message)
