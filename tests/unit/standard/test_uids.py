"""UIDs, storage SOP classes and transfer syntaxes (PS3.5 9.1, PS3.4 B.5, PS3.5 10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid as pydicom_uid

from archive.errors import InvalidUID
from archive.standard.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    NON_PATIENT_SOP_CLASSES,
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    check_uid,
    is_storage_sop_class,
    is_supported_transfer_syntax,
    is_uid,
    transfer_syntax,
)
from tests.corpus import corpus


@pytest.mark.parametrize("text", ["1", "1.2.3", "0.0", "1." + "2" * 62, "1.02.3", "2.25.0"])
def test_uid_is_accepted(text):
    assert is_uid(text)
    assert check_uid(text, "Study Instance UID") == text


@pytest.mark.parametrize("text", ["", ".", "1.", ".1", "1..2", "1.2 ", "1.2\0", "1.a", "1." + "2" * 63, "١.٢", "1.2\n"])
def test_uid_is_refused(text):
    assert not is_uid(text)
    with pytest.raises(InvalidUID):
        check_uid(text, "Study Instance UID")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Study Instance UID is missing"),
        ("1" * 65, "Study Instance UID has 65 characters, more than 64: '111"),
        ("1.2/../3", "Study Instance UID has characters other than digits and dots: '1.2/../3'"),
        ("1..2", "Study Instance UID has an empty component: '1..2'"),
    ],
)
def test_refusal_names_the_fault(text, fault):
    with pytest.raises(InvalidUID) as caught:
        check_uid(text, "Study Instance UID")
    assert str(caught.value).startswith(fault)


@given(st.text(min_size=1, max_size=300))
def test_refusal_does_not_echo_much(text):
    if not is_uid(text):
        with pytest.raises(InvalidUID) as caught:
            check_uid(text, "X")
        message = str(caught.value)
        assert len(message) <= len("X has characters other than digits and dots: ") + 80
        assert message.isprintable()


def test_own_identifiers_fit_the_standard():
    assert is_uid(IMPLEMENTATION_CLASS_UID)
    assert IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.2",  # CT
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame, retired
        "1.2.840.10008.5.1.4.1.1.9",  # Standalone Curve, retired
        "1.2.840.10008.5.1.1.30",  # Hardcopy Color, retired
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation, newer than pydicom
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.4.1.1.501.1",  # DICOS
        "1.2.840.10008.5.1.4.1.1.9999.1",  # of an edition to come
        "1.2.840.113619.4.26",  # private
        "1.3.12.2.1107.5.9.1",  # private
    ],
)
def test_storage_sop_class(uid):
    assert is_storage_sop_class(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1.2.x",
        "1.2.840.10008.1.1",  # Verification
        "1.2.840.10008.1.3.10",  # Media Storage Directory Storage
        "1.2.840.10008.1.20.1",  # Storage Commitment
        "1.2.840.10008.3.1.2.3.3",  # MPPS
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root FIND
        "1.2.840.10008.5.1.4.31",  # Modality Worklist
        "1.2.840.10008.5.1.4.1.1.201.2",  # Inventory FIND
        "1.2.840.10008.5.1.1.1",  # Basic Film Session
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol, of no patient
        "1.2.840.10008.5.1.4.39.1",  # Color Palette, of no patient
        "1.2.840.10008.9.9.9",  # nothing yet
    ],
)
def test_other_sop_class(uid):
    assert not is_storage_sop_class(uid)


def test_every_storage_class_pydicom_knows_is_one():
    named = {
        uid for uid, entry in pydicom_uid.UID_dictionary.items() if entry[1] == "SOP Class" and "Storage" in entry[0]
    }
    others = {"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"}
    assert named - others - NON_PATIENT_SOP_CLASSES == named & STORAGE_SOP_CLASSES.keys()
    assert not NON_PATIENT_SOP_CLASSES & STORAGE_SOP_CLASSES.keys()
    assert all(is_storage_sop_class(uid) for uid in STORAGE_SOP_CLASSES)


@pytest.mark.parametrize("uid", sorted(TRANSFER_SYNTAXES))
def test_transfer_syntax_agrees_with_pydicom(uid):
    ours, theirs = TRANSFER_SYNTAXES[uid], pydicom_uid.UID(uid)
    if theirs.is_private or uid not in pydicom_uid.UID_dictionary or not ours.storable:
        return
    assert ours.little_endian == theirs.is_little_endian
    assert ours.deflated == theirs.is_deflated or uid.endswith((".95", ".205"))
    if not uid.endswith((".94", ".95", ".204", ".205", ".1.20")):
        assert ours.encapsulated == theirs.is_encapsulated
        assert ours.implicit_vr == theirs.is_implicit_VR


@pytest.mark.parametrize(
    ("uid", "supported"),
    [
        ("1.2.840.10008.1.2", True),
        ("1.2.840.10008.1.2.4.94", True),
        ("1.2.840.10008.1.2.4.112", True),
        ("1.2.840.10008.1.2.4.999", True),
        ("1.2.840.113619.5.2", True),
        ("1.3.46.670589.33.1.4.1", True),
        ("1.2.840.10008.1.2.6.2", False),
        ("1.2.840.10008.1.2.7.1", False),
        ("1.2.840.10008.1.1", False),
        ("1.2.840.10008.1.2.77", False),
        ("", False),
        ("abc", False),
    ],
)
def test_supported_transfer_syntax(uid, supported):
    assert is_supported_transfer_syntax(uid) is supported


def test_unknown_compression_is_explicit_little_endian_and_encapsulated():
    syntax = transfer_syntax("1.2.840.10008.1.2.4.999")
    assert syntax is not None
    assert (syntax.implicit_vr, syntax.little_endian, syntax.encapsulated) == (False, True, True)


def test_ge_private_syntax_has_big_endian_pixels():
    syntax = transfer_syntax("1.2.840.113619.5.2")
    assert syntax is not None
    assert (syntax.implicit_vr, syntax.little_endian, syntax.pixels_big_endian) == (True, True, True)


def test_lossy_and_video_flags():
    lossy = {uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.lossy}
    assert {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"} <= lossy
    assert not lossy & {"1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2"}
    video = {uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.video}
    assert "1.2.840.10008.1.2.4.102.1" in video
    assert "1.2.840.10008.1.2.4.50" not in video


def test_corpus_is_as_large_as_was_reported():
    assert len(corpus()) >= 250
    assert sum(file.is_storage_object for file in corpus()) >= 225
