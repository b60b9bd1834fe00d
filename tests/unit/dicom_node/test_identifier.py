"""Identifiers, encoded by us and read by pydicom, and the other way round."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items

from archive.errors import CannotParse
from dicom_node.identifier import DEEPEST, MOST_ITEMS, Identifier, encode_identifier, read_identifier

EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
SYNTAXES = {EXPLICIT: (False, True), IMPLICIT: (True, True), BIG_ENDIAN: (False, False)}
MATCH = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Nguyễn^Đức", "Ideographic": "阮"}, {"Phonetic": "x"}]},
    "00280010": {"vr": "US", "Value": [512]},
    "00101020": {"vr": "DS", "Value": [1.7, None, 2]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00104000": {"vr": "LT", "Value": ["một\nhai"]},
    "00100030": {"vr": "DA"},
    "00081195": {"vr": "UT", "Value": ["dài"]},
    "00280009": {"vr": "AT", "Value": ["00181063", "00181065"]},
    "00189087": {"vr": "FD", "Value": [1.5]},
}
SPS, DEVICES, CODE, STATION, NAME = 0x00400100, 0x00400009, 0x00400008, 0x00400001, 0x00400006


def encoded(ds: Dataset, syntax: str) -> bytes:
    """As pydicom writes it."""
    implicit, little = SYNTAXES[syntax]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, ds)
    return buffer.getvalue()


def decoded(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    return read_dataset(BytesIO(data), *SYNTAXES[syntax])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_match_is_read_back(syntax: str) -> None:
    data = encode_identifier(MATCH, syntax, ["ISO_IR 100"])
    ds = decoded(data, syntax)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert [str(name) for name in ds.PatientName] == ["Nguyễn^Đức=阮", "==x"]
    assert ds.Rows == 512
    assert ds.StudyInstanceUID == "1.2.3"
    assert ds.PatientComments == "một\nhai"
    assert "PatientBirthDate" in ds
    assert list(ds.FrameIncrementPointer) == [0x00181063, 0x00181065]
    assert ds[0x00189087].value == 1.5
    assert data.count(b"1.7\\\\2") == 1
    found = read_identifier(data, syntax, None)
    assert found.keys[0x00100010] == "Nguyễn^Đức=阮\\==x"
    assert found.keys[0x00280010] == "512"
    assert found.keys[0x00280009] == "00181063\\00181065"
    assert found.character_sets == ["ISO_IR 192"]
    assert found.sequences == {}


# --- sequences (PS3.5 7.5)


def worklist_query(*, undefined: bool) -> Dataset:
    code = Dataset()
    code.CodeValue = "CT01"
    step = Dataset()
    step.ScheduledStationAETitle = "CT1"
    step.ScheduledPerformingPhysicianName = "Trần^Đức"
    step.ScheduledProtocolCodeSequence = Items([code, Dataset()])
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ScheduledProcedureStepSequence = Items([step])
    ds.RequestedProcedureCodeSequence = Items([Dataset()])
    ds.ReferencedStudySequence = Items()
    ds.PatientName = "Nguyễn*"
    for tag, item in ((SPS, step), (0x00321064, ds.RequestedProcedureCodeSequence[0])):
        ds[tag].is_undefined_length = undefined
        item.is_undefined_length_sequence_item = undefined
    step[CODE].is_undefined_length = undefined
    return ds


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nested_keys_are_read(syntax: str, undefined: bool) -> None:
    found = read_identifier(encoded(worklist_query(undefined=undefined), syntax), syntax, None)
    assert found.keys[0x00100010] == "Nguyễn*"
    (step,) = found.sequences[SPS]
    assert step.keys == {STATION: "CT1", NAME: "Trần^Đức", CODE: ""}
    assert [item.keys for item in step.sequences[CODE]] == [{0x00080100: "CT01"}, {}]
    assert found.sequences[0x00321064] == [Identifier({}, ["ISO_IR 192"])]
    assert found.sequences[0x00081110] == []
    assert found.keys[0x00081110] == ""


def test_an_item_has_a_character_set_of_its_own() -> None:
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 100"
    step.ScheduledPerformingPhysicianName = "Jérôme"
    ds = worklist_query(undefined=False)
    ds.ScheduledProcedureStepSequence = Items([step])
    found = read_identifier(encoded(ds, EXPLICIT), EXPLICIT, None)
    assert found.sequences[SPS][0].keys[NAME] == "Jérôme"
    assert found.sequences[SPS][0].character_sets == ["ISO_IR 100"]


def test_a_sequence_sent_as_un_is_read() -> None:
    item = b"\xfe\xff\x00\xe0\x0c\0\0\0" + b"\x40\0\1\0\4\0\0\0CT1 "
    data = b"\x40\0\0\1UN\0\0" + len(item).to_bytes(4, "little") + item
    assert read_identifier(data, EXPLICIT, None).sequences[SPS][0].keys == {STATION: "CT1"}


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data
        data = b"\x40\0\0\1SQ\0\0" + len(item).to_bytes(4, "little") + item
    return data


def test_depth_and_number_of_items_are_bounded() -> None:
    read_identifier(nested(DEEPEST), EXPLICIT, None)
    with pytest.raises(CannotParse, match=f"more than {DEEPEST} deep"):
        read_identifier(nested(DEEPEST + 1), EXPLICIT, None)
    for count in (MOST_ITEMS, MOST_ITEMS + 1):
        items = b"\xfe\xff\x00\xe0\0\0\0\0" * count
        data = b"\x40\0\0\1SQ\0\0" + len(items).to_bytes(4, "little") + items
        if count == MOST_ITEMS:
            assert len(read_identifier(data, EXPLICIT, None).sequences[SPS]) == count
        else:
            with pytest.raises(CannotParse, match=f"more than {MOST_ITEMS} items"):
                read_identifier(data, EXPLICIT, None)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_are_written(syntax: str) -> None:
    step = {
        "00400001": {"vr": "AE", "Value": ["CT1", "CT2"]},
        "00400006": {"vr": "PN", "Value": [{"Alphabetic": "Đức"}]},
    }
    step["00400008"] = {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["Sọ não"]}}, {}]}
    answer = {"00400100": {"vr": "SQ", "Value": [step]}, "00081110": {"vr": "SQ"}, "00100020": {"vr": "LO"}}
    ds = decoded(encode_identifier(answer, syntax), syntax)
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    (item,) = ds.ScheduledProcedureStepSequence
    assert "SpecificCharacterSet" not in item
    assert list(item.ScheduledStationAETitle) == ["CT1", "CT2"]
    assert str(item.ScheduledPerformingPhysicianName) == "Đức"
    assert item.ScheduledProtocolCodeSequence[0].CodeMeaning == "Sọ não"
    assert len(item.ScheduledProtocolCodeSequence[1]) == 0
    assert len(ds.ReferencedStudySequence) == 0
    back = read_identifier(encode_identifier(answer, syntax), syntax, None)
    assert back.sequences[SPS][0].sequences[CODE][0].keys == {0x00080104: "Sọ não"}


@given(st.binary(max_size=60), st.sampled_from(sorted(SYNTAXES)))
def test_whatever_is_sent_is_read_or_refused(data: bytes, syntax: str) -> None:
    with contextlib.suppress(CannotParse):
        read_identifier(data, syntax, None)


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans(), st.sampled_from(sorted(SYNTAXES)))
def test_damaged_sequences_are_read_or_refused(place: int, byte: int, undefined: bool, syntax: str) -> None:
    data = bytearray(encoded(worklist_query(undefined=undefined), syntax))
    data[place % len(data)] = byte
    with contextlib.suppress(CannotParse):
        read_identifier(bytes(data), syntax, None)


# --- character sets


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\^=")))
@pytest.mark.parametrize("term", ["ISO_IR 100", "ISO_IR 144", "GB18030", "ISO_IR 13", "ISO 2022 IR 87", "nonsense", ""])
def test_no_letter_is_ever_replaced(term: str, text: str) -> None:
    data = encode_identifier({"00081030": {"vr": "UT", "Value": [text]}}, EXPLICIT, [term])
    ds = decoded(data)
    codec = {"ISO_IR 100": "latin-1", "ISO_IR 144": "iso8859_5", "GB18030": "gb18030", "ISO_IR 192": "utf-8"}
    raw = ds.get_item(0x00081030).value
    charset = ds.get("SpecificCharacterSet")
    assert charset is None or charset in ("ISO_IR 192", term)
    shown = raw.decode(codec[charset] if charset else "ascii")
    assert shown == text or (len(shown) == len(text) + 1 and shown[:-1] == text)


NAMED = {"vr": "PN", "Value": [{"Alphabetic": "Nguyễn^Đức", "Ideographic": "阮"}]}


@pytest.mark.parametrize(
    ("wanted", "shown", "name", "charset", "given"),
    [
        ([], [], "Đức", "ISO_IR 192", "Đức"),
        (["ISO_IR 100"], ["ISO_IR 100"], "Buc^Jérôme", "ISO_IR 100", "Buc^Jérôme"),
        ([], ["ISO_IR 101", "ISO_IR 100"], "Buc^Jérôme", "ISO_IR 101", "Buc^Jérôme"),
        (["ISO_IR 100"], ["ISO_IR 101", "ISO_IR 100"], "Buc^Jérôme", "ISO_IR 100", "Buc^Jérôme"),
        (["ISO_IR 192"], ["ISO_IR 100"], "Buc^Jérôme", "ISO_IR 100", "Buc^Jérôme"),
        (["ISO_IR 192"], ["ISO_IR 100"], "Nguyễn^Đức", None, "Nguyen^Duc"),
        (["ISO_IR 100"], ["ISO_IR 100", "ISO_IR 192"], "Nguyễn^Đức", "ISO_IR 192", "Nguyễn^Đức"),
        (["ISO_IR 100"], ["ISO_IR 6"], "Buc^Jérôme", None, "Buc^Jerome"),
        (["", "ISO 2022 IR 100"], [], "Buc^Jérôme", "ISO_IR 100", "Buc^Jérôme"),
        (["ISO 2022 IR 100"], ["ISO_IR 100"], "Buc^Jérôme", "ISO_IR 100", "Buc^Jérôme"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], ["ISO_IR 100"], "Kim^X=金", None, "Kim^X"),
        ([], ["ISO_IR 100"], "Люк", None, "___"),
        (["TCVN3"], [], "Đức", "ISO_IR 192", "Đức"),
    ],
)
def test_the_character_set_is_one_that_the_device_can_show(
    wanted: list[str], shown: list[str], name: str, charset: str | None, given: str
) -> None:
    value = dict(zip(("Alphabetic", "Ideographic"), name.split("="), strict=False))
    answer: dict[str, Any] = {
        "00100010": {"vr": "PN", "Value": [value]},
        "00400100": {"vr": "SQ", "Value": [{"00400006": {"vr": "PN", "Value": [value]}}]},
    }
    ds = decoded(encode_identifier(answer, EXPLICIT, wanted, shown))
    assert ds.get("SpecificCharacterSet") == charset
    assert str(ds.PatientName) == given
    assert str(ds.ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName) == given


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_a_device_without_the_letters_gets_ascii_with_the_same_structure(text: str) -> None:
    element = {"vr": "UC", "Value": [text]}
    data = encode_identifier({"00080119": element}, EXPLICIT, ["ISO_IR 192"], ["ISO_IR 6"])
    written = data[12:].decode("ascii")
    assert [written.count(each) for each in "\\^=?*"] == [text.count(each) for each in "\\^=?*"]


def test_a_long_value_is_cut_between_characters() -> None:
    data = encode_identifier({"00104000": {"vr": "LT", "Value": ["x" + "ễ" * 30_000]}}, EXPLICIT)
    raw = decoded(data).get_item(0x00104000).value
    assert raw.decode().rstrip() == "x" + "ễ" * ((0xFFFE - 1) // 3)
