"""The DICOM JSON model (PS3.18 Annex F), held against pydicom over its corpus."""

import base64
import functools
import json
import math
import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import orjson
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archive.errors import CannotParse
from archive.standard.file_format import read_file_meta
from archive.standard.json_model import BulkPath, dataset_json, header_json
from archive.standard.json_text import TextWriter, Unusual, marked, with_addresses
from archive.standard.scan import scan
from tests.corpus import CorpusFile, corpus
from tests.unit.standard.encoding import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    fragments,
    implicit,
    item,
    reader,
)

OBJECTS = [file for file in corpus() if file.is_storage_object]
PYDICOM_WARNS = pytest.mark.filterwarnings("ignore")
PIXELS = {"7FE00010", "7FE00008", "7FE00009"}


def uri(path: BulkPath) -> str:
    return "/".join(map(str, path))


def from_bytes(data: bytes, syntax: str = EXPLICIT, limit: int = 1024) -> dict[str, Any]:
    """Read with pydicom and directly, and demand the same."""
    code = pydicom.uid.UID(syntax)
    ds = pydicom.filereader.read_dataset(BytesIO(data), code.is_implicit_VR, code.is_little_endian)
    written = dataset_json(ds, uri, limit)
    assert header_json(data, syntax, uri, limit) == written
    assert_text_is_the_same(TextWriter(limit), data, syntax, limit)
    assert list(written) == sorted(written)
    assert json.loads(orjson.dumps(written)) == written
    return written


def assert_text_is_the_same(writer: TextWriter, data: bytes, syntax: str, limit: int = 1024) -> bool:
    """Demand of what is written as text that it is the model of the same bytes; give whether anything was."""
    try:
        wanted = orjson.dumps(header_json(data, syntax, marked("/x/"), limit))
    except CannotParse:
        wanted = b""
    # Made, and then remembered.
    for _ in range(2):
        try:
            written = writer.write(data, syntax, None, "/x/")
        except Unusual:
            return False
        assert written == wanted
    return True


def comparable(ours: dict[str, Any], skip: set[str]) -> dict[str, Any]:
    """Leave out where both are right, or pydicom is not: private dictionaries, padding, null for empty."""
    kept = {}
    for key, attribute in ours.items():
        if int(key[:4], 16) % 2 or key.endswith("0000") or key in skip or key in PIXELS:
            continue
        attribute = dict(attribute)
        values = attribute.get("Value")
        if attribute["vr"] == "SQ":
            attribute["Value"] = [comparable(each, skip) for each in values or []]
        elif values:
            attribute["Value"] = [each.strip() or None if isinstance(each, str) else each for each in values]
        kept[key] = attribute
    return kept


def skipped(file: CorpusFile) -> set[str]:
    # Character sets become UTF-8; palettes are never bulk data here; and pydicom keeps the byte order of big endian
    # words, although InlineBinary is little endian (PS3.18 F.2.7).
    skip = {"00080005", "FFFCFFFC", "00281221", "00281222", "00281223"}
    return skip | {"00281201", "00281202", "00281203"} if file.transfer_syntax_uid == BIG_ENDIAN else skip


@PYDICOM_WARNS
@pytest.mark.parametrize("file", OBJECTS, ids=lambda file: file.path.name)
def test_corpus_is_written_as_pydicom_does(file):
    ours = dataset_json(pydicom.dcmread(file.path), uri)
    orjson.dumps(ours)
    try:
        theirs = pydicom.dcmread(file.path).to_json_dict(1024 // 3 * 4, lambda element: f"{element.tag:08X}")
    except ValueError:
        assert file.path.name == "badVR.dcm"
        return
    skip = skipped(file)
    assert shortened(comparable(ours, skip)) == shortened(comparable(theirs, skip))
    assert list(ours) == sorted(ours)


def shortened(written: dict[str, Any]) -> dict[str, Any]:
    """Reduce the paths of bulk data to their tags, which is what pydicom's handler is told."""
    for attribute in written.values():
        if "BulkDataURI" in attribute:
            attribute["BulkDataURI"] = attribute["BulkDataURI"].rpartition("/")[2]
        if attribute["vr"] == "SQ":
            attribute["Value"] = [shortened(each) for each in attribute["Value"]]
    return written


@PYDICOM_WARNS
@pytest.mark.parametrize("file", OBJECTS, ids=lambda file: file.path.name)
def test_bytes_and_datasets_of_the_corpus_are_written_alike(file):
    if file.transfer_syntax_uid == DEFLATED:
        return
    data = file.path.read_bytes()
    data = data[read_file_meta(data).dataset_offset :]
    length = scan(reader(data), len(data), file.transfer_syntax_uid, frozenset()).header_length
    ours = header_json(data[:length], file.transfer_syntax_uid, uri)
    assert ours == dataset_json(pydicom.dcmread(file.path, stop_before_pixels=True), uri) | {
        key: value for key, value in ours.items() if key.startswith("7FE0")
    }


@PYDICOM_WARNS
@pytest.mark.parametrize("file", OBJECTS[::5], ids=lambda file: file.path.name)
def test_it_does_not_matter_whether_pydicom_has_decoded_the_elements(file):
    raw, decoded = pydicom.dcmread(file.path), pydicom.dcmread(file.path)
    for _ in decoded.iterall():
        pass
    skip = {"00281201", "00281202", "00281203"} if file.transfer_syntax_uid == BIG_ENDIAN else set()
    skip |= {"00281221", "00281222", "00281223"} if file.transfer_syntax_uid == BIG_ENDIAN else set()
    assert comparable(dataset_json(decoded, uri), skip) == comparable(dataset_json(raw, uri), skip)


@pytest.mark.parametrize(
    ("tag", "vr", "value", "values"),
    [
        (0x00180050, "DS", b"1.5\\abc\\\\1e400\\nan\\1_0\\ 2 ", [1.5, None, None, None, None, None, 2.0]),
        (0x00200013, "IS", b"12\\1A\\\\99999999999999999999", [12, None, None, None]),
        (
            0x00189073,
            "FD",
            struct.pack("<4d", 1.5, math.nan, math.inf, -math.inf),
            [1.5, "NaN", "Infinity", "-Infinity"],
        ),
        (0x00186024, "FL", struct.pack("<2f", 0.5, math.nan), [0.5, "NaN"]),
        (0x00280009, "AT", b"\x18\x00\x63\x10\x54\x00\x00\x10", ["00181063", "00541000"]),
        (0x00280010, "US", b"\xff\xff", [65535]),
        (0x00280106, "SS", b"\xff\xff", [-1]),
        (0x00080001, "UL", b"\xff\xff\xff\xff", [4294967295]),
        (0x7FE00003, "UV", b"\xff" * 8, [18446744073709551615]),
        (
            0x00100010,
            "PN",
            "Nguyen^Van=阮^文=".encode() + b"\\\\A^B",
            [
                {"Alphabetic": "Nguyen^Van", "Ideographic": "阮^文"},
                None,
                {"Alphabetic": "A^B"},
            ],
        ),
        (0x00100010, "PN", b"==Phonetic^Only", [{"Phonetic": "Phonetic^Only"}]),
        (0x00080008, "CS", b"ORIGINAL \\PRIMARY\\", ["ORIGINAL", "PRIMARY", None]),
        (0x00104000, "LT", b"one\\still one ", ["one\\still one"]),
        (0x00081190, "UR", b"http://a/b?c\\d ", ["http://a/b?c\\d"]),
        (0x00080018, "UI", b"1.2.3\0", ["1.2.3"]),
    ],
)
def test_values(tag, vr, value, values):
    charset = explicit(0x00080005, "CS", b"ISO_IR 192") if tag > 0x00080005 else b""
    assert from_bytes(charset + explicit(tag, vr, value))[f"{tag:08X}"] == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["AE", "AT", "CS", "DS", "FD", "IS", "LO", "OB", "PN", "SQ", "UI", "UN", "US", "UT"])
def test_empty_elements_have_no_value(vr):
    assert from_bytes(explicit(0x00091010, vr, b""))["00091010"] == {"vr": vr}


def test_numbers_with_bytes_missing_lose_only_those():
    assert from_bytes(explicit(0x00280010, "US", b"\x01\x00\x02"))["00280010"]["Value"] == [1]


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
def test_binary_is_inline_up_to_the_limit(vr):
    value = bytes(range(16))
    data = explicit(0x00091010, vr, value)
    assert from_bytes(data, limit=16)["00091010"] == {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
    assert from_bytes(data, limit=15)["00091010"] == {"vr": vr, "BulkDataURI": "00091010"}


def test_bulk_data_in_items_are_named_by_their_path():
    inner = explicit(0x54001010, "OW", bytes(2000))
    data = explicit(0x54000100, "SQ", item(b"") + item(inner))
    written = from_bytes(data)["54000100"]["Value"]
    assert written == [{}, {"54001010": {"vr": "OW", "BulkDataURI": "54000100/1/54001010"}}]


@pytest.mark.parametrize("tag", [0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223])
def test_palettes_are_always_inline(tag):
    assert "InlineBinary" in from_bytes(explicit(tag, "OW", bytes(5000)))[f"{tag:08X}"]


@pytest.mark.parametrize("pixels", [explicit(0x7FE00010, "OW", b"ab"), fragments([b"ab"], vr="OB")])
def test_pixel_data_are_always_bulk_data(pixels):
    written = from_bytes(pixels)["7FE00010"]
    assert written["BulkDataURI"] == "7FE00010"
    assert header_json(pixels, EXPLICIT, None) == {}
    icon = explicit(0x00880200, "SQ", item(pixels))
    assert from_bytes(icon)["00880200"]["Value"][0]["7FE00010"]["BulkDataURI"] == "00880200/0/7FE00010"


def test_without_uris_everything_else_is_inline():
    data = explicit(0x00420011, "OB", bytes(5000)) + explicit(0x7FE00010, "OW", bytes(10))
    written = header_json(data, EXPLICIT, None)
    assert list(written) == ["00420011"]
    assert len(base64.b64decode(written["00420011"]["InlineBinary"])) == 5000


def test_group_lengths_meta_commands_and_padding_are_left_out():
    data = (
        explicit(0x00020010, "UI", b"1.2\0") + explicit(0x00080000, "UL", bytes(4)) + explicit(0x00080060, "CS", b"CT")
    )
    data += explicit(0xFFFCFFFC, "OB", bytes(8))
    assert from_bytes(data) == {"00080060": {"vr": "CS", "Value": ["CT"]}}


def test_text_is_decoded_and_declared_utf_8():
    data = explicit(0x00080005, "CS", b"ISO_IR 100") + explicit(0x00100010, "PN", "Jérôme".encode("latin_1"))
    assert from_bytes(data) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Jérôme"}]},
    }


def test_utf_8_is_declared_where_nothing_was_and_it_is_needed():
    data = explicit(0x00080060, "CS", b"CT") + explicit(0x00100010, "PN", "Đức".encode())
    assert from_bytes(data)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert "00080005" not in from_bytes(explicit(0x00080060, "CS", b"CT"))


def test_items_inherit_the_character_set_or_have_their_own():
    name = explicit(0x00100010, "PN", "é".encode("latin_1"))
    greek = explicit(0x00080005, "CS", b"ISO_IR 126") + explicit(0x00100010, "PN", b"\xe4")
    data = explicit(0x00080005, "CS", b"ISO_IR 100") + explicit(0x00081110, "SQ", item(name) + item(greek))
    first, second = from_bytes(data)["00081110"]["Value"]
    assert first["00100010"]["Value"] == [{"Alphabetic": "é"}]
    assert second["00100010"]["Value"] == [{"Alphabetic": "δ"}]
    assert second["00080005"]["Value"] == ["ISO_IR 192"]


def test_big_endian_is_turned_around():
    data = explicit(0x00280010, "US", b"\x02\x00", order=">") + explicit(
        0x00281201, "OW", b"\x00\x01\x00\x02", order=">"
    )
    written = from_bytes(data, BIG_ENDIAN)
    assert written["00280010"]["Value"] == [512]
    assert base64.b64decode(written["00281201"]["InlineBinary"]) == b"\x01\x00\x02\x00"


def test_pixel_representation_decides_the_sign_in_implicit_vr():
    smallest = implicit(0x00280106, b"\xff\xff")
    unsigned = implicit(0x00280103, b"\x00\x00") + smallest
    signed = implicit(0x00280103, b"\x01\x00") + smallest
    assert from_bytes(unsigned, IMPLICIT)["00280106"] == {"vr": "US", "Value": [65535]}
    assert from_bytes(signed, IMPLICIT)["00280106"] == {"vr": "SS", "Value": [-1]}


def test_known_tags_in_un_are_read_and_private_ones_are_kept():
    inside = item(implicit(0x00080100, b"T1"))
    data = explicit(0x00080060, "UN", b"CT") + explicit(0x00081032, "UN", inside) + explicit(0x00091010, "UN", b"ab")
    assert from_bytes(data) == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}]},
        "00091010": {"vr": "UN", "InlineBinary": "YWI="},
    }


def test_sequences_of_undefined_length():
    code = explicit(0x00080100, "SH", b"T1")
    data = explicit(0x00081032, "SQ", item(code + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
    assert from_bytes(data)["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["T1"]}}]


def test_broken_sequence_keeps_the_items_before():
    code = explicit(0x00080100, "SH", b"T1")
    data = explicit(0x00081032, "SQ", item(code) + item(code, 500))
    assert len(header_json(data, EXPLICIT, uri)["00081032"]["Value"]) == 1


def test_nesting_beyond_all_measure_is_cut():
    data = explicit(0x00080100, "SH", b"T1")
    for _ in range(3_000):
        data = explicit(0x00081032, "SQ", item(data))
    assert orjson.dumps(header_json(data, EXPLICIT, uri))


@PYDICOM_WARNS
def test_datasets_made_by_programs_are_written():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientWeight, ds.Rows, ds.PatientSex = "Đức^Văn", 60.5, 512, ""
    ds.FrameIncrementPointer, ds.ImageType, ds.InstanceNumber = 0x00181063, ["ORIGINAL", "PRIMARY"], None
    ds.ReferencedImageSequence = Sequence([Dataset()])
    ds.EncapsulatedDocument = b"%PDF"
    assert dataset_json(ds, None) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
        "00081140": {"vr": "SQ", "Value": [{}]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Đức^Văn"}]},
        "00100040": {"vr": "CS"},
        "00101030": {"vr": "DS", "Value": [60.5]},
        "00200013": {"vr": "IS"},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00420011": {"vr": "OB", "InlineBinary": "JVBERg=="},
    }


@PYDICOM_WARNS
@pytest.mark.parametrize("file", OBJECTS[::9], ids=lambda file: file.path.name)
def test_pydicom_reads_what_is_written(file):
    written = dataset_json(pydicom.dcmread(file.path, stop_before_pixels=True), None)
    back = Dataset.from_json(orjson.dumps(written).decode())
    assert comparable(back.to_json_dict(), {"00080005"}) == comparable(written, {"00080005"})


@functools.cache
def header_of(file: CorpusFile) -> bytes:
    data = file.path.read_bytes()
    data = data[read_file_meta(data).dataset_offset :]
    return data[: scan(reader(data), len(data), file.transfer_syntax_uid, frozenset()).header_length]


SMALL = [file for file in OBJECTS if file.path.stat().st_size < 20_000 and file.transfer_syntax_uid != DEFLATED]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_garbled_bytes_are_written_or_refused(file, changes):
    data = bytearray(header_of(file))
    for offset, change in changes:
        data[offset % len(data) : offset % len(data) + len(change)] = change
    with suppress(CannotParse):
        orjson.dumps(header_json(bytes(data), file.transfer_syntax_uid, uri))


@PYDICOM_WARNS
def test_the_corpus_is_written_as_text_alike():
    # One writer for all: nothing that it remembers may come out where it does not belong.
    writer = TextWriter()
    for file in [*OBJECTS, *OBJECTS]:
        if file.transfer_syntax_uid != DEFLATED:
            written = assert_text_is_the_same(writer, header_of(file), file.transfer_syntax_uid)
            assert written == (file.transfer_syntax_uid != BIG_ENDIAN), file.path.name


def test_text_remembers_no_element_where_others_decide_how_it_is_read():
    name, smallest = explicit(0x00100010, "PN", b"\xd0\xe4"), implicit(0x00280106, b"\xff\xff")
    item_of = explicit(0x00081110, "SQ", item(name))
    writer = TextWriter()
    for term in (b"ISO_IR 100", b"ISO_IR 126", b"", b"ISO_IR 192", b"ISO_IR 100"):
        for data in (name, item_of + name):
            assert assert_text_is_the_same(writer, explicit(0x00080005, "CS", term) + data, EXPLICIT)
            assert assert_text_is_the_same(writer, data, EXPLICIT)
    for signed in (b"\x00\x00", b"\x01\x00", b"\x00\x00"):
        assert assert_text_is_the_same(writer, implicit(0x00280103, signed) + smallest, IMPLICIT)
    assert assert_text_is_the_same(writer, smallest, IMPLICIT)


def test_text_leaves_the_root_of_addresses_open():
    private, pixels = explicit(0x00091010, "OB", bytes(2000)), (0x7FE00010, "OW")
    icon = explicit(0x00880200, "SQ", item(b"") + item(explicit(0x7FE00010, "OW", b"ab")))
    text = TextWriter().write(private + icon, EXPLICIT, pixels, "/studies/1.2/bulkdata/")
    for root, suffix in (("http://pacs", ""), ('https://"\\', "?view=quality")):
        written = json.loads(with_addresses(text, root, suffix))
        assert list(written) == ["00091010", "00880200", "7FE00010"]
        inner = written["00880200"]["Value"][1]["7FE00010"]
        for element, path in (
            (written["00091010"], "00091010"),
            (written["7FE00010"], "7FE00010"),
            (inner, "00880200/1/7FE00010"),
        ):
            assert element["BulkDataURI"] == f"{root}/studies/1.2/bulkdata/{path}{suffix}"


@pytest.mark.parametrize("vr", ["AE", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"])
@pytest.mark.parametrize("term", [b"", b"ISO_IR 100", b"ISO_IR 192", b"VISCII", b"TCVN3", b"ISO 2022 IR 87"])
def test_no_value_can_pass_for_the_place_of_an_address(vr, term):
    for value in (b"\x7f", b'"\x7f', b'\x7f"', b"a\x7fb\xc2\x80", b"\\u007f", b"\xff\x7f", b"\x1b$B\x7f\x7f"):
        data = explicit(0x00080005, "CS", term) + explicit(0x00091010, vr, value)
        assert b"\x7f" not in orjson.dumps(header_json(data, EXPLICIT, uri))
        assert_text_is_the_same(TextWriter(), data, EXPLICIT)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SMALL),
            st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=8)), max_size=4),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_garbled_bytes_are_written_as_text_alike_or_not_at_all(files):
    writer = TextWriter()
    for file, changes in files:
        data = bytearray(header_of(file))
        for offset, change in changes:
            data[offset % len(data) : offset % len(data) + len(change)] = change
        assert_text_is_the_same(writer, bytes(data), file.transfer_syntax_uid)


# Values of elements in a series: most are the same from slice to slice, some are not there, a few decide about others.
CHOICES: list[tuple[int, str, list[bytes | None]]] = [
    (0x00080000, "UL", [b"\x10\0\0\0", None]),
    (0x00080001, "UL", [None, None, bytes(4)]),
    (0x00080005, "CS", [b"ISO_IR 100", b"ISO_IR 100", b"ISO_IR 192", b"", None]),
    (0x00080008, "CS", [b"ORIGINAL\\PRIMARY"]),
    (0x00080018, "UI", [b"1.2.3\0", b"1.2.33", b"1.2.345"]),
    (0x00080060, "CS", [b"CT"]),
    (0x00080070, "LO", [b'GE "X" \\ 1']),
    (0x00081030, "LO", [b"S\xe9rie", b"S\xc3\xa9rie", b"plain "]),
    (0x00081110, "SQ", [item(explicit(0x00081155, "UI", b"1.2\0")), item(b""), b""]),
    (0x00090010, "LO", [b"MAKER"]),
    (0x00091010, "OB", [bytes(2000), bytes(2000), b"ab"]),
    (0x00100010, "PN", [b"A^B=C", b"\xd0\xe4", None]),
    (0x00180050, "DS", [b"1.5", b"2 ", None]),
    (0x00181151, "IS", [b"100"]),
    (0x00200013, "IS", [b"1 ", b"2 ", b"10"]),
    (0x00200032, "DS", [b"1\\2\\3 ", b"1\\2\\-3.25"]),
    (0x00280010, "US", [b"\0\2"]),
    (0x00280103, "US", [b"\0\0", b"\1\0", None]),
    (0x00280106, "US", [b"\xff\xff"]),
    (0x00281050, "DS", [b"40", b"50"]),
    (0x7FDF0010, "LO", [b"LAST"]),
    (0x7FE00010, "OW", [None, None, b"ab"]),
    (0xFFFCFFFC, "OB", [None, bytes(4)]),
]


def encoded_choices(picks: list[int], *, in_implicit_vr: bool) -> bytes:
    data = b""
    for (tag, vr, values), pick in zip(CHOICES, picks, strict=True):
        value = values[pick % len(values)]
        if value is not None:
            # Items in explicit VR within implicit VR are what nobody should send, and what readers differ about.
            value = item(implicit(0x00081155, b"1.2\0")) if in_implicit_vr and vr == "SQ" else value
            data += implicit(tag, value) if in_implicit_vr else explicit(tag, vr, value)
    return data


@pytest.mark.parametrize("in_implicit_vr", [False, True])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.integers(0, 11), min_size=len(CHOICES), max_size=len(CHOICES)), min_size=3, max_size=14))
def test_slices_of_a_series_are_written_alike_whatever_differs_between_them(in_implicit_vr, series):
    writer = TextWriter()
    syntax = IMPLICIT if in_implicit_vr else EXPLICIT
    for slices in (series, series[::-1]):
        for picks in slices:
            assert assert_text_is_the_same(writer, encoded_choices(picks, in_implicit_vr=in_implicit_vr), syntax)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SMALL),
    st.lists(
        st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=3)), max_size=2),
        min_size=3,
        max_size=12,
    ),
)
def test_garbled_slices_of_a_series_are_written_alike_or_not_at_all(file, series):
    writer = TextWriter()
    for changes in series:
        data = bytearray(header_of(file))
        for offset, change in changes:
            data[offset % len(data) : offset % len(data) + len(change)] = change
        assert_text_is_the_same(writer, bytes(data), file.transfer_syntax_uid)
