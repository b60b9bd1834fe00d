"""The rules of Unified Procedure Steps (PS3.4 CC.1.1, CC.2.1, CC.2.5, CC.2.6; Table CC.2.5-3). No SQL.

An attribute of type 2 that a program leaves out is taken for empty, and the answer says so. What cannot be guessed is
refused: what is to be done, when, how urgent it is, and whether its input is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag

from archive.description import cut
from archive.records import DicomJSON
from archive.ups import moments
from archive.ups.dataset import first, items, key_of, values
from archive.ups.errors import (
    BadWorkitem,
    MissingTransactionUID,
    NoLongerUpdated,
    StateConflict,
    WrongTransactionUID,
)

SOP_CLASS: Final = "1.2.840.10008.5.1.4.34.6.1"
"""Unified Procedure Step - Push: the class of each workitem, by whatever class it is spoken of (CC.3.1)."""
SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"
FINAL: Final = (COMPLETED, CANCELED)
WORKLIST: Final = "DEFAULT"
"""Worklist Label of what is created without one."""

REQUIRED: Final = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
    "ProcedureStepState",
)
"""Type 1 in the N-CREATE."""
FILLED: Final = (
    "WorklistLabel",
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledWorkitemCodeSequence",
    "CommentsOnTheScheduledProcedureStep",
    "InputInformationSequence",
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedRequestSequence",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""Type 2 in the N-CREATE: without a value where it is left out."""
EMPTY_AT_FIRST: Final = (
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""Has no value in the N-CREATE."""
FIXED: Final = (
    "TransactionUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "ScheduledProcedureStepModificationDateTime",
    "ProcedureStepState",
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedRequestSequence",
    "ReplacedProcedureStepSequence",
)
"""Not allowed in the N-SET."""
ENUMERATED: Final = {
    "ScheduledProcedureStepPriority": ("HIGH", "MEDIUM", "LOW"),
    "InputReadinessState": ("INCOMPLETE", "UNAVAILABLE", "READY"),
}
PERFORMED: Final = (
    "PerformedStationNameCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepEndDateTime",
)
"""Must have a value in the item of Unified Procedure Step Performed Procedure Sequence for COMPLETED; so must Output
Information Sequence be there, which may be empty."""

STATE: Final = key_of("ProcedureStepState")
READINESS: Final = key_of("InputReadinessState")
TRANSACTION: Final = key_of("TransactionUID")
CLASS_UID: Final = key_of("SOPClassUID")
INSTANCE_UID: Final = key_of("SOPInstanceUID")
MODIFIED: Final = key_of("ScheduledProcedureStepModificationDateTime")
PROGRESS: Final = key_of("ProcedureStepProgressInformationSequence")
REASON: Final = key_of("ReasonForCancellation")
DISCONTINUED: Final = key_of("ProcedureStepDiscontinuationReasonCodeSequence")
_START: Final = key_of("ScheduledProcedureStepStartDateTime")
_EXPECTED: Final = key_of("ExpectedCompletionDateTime")
_LABEL: Final = key_of("WorklistLabel")
_PERFORMED: Final = key_of("UnifiedProcedureStepPerformedProcedureSequence")
_OUTPUT: Final = key_of("OutputInformationSequence")
_CANCELED_AT: Final = key_of("ProcedureStepCancellationDateTime")
_CHARACTER_SET: Final = key_of("SpecificCharacterSet")
_FIXED_KEYS: Final = {key_of(keyword): keyword for keyword in FIXED}
_KEPT: Final = tuple(keyword for keyword in REQUIRED if keyword not in FIXED)
_EDGES: Final = (_START, _EXPECTED, key_of("ScheduledProcedureStepExpirationDateTime"))
_UNSPECIFIED: Final = {
    "00080100": {"vr": "SH", "Value": ["110513"]},
    "00080102": {"vr": "SH", "Value": ["DCM"]},
    "00080104": {"vr": "LO", "Value": ["Discontinued for unspecified reason"]},
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The columns of `Workitem` that come from its attributes."""

    state: str
    patient_id: str
    study_instance_uid: str
    scheduled_start: datetime
    expected_completion: datetime | None
    modified: datetime


def created(uid: str, given: DicomJSON) -> tuple[DicomJSON, list[str]]:
    """The workitem that an N-CREATE makes, and what was added to it. Raises `BadWorkitem`."""
    faults = {keyword: "is missing" for keyword in REQUIRED if not values(given, key_of(keyword))}
    if STATE not in {key_of(each) for each in faults} and first(given, STATE) != SCHEDULED:
        faults["ProcedureStepState"] = "must be SCHEDULED in a new workitem"
    faults |= {
        keyword: "must be empty in a new workitem" for keyword in EMPTY_AT_FIRST if values(given, key_of(keyword))
    }
    if values(given, CLASS_UID) and first(given, CLASS_UID) != SOP_CLASS:
        faults["SOPClassUID"] = f"must be {SOP_CLASS}"
    faults |= _wrong(given)
    if faults:
        raise BadWorkitem.of(faults)
    added = [keyword for keyword in FILLED if key_of(keyword) not in given]
    made: DicomJSON = {key_of(keyword): {"vr": dictionary_VR(int(key_of(keyword), 16))} for keyword in added} | given
    if not values(made, _LABEL):
        made[_LABEL] = {"vr": "LO", "Value": [WORKLIST]}
    made.pop(TRANSACTION, None)
    made[CLASS_UID] = {"vr": "UI", "Value": [SOP_CLASS]}
    made[INSTANCE_UID] = {"vr": "UI", "Value": [uid]}
    return _stamped(made), added


def updated(before: DicomJSON, given: DicomJSON) -> DicomJSON:
    """The workitem after an N-SET. What may not be set may be repeated as it is. Raises `BadWorkitem`."""
    faults = {
        _FIXED_KEYS[key]: "may not be changed"
        for key in given
        if key in _FIXED_KEYS and key not in (TRANSACTION, MODIFIED) and values(given, key) != values(before, key)
    }
    faults |= {keyword: "must keep a value" for keyword in _KEPT if _emptied(given, key_of(keyword))}
    faults |= _wrong(given)
    if faults:
        raise BadWorkitem.of(faults)
    changes = {key: element for key, element in given.items() if key not in _FIXED_KEYS and key != _CHARACTER_SET}
    if _LABEL in changes and not values(changes, _LABEL):
        changes[_LABEL] = {"vr": "LO", "Value": [WORKLIST]}
    return _stamped({**before, **changes})


def check_performer(state: str, known: str, given: str) -> None:
    """Whether this caller may update a workitem (CC.2.6.3).

    Raises `NoLongerUpdated`, `MissingTransactionUID`, `WrongTransactionUID`.
    """
    if state in FINAL:
        raise NoLongerUpdated(f"a {state} workitem may no longer be updated")
    if state == IN_PROGRESS:
        _check_transaction(known, given)


def next_state(state: str, known: str, wanted: str, given: str) -> bool:
    """Whether there is something to change: False if the workitem is in the final state already (Table CC.1.1-2).

    Raises `BadWorkitem`, `MissingTransactionUID`, `WrongTransactionUID`, `StateConflict`.
    """
    if wanted == SCHEDULED:
        raise BadWorkitem("a workitem becomes SCHEDULED only when it is created")
    if wanted not in (IN_PROGRESS, *FINAL):
        raise BadWorkitem("ProcedureStepState must be IN PROGRESS, COMPLETED or CANCELED")
    if not given:
        raise MissingTransactionUID("TransactionUID is missing")
    if wanted == IN_PROGRESS:
        if state != SCHEDULED:
            raise StateConflict(f"the workitem is {state} already")
        return True
    if state == SCHEDULED:
        raise StateConflict("the workitem is not IN PROGRESS yet")
    _check_transaction(known, given)
    if state == IN_PROGRESS:
        return True
    if state != wanted:
        raise StateConflict(f"the workitem is {state}, and no longer changes")
    return False


def in_state(before: DicomJSON, wanted: str, *, reason: DicomJSON | None = None) -> DicomJSON:
    """The workitem in another state. Raises `StateConflict` if it lacks what the final state needs (Table CC.2.5-3).

    A canceled one gets what it needs: when, and the reason that `reason` (of a request to cancel) says.
    """
    after = dict(before)
    if wanted == COMPLETED:
        _check_performed(after)
    if wanted == CANCELED:
        after[PROGRESS] = {"vr": "SQ", "Value": [_cancellation(items(after, PROGRESS), reason or {})]}
    after[STATE] = {"vr": "CS", "Value": [wanted]}
    return _stamped(after)


def facts(attributes: DicomJSON) -> Facts:
    """What the columns repeat."""
    start, modified = (moments.parse(first(attributes, key)) for key in (_START, MODIFIED))
    assert start is not None and modified is not None
    return Facts(
        state=first(attributes, STATE),
        patient_id=cut(first(attributes, key_of("PatientID"))),
        study_instance_uid=first(attributes, key_of("StudyInstanceUID")),
        scheduled_start=start,
        expected_completion=moments.parse(first(attributes, _EXPECTED)),
        modified=modified,
    )


def _check_transaction(known: str, given: str) -> None:
    if not given:
        raise MissingTransactionUID("the workitem is IN PROGRESS: its Transaction UID is needed")
    if given != known:
        raise WrongTransactionUID("the workitem has another Transaction UID")


def _check_performed(attributes: DicomJSON) -> None:
    found = items(attributes, _PERFORMED)
    name = keyword_for_tag(int(_PERFORMED, 16))
    if not found:
        raise StateConflict(f"{name} is needed for COMPLETED")
    lost = [keyword for keyword in PERFORMED if not values(found[0], key_of(keyword))]
    if _OUTPUT not in found[0]:
        lost.append("OutputInformationSequence")
    if lost:
        raise StateConflict(f"{name} lacks for COMPLETED: {', '.join(lost)}")


def _cancellation(progress: Iterable[Any], reason: DicomJSON) -> DicomJSON:
    item = dict(next(iter(progress), {}))
    for key in (REASON, DISCONTINUED, key_of("ContactURI"), key_of("ContactDisplayName")):
        if values(reason, key) and not values(item, key):
            item[key] = reason[key]
    if not values(item, _CANCELED_AT):
        item[_CANCELED_AT] = {"vr": "DT", "Value": [moments.now()]}
    if not values(item, DISCONTINUED):
        item[DISCONTINUED] = {"vr": "SQ", "Value": [_UNSPECIFIED]}
    return dict(sorted(item.items()))


def _emptied(given: DicomJSON, key: str) -> bool:
    return key in given and not values(given, key)


def _wrong(given: DicomJSON) -> dict[str, str]:
    """Attributes with a value that is not allowed."""
    faults = {}
    for keyword, allowed in ENUMERATED.items():
        text = first(given, key_of(keyword))
        if text and text not in allowed:
            faults[keyword] = f"must be one of {', '.join(allowed)}"
    for key in _EDGES:
        if values(given, key) and moments.parse(first(given, key)) is None:
            faults[keyword_for_tag(int(key, 16))] = "is not a date and time: write YYYYMMDDHHMMSS"
    for keyword in ("ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence"):
        if len(values(given, key_of(keyword))) > 1:
            faults[keyword] = "has more than one item"
    return faults


def _stamped(attributes: DicomJSON) -> DicomJSON:
    attributes[MODIFIED] = {"vr": "DT", "Value": [moments.now()]}
    # All text is UTF-8 (PS3.18 F.2).
    attributes[_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return dict(sorted(attributes.items()))
