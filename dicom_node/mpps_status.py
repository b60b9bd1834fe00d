"""The table from errors to statuses of Modality Performed Procedure Step (PS3.4 F.7.2, PS3.7 10.1 and Annex C).

Total, like those of `dicom_node.status`.
"""

from __future__ import annotations

from typing import Final

from archive import errors
from archive.worklist import errors as step_errors
from dicom_node.status import PROCESSING_FAILURE, status_of

ATTRIBUTE_LIST_ERROR: Final = 0x0107
"""A warning: all is done but for attributes that an N-SET may not change."""
REQUESTED_OPTIONAL_ATTRIBUTES_NOT_SUPPORTED: Final = 0x0001
"""A warning of the N-GET (PS3.4 F.8.2.1.3)."""
NO_SUCH_SOP_CLASS: Final = 0x0118
MAY_NO_LONGER_BE_UPDATED: Final = 0xA710
"""Error ID (0000,0903) beside status 0110 (PS3.4 Table F.7.2-2)."""

N_STATUS: Final[dict[type[errors.ArchiveError], int]] = {
    errors.BadObject: PROCESSING_FAILURE,
    errors.InvalidUID: 0x0117,
    errors.NotPermitted: 0x0124,
    errors.Unavailable: 0x0213,
    errors.NotFound: 0x0112,
    errors.Conflict: PROCESSING_FAILURE,
    step_errors.DuplicateStep: 0x0111,
    step_errors.StepIsFinal: PROCESSING_FAILURE,
    errors.InvalidItem: 0x0106,
    step_errors.MissingAttribute: 0x0120,
    step_errors.MissingValue: 0x0121,
    step_errors.InvalidValue: 0x0106,
    errors.ArchiveError: PROCESSING_FAILURE,
}

N_MEANING: Final = {
    0x0000: "Success: durable; the same request sent again changes nothing",
    0x0001: "Warning: some of the attributes asked for are not there (N-GET)",
    0x0106: "Invalid attribute value",
    0x0107: "Warning: attributes that an N-SET may not change were left as they are",
    0x0110: "Processing failure; with Error ID A710: the step is final and may no longer be updated",
    0x0111: "Duplicate SOP Instance: another N-CREATE made a step with this UID",
    0x0112: "No such SOP Instance",
    0x0117: "Invalid SOP Instance: not a UID",
    0x0118: "No such SOP Class: another than that of the presentation context",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    0x0124: "Refused: not authorized",
    0x0213: "Resource limitation: the index does not answer; send again later",
}


def n_status(error: BaseException) -> tuple[int, str, int]:
    """Status, error comment and Error ID (0: none) for what went wrong."""
    status, comment = status_of(error, N_STATUS)
    return status, comment, MAY_NO_LONGER_BE_UPDATED if isinstance(error, step_errors.StepIsFinal) else 0
