"""What a service is: it makes an operation of each request, and the association feeds it (PS3.7 7, 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from config.peers import Peer
from dicom_node.commands import Command, response
from dicom_node.negotiation import Context
from dicom_node.status import UNRECOGNIZED_OPERATION


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an association."""

    peer: Peer
    calling_ae_title: str
    called_ae_title: str
    address: str


class Operation(Protocol):
    """A request being worked on. Its dataset is written to it in pieces; then `finish` gives the response.

    No method raises: what goes wrong becomes the status of the response.
    """

    def write(self, data: memoryview) -> None: ...

    def finish(self) -> bytes:
        """The command set of the response."""

    def abort(self) -> None:
        """The association ended before the request was whole."""


Service = Callable[[Command, Context, Caller], Operation]


class Unrecognized:
    """Answers a command that this node does not know (PS3.7 C.5.26); its dataset is read and dropped."""

    def __init__(self, command: Command) -> None:
        self._command = command

    def write(self, data: memoryview) -> None:
        del data

    def finish(self) -> bytes:
        return response(self._command, UNRECOGNIZED_OPERATION)

    def abort(self) -> None:
        pass
