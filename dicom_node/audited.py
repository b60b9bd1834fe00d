"""What the DICOM node puts on record: queries, copies, steps, and refusals of each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from pydicom.datadict import keyword_for_tag

from archive.audit.events import Action, AuditEvent, Detail, Outcome
from archive.core import Archive
from archive.errors import ArchiveError, NotPermitted
from archive.people.caller import NOBODY, Caller, Kind
from config.logs import fields
from dicom_node.identifier import Identifier

log = logging.getLogger(__name__)

_PATIENT_ID = 0x00100020
_STUDY = 0x0020000D


def asked(caller: Caller, what: str, identifier: Identifier) -> AuditEvent:
    """A query, with all that it asks for. Patients' names and numbers may stand here: never in the log."""
    patient, study = (identifier.keys.get(tag, "").strip() for tag in (_PATIENT_ID, _STUDY))
    studies = tuple(uid for uid in study.split("\\") if uid and not set(uid) & set("*?"))
    return AuditEvent(
        Action.SEARCH,
        caller,
        studies=studies,
        patient_id="" if set(patient) & set("*?\\") else patient,
        detail={"what": what, "keys": list(_keys(identifier))},
    )


def _keys(identifier: Identifier, prefix: str = "") -> Iterator[str]:
    for tag, value in identifier.keys.items():
        name = prefix + (keyword_for_tag(tag) or f"{tag:08X}")
        if value:
            yield f"{name}={value}"
        for item in identifier.sequences.get(tag, ()):
            yield from _keys(item, f"{name}.")


def refused(archive: Archive, caller: Caller, action: Action, error: BaseException, what: str) -> None:
    """Put a refusal on record, if this is one. The caller gets its answer in any case."""
    if not isinstance(error, NotPermitted):
        return
    try:
        archive.looks.note(
            AuditEvent(action, caller, Outcome.DENIED, detail={"what": what, "why": str(error)}), about=what
        )
    except ArchiveError as failure:
        log.warning("a refusal is not on record", extra=fields(error=str(failure)))


class Rejections:
    """Puts on record who was not let in at all."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __call__(self, calling: str, called: str, address: str, reason: str) -> None:
        caller = Caller(Kind.PEER, calling, address=address)
        detail: dict[str, Detail] = {"what": "association rejected", "why": reason, "called": called}
        event = AuditEvent(Action.SIGN_IN, caller if calling else NOBODY, Outcome.DENIED, detail=detail)
        try:
            self._archive.looks.note(event, about=reason)
        except ArchiveError as failure:
            log.warning("a refusal is not on record", extra=fields(error=str(failure)))
