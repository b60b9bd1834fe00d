"""Status of N-ACTION and N-EVENT-REPORT of storage commitment (PS3.4 J.3.2, J.3.3; PS3.7 10.1.1.1.8, 10.1.4.1.10).

PS3.4 names no special ones, so they are those of PS3.7 Annex C.
"""

from __future__ import annotations

from typing import Final

from archive import errors
from archive.standard.uids import is_uid
from dicom_node.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    Command,
)
from dicom_node.commitment.information import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from dicom_node.status import PROCESSING_FAILURE, status_of

_PULL_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.2.1"


class NoSuchInstance(errors.NotFound):
    """Not the well-known SOP Instance."""


class NoSuchClass(errors.NotFound):
    """Not the Storage Commitment Push Model SOP Class."""


class InvalidInstance(errors.NotFound):
    """The SOP Instance UID is no UID."""


class ClassInstanceConflict(errors.NotFound):
    """The well-known SOP Instance of another class."""


class NoSuchType(errors.NotFound):
    """No such Action Type ID or Event Type ID."""


class InvalidArgument(errors.BadObject):
    """A value of the Action or Event Information cannot be used."""


class TooMany(errors.ObjectTooLarge):
    """More instances than are taken in one request."""


_COMMON: Final[dict[type[errors.ArchiveError], int]] = {
    errors.BadObject: 0x0115,
    errors.NotPermitted: 0x0124,
    errors.Unavailable: 0x0213,
    TooMany: 0x0213,
    NoSuchInstance: 0x0112,
    NoSuchClass: 0x0118,
    InvalidInstance: 0x0117,
    ClassInstanceConflict: 0x0119,
    errors.ArchiveError: PROCESSING_FAILURE,
}
N_ACTION_STATUS: Final = {**_COMMON, NoSuchType: 0x0123}
N_EVENT_REPORT_STATUS: Final = {**_COMMON, NoSuchType: 0x0113}

MEANING: Final = {
    0x0000: "Success: the request is kept and will be answered (N-ACTION), or the answer is kept (N-EVENT-REPORT)",
    0x0110: "Processing failure",
    0x0112: "No such SOP Instance: not the well-known one",
    0x0113: "No such event type",
    0x0115: "Invalid argument value; the comment names it",
    0x0117: "Invalid object instance: its UID is no UID",
    0x0118: "No such SOP Class",
    0x0119: "Class-instance conflict",
    0x0123: "No such action",
    0x0124: "Refused: not authorized",
    0x0213: "Resource limitation; try again later, or with fewer instances",
}


def n_action_status(error: BaseException) -> tuple[int, str]:
    """Status and error comment for what went wrong with an N-ACTION."""
    return status_of(error, N_ACTION_STATUS)


def n_event_report_status(error: BaseException) -> tuple[int, str]:
    """The same for an N-EVENT-REPORT that a peer sent us."""
    return status_of(error, N_EVENT_REPORT_STATUS)


def check_target(command: Command) -> None:
    """Check that a request is about the well-known instance. Raises one of the errors above."""
    sop_class = command.uid(REQUESTED_SOP_CLASS_UID) or command.uid(AFFECTED_SOP_CLASS_UID)
    instance = command.uid(REQUESTED_SOP_INSTANCE_UID) or command.uid(AFFECTED_SOP_INSTANCE_UID)
    if sop_class != STORAGE_COMMITMENT:
        raise NoSuchClass(f"the SOP class must be {STORAGE_COMMITMENT}")
    if not is_uid(instance):
        raise InvalidInstance("the SOP Instance UID is no UID")
    if instance == _PULL_MODEL_INSTANCE:
        raise ClassInstanceConflict("this instance is of the Pull Model")
    if instance != WELL_KNOWN_INSTANCE:
        raise NoSuchInstance(f"the SOP instance must be {WELL_KNOWN_INSTANCE}")
