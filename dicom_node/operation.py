"""What a service is: it makes an operation of each request, and the association feeds it (PS3.7 7, 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from archive.core import Archive
from archive.people.caller import Caller as Who
from archive.people.caller import of_peer
from archive.records import Scope
from archive.rejection.causes import View
from config.peers import Peer
from dicom_node.commands import Command, response
from dicom_node.events import Outbox
from dicom_node.exchange import Exchange
from dicom_node.negotiation import Context
from dicom_node.status import UNRECOGNIZED_OPERATION


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an association."""

    peer: Peer
    calling_ae_title: str
    called_ae_title: str
    address: str
    outbox: Outbox
    """Takes what the node has to say to it on this association without being asked."""
    user: str = ""
    """Who uses the peer, as far as that was proved (PS3.7 D.3.3.7)."""

    @property
    def scope(self) -> Scope:
        """What it may see."""
        facilities = None if self.peer.sees == "province" else frozenset({self.peer.facility})
        return Scope(facilities, View(self.peer.view))

    @property
    def copying_scope(self) -> Scope:
        """What it may have copies of."""
        return replace(self.scope, copying=True)

    @property
    def who(self) -> Who:
        """The same for those who do not care by which door it came."""
        return of_peer(self.peer, self.user or self.calling_ae_title, self.address)


Dialogue = Callable[[Exchange], None]
"""Sends the responses of an operation that may have several (PS3.7 9.3.2.1), the last of them final.

It raises nothing but what `Exchange` raises when the association breaks.
"""


class Operation(Protocol):
    """A request being worked on. Its dataset is written to it in pieces; then `finish` gives the response.

    No method raises: what goes wrong becomes the status of the response.
    """

    def write(self, data: memoryview) -> None: ...

    def finish(self) -> bytes | Dialogue:
        """The command set of the one response, or what sends several."""

    def abort(self) -> None:
        """The association ended before the request was whole."""


NOTHING = b""
"""In place of a response: none is due."""

Service = Callable[[Command, Context, Caller], Operation]

Greet = Callable[[Mapping[int, Context], Caller], None]
"""Told of each association when it stands, with its presentation contexts; it may open the outbox. Raises nothing."""


class BySOPClass:
    """A service of which each SOP class has its own, such as C-FIND of Query/Retrieve and of worklists."""

    def __init__(self, *services: tuple[Iterable[str], Service]) -> None:
        self._services: Mapping[str, Service] = {uid: service for uids, service in services for uid in uids}

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        service = self._services.get(context.abstract_syntax)
        return Unrecognized(command) if service is None else service(command, context, caller)


class Collected:
    """The dataset of a request that is worked on as a whole: an identifier (PS3.4 C.4.1.1.3)."""

    def __init__(self, longest: int) -> None:
        self.data = bytearray()
        self.too_long = False
        self._longest = longest

    def write(self, data: memoryview) -> None:
        """Keep more of it; what is too long is read and dropped."""
        if self.too_long or len(self.data) + len(data) > self._longest:
            self.too_long = True
            self.data.clear()
        else:
            self.data += data


class Ignored:
    """A dataset that is read and dropped, and not answered."""

    def write(self, data: memoryview) -> None:
        del data

    def finish(self) -> bytes:
        return NOTHING

    def abort(self) -> None:
        pass


class WholeRequest:
    """A request that is worked on when its dataset is whole. A subclass says what then, in `finish`."""

    longest: ClassVar[int]
    """Most bytes of the dataset that are kept."""

    def __init__(self, archive: Archive, command: Command, context: Context, caller: Caller) -> None:
        self._archive = archive
        self._command = command
        self._context = context
        self._caller = caller
        self._collected = Collected(self.longest)

    def write(self, data: memoryview) -> None:
        self._collected.write(data)

    def abort(self) -> None:
        pass


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
