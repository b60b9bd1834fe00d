"""Action and Event Information in every coding, and what is wrong with some (PS3.4 Tables J.3-1, J.3-2)."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from archive.commitment.records import Reference, Result, content_digest
from archive.errors import BadObject, CannotParse, InvalidUID
from dicom_node.commitment.information import encode_action, encode_event, read_action, read_event
from tests.factories import encode

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
REFERENCES = [Reference("1.2.840.10008.5.1.4.1.1.2", f"1.2.{n}") for n in range(3)]
RESULTS = [Result(*REFERENCES[0], 0), Result(*REFERENCES[1], 0x0112), Result(*REFERENCES[2], 0)]


def decoded(data: bytes, syntax: str) -> Dataset:
    uid = UID(syntax)
    return dcmread(BytesIO(_preamble(data, uid)), force=True)


def _preamble(data: bytes, uid: UID) -> bytes:
    """A Part 10 file of the dataset, so that pydicom knows how to read it."""
    ds = Dataset()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = uid
    ds.file_meta.MediaStorageSOPClassUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2")
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue() + data


def action(**changes: object) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = UID("1.2.3")
    ds.ReferencedSOPSequence = []
    for reference in REFERENCES:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (UID(uid) for uid in reference)
        ds.ReferencedSOPSequence.append(item)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@SYNTAXES
def test_a_request_is_read_as_it_was_written(syntax: str) -> None:
    data = encode_action("1.2.3", REFERENCES, syntax)
    assert read_action(data, syntax) == ("1.2.3", REFERENCES)
    seen = decoded(data, syntax)
    assert seen.TransactionUID == "1.2.3"
    assert [item.ReferencedSOPInstanceUID for item in seen.ReferencedSOPSequence] == ["1.2.0", "1.2.1", "1.2.2"]


@SYNTAXES
def test_a_result_is_read_as_it_was_written(syntax: str) -> None:
    kind, data = encode_event("1.2.3", RESULTS, "PACS", syntax)
    assert kind == 2
    assert read_event(data, syntax) == ("1.2.3", [RESULTS[0], RESULTS[2], RESULTS[1]])
    seen = decoded(data, syntax)
    assert seen.RetrieveAETitle == "PACS"
    assert [item.FailureReason for item in seen.FailedSOPSequence] == [0x0112]


def test_a_result_names_what_there_is_and_nothing_else() -> None:
    kind, data = encode_event("1.2.3", RESULTS[:1], "PACS", EXPLICIT)
    assert kind == 1
    assert "FailedSOPSequence" not in decoded(data, EXPLICIT)
    kind, data = encode_event("1.2.3", RESULTS[1:2], "PACS", EXPLICIT)
    assert kind == 2
    seen = decoded(data, EXPLICIT)
    assert "ReferencedSOPSequence" not in seen
    assert "RetrieveAETitle" not in seen


@SYNTAXES
@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
def test_requests_of_other_writers(syntax: str, undefined: bool) -> None:
    """Sequences and items of either length form; attributes that have no bearing (PS3.5 7.5)."""
    ds = action(StorageMediaFileSetID="DISC", ReferencedPerformedProcedureStepSequence=[Dataset()])
    ds["ReferencedSOPSequence"].is_undefined_length = undefined
    for item in ds.ReferencedSOPSequence:
        item.is_undefined_length_sequence_item = undefined
        item.StorageMediaFileSetID = "DISC"
    assert read_action(encode(ds, syntax), syntax) == ("1.2.3", REFERENCES)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"TransactionUID": ""}, InvalidUID, r"TransactionUID \(0008,1195\) is missing"),
        ({"ReferencedSOPSequence": []}, CannotParse, r"ReferencedSOPSequence \(0008,1199\) has no item"),
        ({"ReferencedSOPSequence": [Dataset()]}, InvalidUID, r"ReferencedSOPClassUID \(0008,1150\) is missing"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_action(encode(action(**changes)), EXPLICIT)


@pytest.mark.parametrize("uid", [b"1.2.a\0", b"1..2\0\0", b"\xff\xfe", b"1" * 66, b"' OR 1=1"])
def test_uids_are_checked(uid: bytes) -> None:
    data = encode(action())
    with pytest.raises(BadObject):
        read_action(data.replace(b"\x08\x00\x95\x11UI\x06\x001.2.3\0", _ui(uid)), EXPLICIT)


def _ui(value: bytes) -> bytes:
    return b"\x08\x00\x95\x11UI" + len(value).to_bytes(2, "little") + value


def test_every_truncation_is_an_error_or_a_shorter_request() -> None:
    data = encode(action())
    for length in range(len(data)):
        with pytest.raises(BadObject):
            read_action(data[:length], EXPLICIT)


@given(st.data(), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN]))
def test_damage_is_an_error_of_the_sender_and_nothing_worse(draw: st.DataObject, syntax: str) -> None:
    whole = bytearray(encode_event("1.2.3", RESULTS, "PACS", syntax)[1])
    for _ in range(draw.draw(st.integers(1, 4))):
        whole[draw.draw(st.integers(0, len(whole) - 1))] = draw.draw(st.integers(0, 255))
    for read in (read_action, read_event):
        with suppress(BadObject):
            read(bytes(whole), syntax)


def test_an_answer_that_says_nothing_is_empty() -> None:
    ds = Dataset()
    ds.TransactionUID = UID("1.2.3")
    assert read_event(encode(ds), EXPLICIT) == ("1.2.3", [])


def test_the_digest_of_a_request_does_not_depend_on_the_order() -> None:
    assert content_digest(REFERENCES) == content_digest(reversed(REFERENCES))
    assert content_digest(REFERENCES) != content_digest(REFERENCES[:2])
    assert content_digest([Reference("1.2", "3")]) != content_digest([Reference("1", "2.3")])
