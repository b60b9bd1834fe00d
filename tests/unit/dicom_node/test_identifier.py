"""Identifiers, encoded by us and read by pydicom, and the other way round."""

from __future__ import annotations

import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from archive.errors import CannotParse
from dicom_node.identifier import encode_identifier, read_identifier

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
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_match_is_read_back(syntax: str) -> None:
    data = encode_identifier(MATCH, syntax, ["ISO_IR 100"])
    ds = read_dataset(BytesIO(data), *SYNTAXES[syntax])
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert [str(name) for name in ds.PatientName] == ["Nguyễn^Đức=阮", "==x"]
    assert ds.Rows == 512
    assert ds.StudyInstanceUID == "1.2.3"
    assert ds.PatientComments == "một\nhai"
    assert "PatientBirthDate" in ds
    assert data.count(b"1.7\\\\2") == 1
    found = read_identifier(data, syntax, None)
    assert found.keys[0x00100010] == "Nguyễn^Đức=阮\\==x"
    assert found.keys[0x00280010] == "512"
    assert found.character_sets == ["ISO_IR 192"]


@given(st.binary(max_size=60), st.sampled_from(sorted(SYNTAXES)))
def test_whatever_is_sent_is_read_or_refused(data: bytes, syntax: str) -> None:
    with contextlib.suppress(CannotParse):
        read_identifier(data, syntax, None)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\^=")))
@pytest.mark.parametrize("term", ["ISO_IR 100", "ISO_IR 144", "GB18030", "ISO_IR 13", "ISO 2022 IR 87", "nonsense", ""])
def test_no_letter_is_ever_replaced(term: str, text: str) -> None:
    data = encode_identifier({"00081030": {"vr": "UT", "Value": [text]}}, EXPLICIT, [term])
    ds = read_dataset(BytesIO(data), False, True)
    codec = {"ISO_IR 100": "latin-1", "ISO_IR 144": "iso8859_5", "GB18030": "gb18030", "ISO_IR 192": "utf-8"}
    raw = ds.get_item(0x00081030).value
    charset = ds.get("SpecificCharacterSet")
    assert charset is None or charset in ("ISO_IR 192", term)
    shown = raw.decode(codec[charset] if charset else "ascii")
    assert shown == text or (len(shown) == len(text) + 1 and shown[:-1] == text)
