"""C-STORE: the Storage service (PS3.4 Annex B).

The dataset goes to the archive's ingest as it arrives. Success is answered only when the archive gave its receipt: the
object is durable and indexed.
"""

from __future__ import annotations

import logging
import threading

from archive.audit.events import Action
from archive.core import Archive
from archive.errors import BadObject, NotPermitted, SOPClassMismatch, Unavailable
from archive.receiving import Receiving
from archive.records import Outcome, Receipt, Source
from archive.sender import source_of
from config.logs import fields
from dicom_node.audited import refused
from dicom_node.commands import AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, Command, response
from dicom_node.negotiation import Context
from dicom_node.operation import Caller
from dicom_node.status import NOT_OBEYED, SUCCESS, c_store_status

log = logging.getLogger(__name__)


class StoreService:
    """Makes a `Store` for each C-STORE-RQ."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._of_thread = _Of()

    def __call__(self, command: Command, context: Context, caller: Caller) -> Store:
        known = self._of_thread
        if known.caller is not caller:
            known.source = _source(self._archive, caller)
            known.caller = caller
        assert known.source is not None
        return Store(self._archive, command, context, caller, known.source)


class _Of(threading.local):
    """Who calls on the association that a thread serves, and what its objects come from: the same for all of them."""

    caller: Caller | None = None
    source: Source | None = None


def _source(archive: Archive, caller: Caller) -> Source:
    return source_of(
        archive.peers,
        caller.peer,
        "dimse",
        facility=caller.peer.facility,
        calling_ae_title=caller.calling_ae_title,
        called_ae_title=caller.called_ae_title,
        address=caller.address,
        user=caller.user,
    )


class Store:
    """One C-STORE-RQ and its dataset. After a failure the rest of the dataset is read and dropped."""

    def __init__(self, archive: Archive, command: Command, context: Context, caller: Caller, source: Source) -> None:
        self._archive = archive
        self._command = command
        self._caller = caller
        self._source = source
        self._receiving: Receiving | None = None
        self._error: BaseException | None = None
        try:
            self._receiving = self._begin(archive, context)
        except Exception as error:
            self._error = error

    def _begin(self, archive: Archive, context: Context) -> Receiving:
        sop_class = self._command.uid(AFFECTED_SOP_CLASS_UID)
        if sop_class != context.abstract_syntax:
            raise SOPClassMismatch(f"C-STORE of {sop_class[:64]!r} on a context for {context.abstract_syntax}")
        if not self._caller.peer.may("store"):
            raise NotPermitted("this AE title may not store")
        return archive.begin(
            self._source,
            sop_class_uid=sop_class,
            # Not empty, so that ingest checks it: here it must be announced (PS3.7 9.3.1.1).
            sop_instance_uid=self._command.uid(AFFECTED_SOP_INSTANCE_UID) or " ",
            transfer_syntax_uid=context.transfer_syntax,
        )

    def write(self, data: memoryview) -> None:
        if self._receiving is None:
            return
        try:
            self._receiving.write(data)
        except Exception as error:
            self._fail(error)

    def finish(self) -> bytes:
        if self._receiving is not None:
            try:
                receipt = self._receiving.finish()
            except Exception as error:
                self._fail(error)
            else:
                self._receiving = None
                level = logging.DEBUG if receipt.outcome is Outcome.STORED else logging.INFO
                if log.isEnabledFor(level):
                    self._log(level, receipt)
                return response(self._command, NOT_OBEYED if receipt.unmet else SUCCESS, receipt.unmet)
        return self._failure()

    def _log(self, level: int, receipt: Receipt) -> None:
        log.log(
            level,
            "object stored",
            extra=fields(
                outcome=receipt.outcome.value,
                instance=receipt.sop_instance_uid,
                size=receipt.size,
                facility=self._caller.peer.facility,
            ),
        )

    def abort(self) -> None:
        if self._receiving is not None:
            self._receiving.abort()
            self._receiving = None

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.abort()

    def _failure(self) -> bytes:
        assert self._error is not None
        refused(self._archive, self._caller.who, Action.STORE, self._error, "C-STORE")
        status, comment = c_store_status(self._error)
        facts = fields(
            status=f"{status:04X}",
            error=comment,
            instance=self._command.uid(AFFECTED_SOP_INSTANCE_UID)[:64],
            calling=self._caller.calling_ae_title,
            address=self._caller.address,
        )
        if isinstance(self._error, BadObject | Unavailable):
            log.warning("object refused", extra=facts)
        else:
            log.error("object refused", extra=facts, exc_info=self._error)
        return response(self._command, status, comment)
