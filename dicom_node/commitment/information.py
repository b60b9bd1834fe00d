"""The datasets of storage commitment: Action Information and Event Information (PS3.4 Tables J.3-1 and J.3-2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from archive.commitment.records import COMMITTED, PROCESSING_FAILURE, Reference, Result
from archive.errors import CannotParse
from archive.records import DicomJSON
from archive.standard.coding import coding
from archive.standard.uids import check_uid, transfer_syntax
from archive.standard.walk import Walk, walk_items
from dicom_node.identifier import encode_identifier

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Its one SOP Instance (PS3.4 J.3.5)."""
REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID."""
SUCCESSFUL: Final = 1
"""Event Type ID: all instances are committed."""
FAILURES_EXIST: Final = 2
"""Event Type ID: some are not."""

LONGEST: Final = 12 << 20
"""Bytes of an Action or Event Information that we read: about 100,000 instances."""

_TRANSACTION_UID: Final = 0x00081195
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199
_FAILED_SOP_SEQUENCE: Final = 0x00081198
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_FAILURE_REASON: Final = 0x00081197
_READ: Final = (_TRANSACTION_UID, _REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE)


def read_action(data: bytes, transfer_syntax_uid: str) -> tuple[str, list[Reference]]:
    """The Transaction UID and the references of a request. Raises `CannotParse`, `InvalidUID`.

    What else it may have (storage media, performed procedure step) has no bearing on an archive that keeps everything.
    """
    walk = _walk(data, transfer_syntax_uid)
    transaction_uid = _transaction_uid(walk)
    references = [Reference(*_uids(item)) for item in _items(walk, _REFERENCED_SOP_SEQUENCE)]
    if not references:
        raise CannotParse("ReferencedSOPSequence (0008,1199) has no item")
    return transaction_uid, references


def read_event(data: bytes, transfer_syntax_uid: str) -> tuple[str, list[Result]]:
    """The Transaction UID and the results of an answer. Raises `CannotParse`, `InvalidUID`.

    An item of the Failed SOP Sequence has failed, also when it gives no reason.
    """
    walk = _walk(data, transfer_syntax_uid)
    transaction_uid = _transaction_uid(walk)
    results = [Result(*_uids(item), COMMITTED) for item in _items(walk, _REFERENCED_SOP_SEQUENCE)]
    for item in _items(walk, _FAILED_SOP_SEQUENCE):
        reason = item.elements.get(_FAILURE_REASON)
        code = int.from_bytes(reason.value[:2], "little") if reason else 0
        results.append(Result(*_uids(item), code or PROCESSING_FAILURE))
    return transaction_uid, results


def encode_action(transaction_uid: str, references: Sequence[Reference], transfer_syntax_uid: str) -> bytes:
    """Action Information."""
    items = _Items(references, lambda reference: _referenced(*reference))
    return encode_identifier({**_transaction(transaction_uid), "00081199": _sequence(items)}, transfer_syntax_uid)


def encode_event(
    transaction_uid: str, results: Sequence[Result], retrieve_ae_title: str, transfer_syntax_uid: str
) -> tuple[int, bytes]:
    """Event Type ID and Event Information. The AE title tells where the committed instances can be retrieved."""
    committed = [result for result in results if result.reason == COMMITTED]
    failed = [result for result in results if result.reason != COMMITTED]
    attributes = _transaction(transaction_uid)
    if committed:
        attributes["00080054"] = {"vr": "AE", "Value": [retrieve_ae_title]}
        attributes["00081199"] = _sequence(_Items(committed, lambda result: _referenced(*result[:2])))
    if failed:
        attributes["00081198"] = _sequence(_Items(failed, _failed))
    return FAILURES_EXIST if failed else SUCCESSFUL, encode_identifier(attributes, transfer_syntax_uid)


# -- reading -------------------------------------------------------------------------------------------------------


def _walk(data: bytes, transfer_syntax_uid: str) -> Walk:
    syntax = transfer_syntax(transfer_syntax_uid)
    assert syntax is not None
    code = coding(implicit=syntax.implicit_vr, little=syntax.little_endian)
    watch = {code.raw(tag): tag for tag in _READ}

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    return Walk(read, len(data), code, watch, max_sequence=LONGEST).run()


def _items(walk: Walk, tag: int) -> Iterator[Walk]:
    raw = walk.sequences.get(tag)
    return iter(()) if raw is None else walk_items(raw)


def _transaction_uid(walk: Walk) -> str:
    return check_uid(_uid(walk, _TRANSACTION_UID), "TransactionUID (0008,1195)")


def _uids(item: Walk) -> tuple[str, str]:
    return (
        check_uid(_uid(item, _REFERENCED_SOP_CLASS_UID), "ReferencedSOPClassUID (0008,1150)"),
        check_uid(_uid(item, _REFERENCED_SOP_INSTANCE_UID), "ReferencedSOPInstanceUID (0008,1155)"),
    )


def _uid(walk: Walk, tag: int) -> str:
    element = walk.elements.get(tag)
    return element.value.rstrip(b"\0 ").decode("ascii", "backslashreplace") if element else ""


# -- encoding ------------------------------------------------------------------------------------------------------


class _Items:
    """The items of a sequence, made as they are encoded: there may be tens of thousands."""

    def __init__(self, of: Sequence[Any], make: Callable[[Any], DicomJSON]) -> None:
        self._of = of
        self._make = make

    def __iter__(self) -> Iterator[DicomJSON]:
        return map(self._make, self._of)


def _sequence(items: Iterable[DicomJSON]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _transaction(uid: str) -> DicomJSON:
    return {"00081195": {"vr": "UI", "Value": [uid]}}


def _referenced(sop_class_uid: str, sop_instance_uid: str) -> DicomJSON:
    return {"00081150": {"vr": "UI", "Value": [sop_class_uid]}, "00081155": {"vr": "UI", "Value": [sop_instance_uid]}}


def _failed(result: Result) -> DicomJSON:
    reason = {"00081197": {"vr": "US", "Value": [result.reason]}}
    return {**_referenced(result.sop_class_uid, result.sop_instance_uid), **reason}
