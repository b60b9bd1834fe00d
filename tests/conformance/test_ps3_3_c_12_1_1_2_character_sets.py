"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1, Annexes H to K), and values as dates, times and numbers."""

import unicodedata
from datetime import date, time
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.data import get_charset_files

from archive.standard.file_format import read_file_meta
from archive.standard.scan import scan
from archive.standard.text import (
    character_sets_of,
    decode,
    decode_checked,
    fold,
    parse_date,
    parse_int,
    parse_time,
)
from tests.unit.standard.encoding import reader

NAME = "Nguyễn Văn Đức"
# Windows-1258 has tone marks of their own behind the letter.
TONES_APART = unicodedata.normalize("NFC", "Nguyê\u0303n Văn Đư\u0301c")
WINDOWS = "Nguyê\u0303n Văn Đư\u0301c".encode("cp1258")
FILES = [Path(name) for name in get_charset_files("*.dcm") if "SQEncoding" not in name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_names_of_the_corpus_are_pydicoms(path):
    data = path.read_bytes()
    dataset = data[read_file_meta(data).dataset_offset :]
    found = scan(reader(dataset), len(dataset), "1.2.840.10008.1.2.1", frozenset((0x00080005, 0x00100010))).elements
    ds = pydicom.dcmread(path)
    text, lossy = decode_checked(found[0x00100010].value, "PN", character_sets_of(found[0x00080005].value))
    assert text.rstrip("=") == unicodedata.normalize("NFC", str(ds.PatientName).rstrip("="))
    assert not lossy


@pytest.mark.parametrize(
    ("value", "terms", "text"),
    [
        # PS3.5 K.2, without and with code extensions of GB 2312.
        (b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", ["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东="),
        (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", ["GB18030"], "Wang^XiaoDong=王^小东="),
        (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", ["GBK"], "Wang^XiaoDong=王^小东="),
        (b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf", ["", "ISO 2022 IR 149"], "김희중"),
        (b"\xd4\xcf\xc2", ["ISO_IR 13"], "ﾔﾏﾂ"),
        ("Đức".encode(), ["ISO_IR 192"], "Đức"),
        ("Đức".encode(), ["iso-ir 192"], "Đức"),
        ("Đức".encode(), ["UTF-8"], "Đức"),
        (b"J\xe9r\xf4me", ["ISO_IR 100"], "Jérôme"),
        (b"J\xe9r\xf4me", ["ISO IR 100"], "Jérôme"),
        (b"J\xe9r\xf4me", ["ISO_IR 100", "BOGUS"], "Jérôme"),
        # PS3.5 6.1.2.5.3: a delimiter returns to the first character set.
        (b"\x1b-F\xc4\xe9\\J\xe9r\xf4me", ["ISO 2022 IR 100", "ISO 2022 IR 126"], "Δι\\Jérôme"),
        (b"\x1b-F\xc4\xe9^J\xe9", ["ISO 2022 IR 100", "ISO 2022 IR 126"], "Δι^Jé"),
    ],
)
def test_declared_character_sets(value, terms, text):
    assert decode_checked(value, "PN", terms) == (text, False)


@pytest.mark.parametrize("terms", [[], ["ISO_IR 6"], ["ISO_IR 100"], ["BOGUS"], ["", "ISO 2022 IR 149"]])
def test_utf_8_is_found_where_it_is_not_declared(terms):
    """Also under Latin 1, as which these bytes would have control characters that DICOM does not have."""
    assert decode_checked(NAME.encode(), "PN", terms) == (NAME, False)


@pytest.mark.parametrize("terms", [[], ["ISO_IR 6"], ["ISO_IR 192"], ["BOGUS"]])
def test_windows_1258_is_guessed_last_and_reported(terms):
    assert decode_checked(WINDOWS, "PN", terms) == (TONES_APART, True)
    assert fold(decode(WINDOWS, "PN", terms)) == "NGUYEN VAN DUC"


def test_tone_marks_without_letters_are_not_windows_1258():
    assert decode_checked(b"\xcc\xd2 1", "LO", []) == ("ÌÒ 1", True)


def test_declared_latin_1_is_believed():
    assert decode_checked("Größe 5 µm".encode("latin_1"), "LO", ["ISO_IR 100"]) == ("Größe 5 µm", False)


def test_result_is_composed():
    assert decode(unicodedata.normalize("NFD", NAME).encode(), "PN", ["ISO_IR 192"]) == NAME


@pytest.mark.parametrize(
    ("value", "vr", "text"),
    [
        (b"1.2.3\0", "UI", "1.2.3"),
        (b"CT ", "CS", "CT"),
        (b" CT ", "SH", "CT"),
        (b" line\r\nline \0", "LT", " line\r\nline"),
        (b"a\0b\x07c", "LO", "abc"),
        (b"", "PN", ""),
        (b"   ", "PN", ""),
        (b"A\\B ", "LO", "A\\B"),
        ("phế".encode(), "CS", "phế"),
    ],
)
def test_padding_and_controls_are_removed(value, vr, text):
    assert decode_checked(value, vr, ["ISO_IR 192"]) == (text, False)


@pytest.mark.parametrize(
    ("raw", "default", "terms"),
    [
        (b"ISO_IR 100", None, ["ISO_IR 100"]),
        (b"ISO_IR 192 ", None, ["ISO_IR 192"]),
        (b"\\ISO 2022 IR 149", None, ["", "ISO 2022 IR 149"]),
        (b"", "ISO_IR 192", ["ISO_IR 192"]),
        (b" ", None, []),
        (None, None, []),
        (None, "ISO_IR 192", ["ISO_IR 192"]),
        (b"ISO_IR 100\0", "ISO_IR 192", ["ISO_IR 100"]),
    ],
)
def test_terms(raw, default, terms):
    assert character_sets_of(raw, default) == terms


@given(
    st.binary(max_size=80),
    st.sampled_from(["PN", "LO", "UI", "UT", "CS", "ZZ"]),
    st.lists(st.sampled_from([*python_encoding, "BOGUS", "iso ir 100", "idna", "unicode_escape"]), max_size=4),
)
def test_nothing_is_ever_raised(value, vr, terms):
    text, _ = decode_checked(value, vr, terms)
    assert "\0" not in text
    assert text == unicodedata.normalize("NFC", text)
    text.encode()


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        (NAME, "NGUYEN VAN DUC"),
        (unicodedata.normalize("NFD", NAME), "NGUYEN VAN DUC"),
        ("nguyễn^văn  đức=", "NGUYEN VAN DUC"),
        ("ĐẶNG^THỊ^HƯỜNG^^BS", "DANG THI HUONG BS"),
        ("Ðặng", "DANG"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "YAMADA TAROU 山田 太郎 やまた たろう"),
        ("Größe^Øre", "GROSSE ORE"),
        ("  a\tb\n", "A B"),
        ("", ""),
    ],
)
def test_fold(text, folded):
    assert fold(text) == folded


@given(st.text(max_size=40))
def test_fold_is_the_same_for_all_forms_and_for_itself(text):
    folded = fold(text)
    assert fold(unicodedata.normalize("NFC", text)) == folded
    assert fold(unicodedata.normalize("NFD", text)) == folded
    assert fold(folded) == folded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20240229", date(2024, 2, 29)),
        ("2024.02.29", date(2024, 2, 29)),
        (" 20240229 ", date(2024, 2, 29)),
        ("20240229\\20250101", date(2024, 2, 29)),
        ("20230229", None),
        ("2024.0229", None),
        ("20240101-20240201", None),
        ("00000000", None),
        ("", None),
        ("٢٠٢٤٠١٠١", None),
    ],
)
def test_date(text, value):
    assert parse_date(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("235959.999999", time(23, 59, 59, 999999)),
        ("235959.5", time(23, 59, 59, 500000)),
        ("0730", time(7, 30)),
        ("07", time(7)),
        ("07:30:15", time(7, 30, 15)),
        ("07:30:15.25", time(7, 30, 15, 250000)),
        ("235960", time(23, 59, 59)),
        ("235959.123456789", time(23, 59, 59, 123456)),
        ("120000\\130000", time(12)),
        ("240000", None),
        ("7", None),
        ("", None),
    ],
)
def test_time(text, value):
    assert parse_time(text) == value


@pytest.mark.parametrize(
    ("text", "bits", "value"),
    [
        ("12", 64, 12),
        (" +12 ", 64, 12),
        ("-1\\5", 64, -1),
        ("12.000", 64, 12),
        ("12.5", 64, None),
        ("1e3", 64, None),
        ("1_0", 64, None),
        ("", 64, None),
        ("9223372036854775807", 64, 9223372036854775807),
        ("9223372036854775808", 64, None),
        ("2147483647", 32, 2147483647),
        ("2147483648", 32, None),
        ("-2147483648", 32, -2147483648),
        ("9" * 5000, 64, None),
    ],
)
def test_integer(text, bits, value):
    assert parse_int(text, bits=bits) == value


@given(st.text(max_size=30))
def test_typed_values_never_raise(text):
    parse_date(text)
    parse_time(text)
    parse_int(text)
