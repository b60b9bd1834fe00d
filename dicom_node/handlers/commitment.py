"""Storage Commitment Push Model: requests of peers, and their answers to requests of ours (PS3.4 J.3)."""

from __future__ import annotations

import logging

from archive.audit.events import Action, AuditEvent, Detail
from archive.commitment.records import Requester
from archive.core import Archive
from archive.errors import ArchiveError, NotPermitted
from config.logs import fields
from dicom_node.audited import refused
from dicom_node.commands import ACTION_TYPE_ID, Command, response
from dicom_node.commitment.desk import Desk
from dicom_node.commitment.information import LONGEST, REQUEST_STORAGE_COMMITMENT, read_action
from dicom_node.commitment.results import take_result
from dicom_node.commitment.status import NoSuchType, TooMany, check_target, n_action_status
from dicom_node.negotiation import Context
from dicom_node.operation import Caller, Operation, WholeRequest
from dicom_node.status import SUCCESS

log = logging.getLogger(__name__)


class _Told(WholeRequest):
    """A request with a dataset that is worked on as a whole."""

    longest = LONGEST


class RequestService:
    """Makes a `Request` for each N-ACTION-RQ."""

    def __init__(self, archive: Archive, desk: Desk) -> None:
        self._archive = archive
        self._desk = desk

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return Request(self._archive, self._desk, command, context, caller)


class Request(_Told):
    """One N-ACTION-RQ. Success means that the request is durable; its result comes as N-EVENT-REPORT (J.3.2)."""

    def __init__(self, archive: Archive, desk: Desk, command: Command, context: Context, caller: Caller) -> None:
        super().__init__(archive, command, context, caller)
        self._desk = desk

    def finish(self) -> bytes:
        try:
            self._accept()
        except Exception as error:
            return self._failure(error)
        return response(self._command, SUCCESS)

    def _accept(self) -> None:
        """Keep the request. Raises `ArchiveError`."""
        caller, peer = self._caller, self._caller.peer
        if not peer.may("commit"):
            raise NotPermitted("this AE title may not ask for storage commitment")
        check_target(self._command)
        action = self._command.number(ACTION_TYPE_ID)
        if action != REQUEST_STORAGE_COMMITMENT:
            raise NoSuchType(f"no action type {action}")
        if self._collected.too_long:
            raise TooMany("too many instances in one request: send several")
        transaction_uid, references = read_action(bytes(self._collected.data), self._context.transfer_syntax)
        detail: dict[str, Detail] = {"what": "storage commitment", "instances": len(references)}
        self._archive.audit.record(AuditEvent(Action.OPERATE, caller.who, detail=detail))
        requester = Requester(
            ae_title=peer.ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
            facility=peer.facility,
            scope=caller.scope,
        )
        # The result may be there before this method ends.
        here = None
        if peer.commitment != "new" and self._context.peer_is_scu:
            here = self._desk.associations.add(peer.ae_title, caller.outbox, self._context)
        number = self._archive.commitments.requests.accept(requester, transaction_uid, references)
        if here is not None:
            here.asked.add(number)
        log.info(
            "storage commitment requested",
            extra=fields(peer=peer.ae_title, transaction=transaction_uid, instances=len(references), request=number),
        )
        self._desk.wake()

    def _failure(self, error: BaseException) -> bytes:
        refused(self._archive, self._caller.who, Action.OPERATE, error, "storage commitment")
        status, comment = n_action_status(error)
        facts = fields(status=f"{status:04X}", error=comment, calling=self._caller.calling_ae_title)
        if isinstance(error, ArchiveError):
            log.warning("storage commitment refused", extra=facts)
        else:
            log.error("storage commitment refused", extra=facts, exc_info=error)
        return response(self._command, status, comment)


class ResultService:
    """Makes a `TakenResult` for each N-EVENT-REPORT-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, command: Command, context: Context, caller: Caller) -> Operation:
        return TakenResult(self._archive, command, context, caller)


class TakenResult(_Told):
    """One N-EVENT-REPORT-RQ on an association that another archive opened to answer us (J.3.3)."""

    def finish(self) -> bytes:
        data = None if self._collected.too_long else bytes(self._collected.data)
        return take_result(
            self._archive, self._caller.peer.ae_title, self._command, data, self._context.transfer_syntax
        )
