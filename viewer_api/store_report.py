"""The answer to a STOW-RS request: what was stored, what was not, and why (PS3.18 10.5.3, I.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from archive.errors import ArchiveError, Unavailable
from archive.records import DicomJSON, Receipt
from viewer_api.problems import problem_of

_ERROR_COMMENT: Final = "00000902"
_REFERENCED_SOP_CLASS_UID: Final = "00081150"
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
_RETRIEVE_URL: Final = "00081190"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_OTHER_FAILURES_SEQUENCE: Final = "0008119A"

# PS3.18 Table I.2-2: B007, the dataset does not match its SOP class. The nearest to "taken, with something tolerated".
TOLERATED: Final = 0xB007
_LONGEST_COMMENT: Final = 64  # LO

STORED: Final = 200
SOME: Final = 202
NONE: Final = 409


@dataclass
class StoreReport:
    """Collects the outcomes of one request."""

    receipts: list[Receipt] = field(default_factory=list)
    tolerated: set[str] = field(default_factory=set)
    """SOP Instance UIDs of what was stored although something is wrong with it."""
    failures: list[tuple[ArchiveError, str, str]] = field(default_factory=list)

    def stored(self, receipt: Receipt, *, tolerated: bool) -> None:
        """An instance is durable and indexed."""
        self.receipts.append(receipt)
        if tolerated:
            self.tolerated.add(receipt.sop_instance_uid)

    def failed(self, error: ArchiveError, sop_class_uid: str, sop_instance_uid: str) -> None:
        """An instance was not stored; its UIDs are empty where they are not known."""
        self.failures.append((error, sop_class_uid, sop_instance_uid))

    def status(self) -> int:
        """The status of the response as a whole (PS3.18 Table 10.5.3-1)."""
        if not self.receipts:
            return NONE
        return SOME if self.failures or self.tolerated else STORED

    def outage(self) -> Unavailable | None:
        """Why nothing at all could be stored, if sending the same again later may help."""
        if self.receipts or not self.failures:
            return None
        return next((error for error, _, _ in self.failures if isinstance(error, Unavailable)), None)

    def to_json(self, root: str) -> DicomJSON:
        """The Store Instances Response Module (PS3.18 Table I.2-1); `root` is the address of the service."""
        named = [failure for failure in self.failures if failure[2]]
        # PS3.18 I.2.1: what cannot be tied to an instance, such as a part that is not DICOM.
        nameless = [failure for failure in self.failures if not failure[2]]
        studies = {receipt.study_instance_uid for receipt in self.receipts}
        content: DicomJSON = {}
        if len(studies) == 1:
            content[_RETRIEVE_URL] = _value("UR", f"{root}/studies/{studies.pop()}")
        if named:
            content[_FAILED_SOP_SEQUENCE] = {"vr": "SQ", "Value": [_failure(*failure) for failure in named]}
        if self.receipts:
            items = [_reference(each, root, each.sop_instance_uid in self.tolerated) for each in self.receipts]
            content[_REFERENCED_SOP_SEQUENCE] = {"vr": "SQ", "Value": items}
        if nameless:
            content[_OTHER_FAILURES_SEQUENCE] = {"vr": "SQ", "Value": [_failure(*failure) for failure in nameless]}
        return content


def _reference(receipt: Receipt, root: str, tolerated: bool) -> DicomJSON:
    address = (
        f"{root}/studies/{receipt.study_instance_uid}/series/{receipt.series_instance_uid}"
        f"/instances/{receipt.sop_instance_uid}"
    )
    item = {
        _REFERENCED_SOP_CLASS_UID: _value("UI", receipt.sop_class_uid),
        _REFERENCED_SOP_INSTANCE_UID: _value("UI", receipt.sop_instance_uid),
        _RETRIEVE_URL: _value("UR", address),
    }
    if tolerated:
        item[_WARNING_REASON] = _value("US", TOLERATED)
    if receipt.unmet:
        item[_ERROR_COMMENT] = _value("LO", receipt.unmet[:_LONGEST_COMMENT])
    return item


def _failure(error: ArchiveError, sop_class_uid: str, sop_instance_uid: str) -> DicomJSON:
    # Error Comment belongs to a command set, but is where dcm4chee puts the sentence too, and clients show it.
    item = {_ERROR_COMMENT: _value("LO", str(error)[:_LONGEST_COMMENT])}
    if sop_instance_uid:
        if sop_class_uid:
            item[_REFERENCED_SOP_CLASS_UID] = _value("UI", sop_class_uid)
        item[_REFERENCED_SOP_INSTANCE_UID] = _value("UI", sop_instance_uid)
    item[_FAILURE_REASON] = _value("US", problem_of(error).failure_reason)
    return item


def _value(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
