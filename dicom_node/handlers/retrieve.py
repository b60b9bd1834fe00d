"""C-GET and C-MOVE: the retrieve services (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from archive.audit.events import Action, AuditEvent, Detail, Outcome
from archive.core import Archive
from archive.errors import ArchiveError, NotPermitted
from archive.records import StoredInstance
from config.logs import fields
from config.peers import Peer
from dicom_node.audited import refused
from dicom_node.commands import (
    C_MOVE_RQ,
    MOVE_DESTINATION,
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    PRIORITY,
    Command,
    response,
)
from dicom_node.exchange import Exchange
from dicom_node.handlers.asked import Asked
from dicom_node.identifier import encode_identifier
from dicom_node.models import GET, MOVE
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Dialogue, Operation
from dicom_node.selection import select
from dicom_node.sender import MEDIUM, PRIORITIES, Sender
from dicom_node.status import (
    CANCEL,
    PENDING,
    SOME_SUBOPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_PERFORM,
    UnknownDestination,
    c_retrieve_status,
)
from dicom_node.suboperations import Counts, OnOtherAssociations, OnSameAssociation, Pace, Suboperations

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
            self._archive.audit.record(self._event(instances, destination))
        except Exception as error:
            return self._failure(error)

        def answer(exchange: Exchange) -> None:
            counts = Counts(len(instances))
            try:
                self._answer(exchange, counts, self._suboperations(exchange, destination, instances))
            finally:
                self._note_end(self._event(instances, destination), counts)

        return answer

    @property
    def _what(self) -> str:
        return "C-MOVE" if self._command.field == C_MOVE_RQ else "C-GET"

    def _event(self, instances: Sequence[StoredInstance], destination: Peer | None) -> AuditEvent:
        """What is on record before the first object leaves."""
        studies = tuple(dict.fromkeys(inst.study_instance_uid for inst in instances))
        detail: dict[str, Detail] = {"what": self._what, "instances": len(instances)}
        if destination is not None:
            detail |= {"destination": destination.ae_title, "destination_facility": destination.facility}
        return AuditEvent(Action.COPY, self._caller.who, studies=studies, detail=detail)

    def _note_end(self, event: AuditEvent, counts: Counts) -> None:
        """How much of it arrived; an association that broke leaves the rest behind."""
        numbers: dict[str, Detail] = {
            "phase": "end",
            "completed": counts.completed + counts.warning,
            "failed": len(counts.failed),
        }
        outcome = Outcome.FAILED if counts.failed or counts.remaining else Outcome.SUCCESS
        try:
            self._archive.audit.record(replace(event, outcome=outcome, detail={**event.detail, **numbers}))
        except ArchiveError as error:
            log.warning("the end of a retrieval is not on record", extra=fields(error=str(error)))

    def _destination(self) -> Peer:
        """The peer that the objects are to go to: a listed one with a place to send to, and one that it may name."""
        peer = self._archive.peers.named(self._command.text(MOVE_DESTINATION))
        if peer is None or not peer.host:
            raise UnknownDestination("the move destination is not known")
        if not self._caller.peer.may_send_to(peer):
            raise NotPermitted("this AE title may not send to that destination")
        return peer

    def _instances(self) -> list[StoredInstance]:
        identifier = self._identifier()
        model = (MOVE | GET)[self._context.abstract_syntax]
        return select(
            self._archive, model, identifier.keys, relational=self._context.relational, scope=self._caller.copying_scope
        )

    def _suboperations(
        self, exchange: Exchange, destination: Peer | None, instances: Sequence[StoredInstance]
    ) -> Suboperations:
        asked = self._command.number(PRIORITY)
        priority = asked if asked in PRIORITIES else MEDIUM
        if destination is None:
            return OnSameAssociation(self._archive, exchange, instances, priority)
        elements: dict[int, int | str] = {
            PRIORITY: priority,
            MOVE_ORIGINATOR_AE_TITLE: self._caller.calling_ae_title,
            MOVE_ORIGINATOR_MESSAGE_ID: self._command.message_id,
        }
        senders = [Sender(self._archive, destination, elements) for _ in range(destination.parallel)]
        return OnOtherAssociations(exchange, instances, senders)

    def _answer(self, exchange: Exchange, counts: Counts, suboperations: Suboperations) -> None:
        """Send pending responses as sub-operations end, then the final one."""
        pace = Pace()
        status = None
        try:
            while counts.remaining and status is None:
                outcome = suboperations.next()
                if outcome is None:
                    status = CANCEL
                    for late in suboperations.stop():
                        counts.count(late)
                    continue
                counts.count(outcome)
                if counts.remaining and pace.due():
                    numbers = counts.elements(remaining=True)
                    exchange.respond(exchange.context_id, response(self._command, PENDING, counts=numbers))
        finally:
            suboperations.close()
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
        refused(self._archive, self._caller.who, Action.COPY, error, self._what)
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
