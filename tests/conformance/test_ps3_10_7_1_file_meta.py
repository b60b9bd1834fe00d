"""File meta information (PS3.10 7.1)."""

import struct
import subprocess
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.errors import CannotParse
from archive.standard.file_format import MAX_META_LENGTH, NeedMoreBytes, encode_file_meta, read_file_meta
from archive.standard.uids import IMPLEMENTATION_CLASS_UID
from tests.corpus import corpus
from tests.unit.standard.encoding import DEFLATED, EXPLICIT, explicit, implicit

CT = "1.2.840.10008.5.1.4.1.1.2"
PREFIX = bytes(128) + b"DICM"
DATASET = explicit(0x00080016, "UI", b"1.2.3\0")
SYNTAX = explicit(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")


def group(*elements: bytes, length: int | None = None) -> bytes:
    body = b"".join(elements)
    return PREFIX + explicit(0x00020000, "UL", struct.pack("<I", len(body) if length is None else length)) + body


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize("title", ["", "CT1", "SIXTEEN_LETTERS_", "TOO_LONG_FOR_AN_AE_TITLE", "MÁY"])
def test_pydicom_reads_what_is_written(uid, title):
    encoded = encode_file_meta(CT, uid, EXPLICIT, title, "SENDER", "RECEIVER")
    meta = pydicom.dcmread(BytesIO(encoded + DATASET)).file_meta
    assert meta.FileMetaInformationGroupLength == len(encoded) - 128 - 4 - 12
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (
        CT,
        uid,
        EXPLICIT,
    )
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.get("SourceApplicationEntityTitle", "") == title.encode("ascii", "replace").decode()[:16]
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("SENDER", "RECEIVER")
    assert read_file_meta(encoded + DATASET)[:3] == (CT, uid, EXPLICIT)
    assert read_file_meta(encoded + DATASET).dataset_offset == len(encoded)


def test_dcmdump_reads_what_is_written_without_complaint(tmp_path):
    path = tmp_path / "meta.dcm"
    path.write_bytes(encode_file_meta(CT, "1.2.3", EXPLICIT, "CT1", "S") + DATASET)
    done = subprocess.run(["dcmdump", str(path)], capture_output=True, text=True, check=True)
    assert "1.2.3" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("file", [each for each in corpus() if each.has_meta], ids=lambda file: file.path.name)
def test_corpus_is_read_as_pydicom_does(file):
    data = file.path.read_bytes()
    with BytesIO(data) as stream:
        stream.seek(132)
        expected = pydicom.filereader._read_file_meta_info(stream)
        offset = stream.tell()
    if "TransferSyntaxUID" not in expected:
        with pytest.raises(CannotParse, match="lacks the transfer syntax"):
            read_file_meta(data, at_end=True)
        return
    meta = read_file_meta(data, at_end=True)
    assert meta.dataset_offset == offset
    assert meta.transfer_syntax_uid == expected.TransferSyntaxUID
    assert meta.sop_class_uid == expected.get("MediaStorageSOPClassUID", "")
    assert meta.sop_instance_uid == expected.get("MediaStorageSOPInstanceUID", "")
    assert meta.source_ae_title == expected.get("SourceApplicationEntityTitle", "").strip()


def test_stream_is_read_as_it_arrives():
    data = encode_file_meta(CT, "1.2.3", EXPLICIT, "CT1") + DATASET
    expected = read_file_meta(data)
    for count in range(len(data)):
        try:
            assert read_file_meta(data[:count]) == expected
        except NeedMoreBytes as need:
            assert count < need.minimum <= expected.dataset_offset + 8


def test_every_cut_within_the_meta_is_called_truncated():
    data = encode_file_meta(CT, "1.2.3", EXPLICIT, "CT1")
    for count in range(132, len(data)):
        with pytest.raises(CannotParse, match=r"^truncated: .* within \d+ bytes$"):
            read_file_meta(data[:count], at_end=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"DICM", "not a DICOM file: shorter than the preamble"),
        (b"GIF89a" + bytes(200), "not a DICOM file: DICM is missing"),
        (PREFIX, "truncated: the file meta information does not end within 132 bytes"),
        (PREFIX + DATASET, "lacks the transfer syntax"),
        (group(explicit(0x00020002, "UI", b"1.2\0")) + DATASET, "lacks the transfer syntax"),
        (PREFIX + explicit(0x00020001, "OB", b"", 0xFFFFFFFF) + SYNTAX, "has no length"),
    ],
)
def test_what_is_wrong_is_said(data, reason):
    with pytest.raises(CannotParse, match=reason):
        read_file_meta(data, at_end=True)


def test_meta_beyond_the_limit_is_refused_before_it_arrives():
    with pytest.raises(CannotParse, match="longer than"):
        read_file_meta(PREFIX + explicit(0x00020102, "OB", b"", MAX_META_LENGTH))


@pytest.mark.parametrize("length", [0, 1, 5000, 0xFFFFFFFF])
def test_wrong_group_length_does_not_matter(length):
    data = group(SYNTAX, length=length) + DATASET
    assert read_file_meta(data).dataset_offset == len(data) - len(DATASET)


def test_missing_group_length_and_storage_uids_do_not_matter():
    meta = read_file_meta(PREFIX + SYNTAX + DATASET)
    assert meta == ("", "", EXPLICIT, "", len(PREFIX + SYNTAX), b"", False)


def test_group_in_implicit_vr_is_read():
    data = PREFIX + implicit(0x00020010, b"1.2.840.10008.1.2\0") + DATASET
    assert read_file_meta(data).transfer_syntax_uid == "1.2.840.10008.1.2"


def test_deflate_stream_that_looks_like_group_2_is_the_dataset():
    syntax = explicit(0x00020010, "UI", DEFLATED.encode())
    data = group(syntax)
    assert read_file_meta(data + b"\x02\x00" + bytes(30)).dataset_offset == len(data)


@given(st.binary(max_size=300))
def test_nothing_else_is_raised(tail):
    for at_end in (False, True):
        try:
            read_file_meta(PREFIX + tail, at_end=at_end)
        except CannotParse:
            pass
        except NeedMoreBytes as need:
            assert not at_end
            assert need.minimum > len(PREFIX + tail)
