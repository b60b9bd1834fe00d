"""C-GET and C-MOVE: the retrieve services (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from archive.core import Archive
from archive.errors import ArchiveError, NotPermitted
from archive.records import StoredInstance
from config.logs import fields
from config.peers import Peer
from dicom_node.commands import C_MOVE_RQ, MOVE_DESTINATION, Command, response
from dicom_node.exchange import Exchange
from dicom_node.handlers.asked import Asked
from dicom_node.identifier import encode_identifier
from dicom_node.models import GET, MOVE
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Dialogue, Operation
from dicom_node.selection import select
from dicom_node.status import (
    CANCEL,
    PENDING,
    SOME_SUBOPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_PERFORM,
    UnknownDestination,
    c_retrieve_status,
)
from dicom_node.suboperations import Counts, Destination, Receiver, SameAssociation

log = logging.getLogger(__name__)

_FAILED_SOP_INSTANCE_UID_LIST: Final = "00080058"


class RetrieveService:
    """Makes a `Retrieve` for each C-GET-RQ or C-MOVE-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return Retrieve(self._archive, command, context, caller)


class Retrieve(Asked):
    """One C-GET-RQ or C-MOVE-RQ, its sub-operations and its responses."""

    def finish(self) -> bytes | Dialogue:
        try:
            if not self._caller.peer.may("move"):
                raise NotPermitted("this AE title may not retrieve")
            destination = self._destination() if self._command.field == C_MOVE_RQ else None
            instances = self._instances()
        except Exception as error:
            return self._failure(error)

        def answer(exchange: Exchange) -> None:
            self._answer(exchange, instances, self._receiver(exchange, destination, instances))

        return answer

    def _destination(self) -> Peer:
        """The peer that the objects are to go to: a listed one with a place to send to."""
        peer = self._archive.peers.named(self._command.text(MOVE_DESTINATION))
        if peer is None or not peer.host:
            raise UnknownDestination("the move destination is not known")
        return peer

    def _instances(self) -> list[StoredInstance]:
        identifier = self._identifier()
        model = (MOVE | GET)[self._context.abstract_syntax]
        return select(
            self._archive, model, identifier.keys, relational=self._context.relational, scope=self._caller.scope
        )

    def _receiver(self, exchange: Exchange, destination: Peer | None, instances: Sequence[StoredInstance]) -> Receiver:
        if destination is None:
            return SameAssociation(self._archive, exchange)
        receiver = Destination(self._archive, destination, instances, self._command)
        receiver.originated_by(self._caller.calling_ae_title)
        return receiver

    def _answer(self, exchange: Exchange, instances: Sequence[StoredInstance], receiver: Receiver) -> None:
        """Do the sub-operations, with a pending response after each, then send the final response."""
        counts = Counts(len(instances))
        status = None
        whole = False
        try:
            for inst in instances:
                if exchange.poll():
                    status = CANCEL
                    break
                counts.count(receiver.send(inst), inst.sop_instance_uid)
                if counts.remaining:
                    numbers = counts.elements(remaining=True)
                    exchange.respond(exchange.context_id, response(self._command, PENDING, counts=numbers))
            whole = True
        finally:
            receiver.close(abort=not whole)
        self._finish(exchange, counts, _final(counts) if status is None else status)

    def _finish(self, exchange: Exchange, counts: Counts, status: int) -> None:
        numbers = counts.elements(remaining=status == CANCEL)
        data = None
        if counts.failed:
            # PS3.4 C.4.2.1.4.2: in every final response that is no success.
            failed = {_FAILED_SOP_INSTANCE_UID_LIST: {"vr": "UI", "Value": counts.failed}}
            data = encode_identifier(failed, self._context.transfer_syntax)
        final = response(self._command, status, with_data_set=data is not None, counts=numbers)
        exchange.respond(exchange.context_id, final, data)
        log.info(
            "retrieval answered",
            extra=fields(
                status=f"{status:04X}",
                completed=counts.completed,
                failed=len(counts.failed),
                warning=counts.warning,
                calling=self._caller.calling_ae_title,
            ),
        )

    def _failure(self, error: BaseException) -> bytes:
        status, comment = c_retrieve_status(error)
        facts = fields(status=f"{status:04X}", error=type(error).__name__, calling=self._caller.calling_ae_title)
        if isinstance(error, ArchiveError):
            log.warning("retrieval refused", extra=facts)
        else:
            log.error("retrieval refused", extra=facts, exc_info=error)
        return response(self._command, status, comment)


def _final(counts: Counts) -> int:
    """PS3.4 Table C.4-2, C.4-3."""
    if counts.failed and not counts.completed and not counts.warning:
        return UNABLE_TO_PERFORM
    return SOME_SUBOPERATIONS_FAILED if counts.failed or counts.warning else SUCCESS
