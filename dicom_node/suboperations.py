"""C-STORE sub-operations of C-GET and C-MOVE (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive.core import Archive
from archive.errors import ArchiveError, CannotParse, NotAcceptable
from archive.imaging.deliver import choose_syntax, dataset_chunks
from archive.imaging.transcode import TARGETS
from archive.records import StoredInstance
from config.logs import fields
from config.peers import Peer
from dicom_node import commands
from dicom_node.commands import Command, encode_command
from dicom_node.exchange import Exchange
from dicom_node.requestor import Outgoing, Proposal, Refused
from dicom_node.status import is_warning
from dicom_node.wire import NOT_SPECIFIED, PeerGone, PeerSilent, ProtocolError

log = logging.getLogger(__name__)

_MOST: Final = 0xFFFF


class Interrupted(Exception):
    """An object broke off after part of it was sent; the association is of no more use."""


@dataclass(slots=True)
class Counts:
    """What became of the sub-operations (PS3.7 9.3.3.2)."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    """SOP Instance UIDs of those that failed."""

    def count(self, status: int | None, instance: str) -> None:
        """Note the status of a C-STORE response; None for one that was never sent or answered."""
        self.remaining -= 1
        if status == 0:
            self.completed += 1
        elif status is not None and is_warning(status):
            self.warning += 1
        else:
            self.failed.append(instance)

    def elements(self, *, remaining: bool) -> dict[int, int]:
        """Elements of the response; Remaining is only in pending and cancelled ones (PS3.4 C.4.2.1.6)."""
        numbers = {0x1021: self.completed, 0x1022: len(self.failed), 0x1023: self.warning}
        if remaining:
            numbers[0x1020] = self.remaining
        return {element: min(number, _MOST) for element, number in numbers.items()}


class Receiver(Protocol):
    """Where objects go."""

    def send(self, inst: StoredInstance) -> int | None:
        """Send one; give the status of the response, or None if there was none."""

    def close(self, *, abort: bool) -> None: ...


def send_instance(
    archive: Archive, exchange: Exchange, inst: StoredInstance, message_id: int, originator: dict[int, int | str]
) -> int:
    """Send one instance and give the status of the response.

    Raises `ArchiveError` for what cannot be sent, `Interrupted`, and what `Exchange` raises.
    """
    accepted = {
        context.transfer_syntax: context_id
        for context_id, context in exchange.agreement.contexts.items()
        if context.abstract_syntax == inst.sop_class_uid and context.peer_is_scp
    }
    syntax = choose_syntax(inst, accepted)
    if syntax is None:
        raise NotAcceptable("the receiver accepted no transfer syntax that the object can be given in")
    chunks = dataset_chunks(archive.store, inst, syntax, archive.settings.web.maximum_decoded_bytes)
    try:
        first = _first(chunks)
        command: dict[int, int | str] = {
            commands.AFFECTED_SOP_CLASS_UID: inst.sop_class_uid,
            commands.COMMAND_FIELD: commands.C_STORE_RQ,
            commands.MESSAGE_ID: message_id,
            commands.PRIORITY: 0,
            commands.COMMAND_DATA_SET_TYPE: commands.WITH_DATA_SET,
            commands.AFFECTED_SOP_INSTANCE_UID: inst.sop_instance_uid,
            **originator,
        }
        answer = exchange.request(accepted[syntax], message_id, encode_command(command), _whole(first, chunks))
        return answer.command.number(commands.STATUS)
    finally:
        chunks.close()


def _first(chunks: Iterator[bytes]) -> bytes:
    """The first chunk. What a decoder raises, whatever it is, concerns this one object."""
    try:
        return next(chunks, b"")
    except ArchiveError:
        raise
    except Exception as error:
        raise CannotParse(f"the object cannot be read: {type(error).__name__}") from error


def _whole(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    try:
        yield from rest
    except Exception as error:
        raise Interrupted(str(error) if isinstance(error, ArchiveError) else type(error).__name__) from error


class SameAssociation:
    """The requestor of a C-GET itself, in the role of an SCP (PS3.4 C.4.3.2)."""

    def __init__(self, archive: Archive, exchange: Exchange) -> None:
        self._archive = archive
        self._exchange = exchange
        self._sent = 0

    def send(self, inst: StoredInstance) -> int | None:
        self._sent = self._sent % _MOST + 1
        try:
            return send_instance(self._archive, self._exchange, inst, self._sent, {})
        except ArchiveError as error:
            _not_sent(inst, error)
            return None
        except Interrupted as error:
            _not_sent(inst, error)
            # Half a message cannot be taken back.
            raise ProtocolError(NOT_SPECIFIED, "an object broke off half-way") from error

    def close(self, *, abort: bool) -> None:
        """The association belongs to the requestor."""


class Destination:
    """The destination of a C-MOVE, over an association of its own (PS3.4 C.4.2.2).

    An association that breaks while the destination should answer is not tried again: each try could take as long as
    the timeouts allow. One that we had to break off, because the store failed half-way, is.
    """

    def __init__(self, archive: Archive, peer: Peer, instances: Iterable[StoredInstance], originator: Command) -> None:
        self._archive = archive
        self._peer = peer
        self._proposals = proposals(instances)
        self._originator: dict[int, int | str] = {commands.MOVE_ORIGINATOR_MESSAGE_ID: originator.message_id}
        self._association: Outgoing | None = None
        self._lost = False
        self._sent = 0

    def originated_by(self, ae_title: str) -> None:
        """Name the AE that asked for the move, for the destination to see (PS3.7 9.1.1.1.7)."""
        self._originator[commands.MOVE_ORIGINATOR_AE_TITLE] = ae_title

    def send(self, inst: StoredInstance) -> int | None:
        if self._lost:
            return None
        self._sent = self._sent % _MOST + 1
        try:
            if self._association is None:
                self._association = Outgoing.open(self._peer, self._archive.settings.node, self._proposals)
            return send_instance(self._archive, self._association.exchange, inst, self._sent, self._originator)
        except ArchiveError as error:
            _not_sent(inst, error)
        except Interrupted as error:
            _not_sent(inst, error)
            self.close(abort=True)
        except (Refused, PeerGone, PeerSilent, ProtocolError) as error:
            log.warning("move destination lost", extra=fields(destination=self._peer.ae_title, error=str(error)))
            self._lost = True
            self.close(abort=True)
        return None

    def close(self, *, abort: bool) -> None:
        association, self._association = self._association, None
        if association is None:
            return
        if abort:
            association.abort()
        else:
            association.release(self._archive.settings.node.artim_timeout)


def proposals(instances: Iterable[StoredInstance]) -> list[Proposal]:
    """What to propose to a destination: each class decoded, and alone in each syntax that its objects are stored in."""
    kinds = sorted({(inst.sop_class_uid, inst.object.transfer_syntax_uid) for inst in instances})
    decoded: list[Proposal] = [(sop_class, TARGETS) for sop_class in dict.fromkeys(kind[0] for kind in kinds)]
    return decoded + [(sop_class, (syntax,)) for sop_class, syntax in kinds]


def _not_sent(inst: StoredInstance, error: Exception) -> None:
    log.warning("an instance could not be sent", extra=fields(instance=inst.sop_instance_uid, error=str(error)))
