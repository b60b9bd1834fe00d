"""Modality Performed Procedure Step: N-CREATE, N-SET and N-GET (PS3.4 F.7, F.8).

The rules are in `archive.worklist.performed`; Success is answered when the step is durable.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import ClassVar, Final

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import ArchiveError, CannotParse, NotPermitted
from archive.records import DicomJSON
from archive.standard.json_model import header_json
from archive.worklist.steps import StepSource
from config.logs import fields
from dicom_node.audited import refused
from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    ATTRIBUTE_IDENTIFIER_LIST,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    response,
)
from dicom_node.exchange import Exchange
from dicom_node.identifier import encode_identifier
from dicom_node.models import PERFORMED_STEP, PERFORMED_STEP_RETRIEVE
from dicom_node.mpps_status import (
    ATTRIBUTE_LIST_ERROR,
    NO_SUCH_SOP_CLASS,
    REQUESTED_OPTIONAL_ATTRIBUTES_NOT_SUPPORTED,
    n_status,
)
from dicom_node.operation import Dialogue, Service, WholeRequest
from dicom_node.status import SUCCESS

log = logging.getLogger(__name__)

LONGEST: Final = 16 << 20
"""Bytes of the attributes of a step that we read: it may name a hundred thousand instances."""
_SPECIFIC_CHARACTER_SET: Final = 0x00080005


def create_service(archive: Archive) -> Service:
    """The service of N-CREATE."""
    return lambda command, context, caller: Create(archive, command, context, caller)


def set_service(archive: Archive) -> Service:
    """The service of N-SET."""
    return lambda command, context, caller: Set(archive, command, context, caller)


def get_service(archive: Archive) -> Service:
    """The service of N-GET."""
    return lambda command, context, caller: Get(archive, command, context, caller)


class _Step(WholeRequest, ABC):
    """A request about a performed procedure step."""

    longest = LONGEST
    action: ClassVar[Action] = Action.ORDER

    def finish(self) -> bytes | Dialogue:
        try:
            if not self._caller.peer.may("worklist"):
                raise NotPermitted("this AE title may not report procedure steps")
            # N-SET and N-GET may be sent on the context of either class that has them (PS3.7 10.1.2, 10.1.3).
            command = self._command
            sop_class = command.uid(AFFECTED_SOP_CLASS_UID) or command.uid(REQUESTED_SOP_CLASS_UID)
            if sop_class not in (PERFORMED_STEP, PERFORMED_STEP_RETRIEVE):
                return response(command, NO_SUCH_SOP_CLASS, "not the SOP class of this presentation context")
            self._archive.audit.record(self._event())
            return self._finish()
        except Exception as error:
            return self._failure(error)

    def _event(self) -> AuditEvent:
        """What is on record before it is done."""
        instance = self._command.uid(AFFECTED_SOP_INSTANCE_UID) or self._command.uid(REQUESTED_SOP_INSTANCE_UID)
        detail = {"what": f"MPPS {type(self).__name__}", "instance": instance}
        patient = ""
        if self.action is Action.ORDER and self._command.has_data_set:
            patient = str((self._attributes().get("00100020", {}).get("Value") or [""])[0])
        return AuditEvent(self.action, self._caller.who, patient_id=patient, detail=detail)

    @abstractmethod
    def _finish(self) -> bytes | Dialogue:
        """Do what is asked and give the response."""

    def _attributes(self) -> DicomJSON:
        if self._collected.too_long:
            raise CannotParse(f"the attributes are longer than {LONGEST} bytes")
        peer, data = self._caller.peer, bytes(self._collected.data)
        return header_json(
            data,
            self._context.transfer_syntax,
            None,
            default=peer.default_character_set,
            actual=peer.actual_character_set,
        )

    def _source(self) -> StepSource:
        caller = self._caller
        return StepSource(caller.peer.facility, caller.calling_ae_title, caller.address, caller.scope)

    def _failure(self, error: BaseException) -> bytes:
        refused(self._archive, self._caller.who, self.action, error, f"MPPS {type(self).__name__}")
        status, comment, error_id = n_status(error)
        facts = fields(status=f"{status:04X}", error=type(error).__name__, calling=self._caller.calling_ae_title)
        if isinstance(error, ArchiveError):
            log.warning("procedure step refused", extra=facts)
        else:
            log.error("procedure step refused", extra=facts, exc_info=error)
        return response(self._command, status, comment, error_id=error_id)

    def _log(self, what: str, uid: str, status: int) -> None:
        facts = fields(instance=uid, status=f"{status:04X}", calling=self._caller.calling_ae_title)
        log.info(what, extra=facts)


class Create(_Step):
    """One N-CREATE-RQ."""

    def _finish(self) -> bytes:
        given = self._command.uid(AFFECTED_SOP_INSTANCE_UID)
        uid = self._archive.performed.create(given, self._attributes(), self._source())
        self._log("procedure step created", uid, SUCCESS)
        return response(self._command, SUCCESS, instance=uid)


class Set(_Step):
    """One N-SET-RQ."""

    def _finish(self) -> bytes:
        uid = self._command.uid(REQUESTED_SOP_INSTANCE_UID)
        refused = self._archive.performed.set(uid, self._attributes(), self._source())
        status = ATTRIBUTE_LIST_ERROR if refused else SUCCESS
        self._log("procedure step set", uid, status)
        return response(self._command, status, f"not changed: {', '.join(refused)}" if refused else "")


class Get(_Step):
    """One N-GET-RQ: the attributes that its list names, or all (PS3.7 10.1.2.1.5)."""

    action = Action.SEARCH

    def _finish(self) -> Dialogue:
        step = self._archive.performed.get(self._command.uid(REQUESTED_SOP_INSTANCE_UID), self._caller.scope)
        wanted = self._command.tags(ATTRIBUTE_IDENTIFIER_LIST)
        attributes = {key: each for key, each in step.attributes.items() if key != f"{_SPECIFIC_CHARACTER_SET:08X}"}
        status = SUCCESS
        if wanted:
            attributes = {key: each for key, each in attributes.items() if int(key, 16) in wanted}
            if not {f"{tag:08X}" for tag in wanted if tag != _SPECIFIC_CHARACTER_SET} <= attributes.keys():
                status = REQUESTED_OPTIONAL_ATTRIBUTES_NOT_SUPPORTED
        shown = self._caller.peer.character_sets
        dataset = encode_identifier(attributes, self._context.transfer_syntax, shown=shown)
        command = response(self._command, status, with_data_set=True)

        def answer(exchange: Exchange) -> None:
            exchange.respond(exchange.context_id, command, dataset)

        return answer
