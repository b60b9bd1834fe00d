"""Data elements: structure, order, nesting (PS3.5 7.1 to 7.5), held against pydicom over its corpus."""

import functools
import random
import struct
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archive.errors import CannotParse, UnsupportedTransferSyntax
from archive.standard.coding import vr_of
from archive.standard.file_format import read_file_meta
from archive.standard.scan import Element, Scan, inflate, scan
from archive.standard.walk import MAX_DEPTH, MAX_VALUE, MAX_WARNINGS
from tests.corpus import CorpusFile, corpus
from tests.unit.standard.encoding import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    fragments,
    implicit,
    item,
    reader,
)

CLASS, INSTANCE, NAME, CODES = 0x00080016, 0x00080018, 0x00100010, 0x00081032
PIXEL = 0x7FE00010
WANTED = frozenset((CLASS, INSTANCE, NAME, CODES))
OBJECTS = [file for file in corpus() if file.is_storage_object]
# What pydicom, the oracle, says of the one file whose VRs are not as announced.
MISMATCH = pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")
UID = explicit(CLASS, "UI", b"1.2.3\0")
PATIENT = explicit(NAME, "PN", b"A^B ")


def scanned(data: bytes, syntax: str = EXPLICIT, wanted: frozenset[int] = WANTED) -> Scan:
    return scan(reader(data), len(data), syntax, wanted)


@functools.lru_cache(maxsize=8)
def dataset_bytes(file: CorpusFile) -> bytes:
    data = file.path.read_bytes()
    return data[read_file_meta(data, at_end=True).dataset_offset :]


def inflated(file: CorpusFile) -> bytes:
    data = dataset_bytes(file)
    return zlib.decompress(data, -15) if file.transfer_syntax_uid == DEFLATED else data


def little_endian(vr: str, value: bytes) -> bytes:
    """Swap with pydicom's own writer, not with the code under test."""
    unit = {"US": "H", "SS": "H", "OW": "H", "AT": "H", "UL": "I", "SL": "I", "FL": "I", "FD": "Q"}.get(vr)
    if unit is None:
        return value
    count = len(value) // struct.calcsize(unit)
    return struct.pack(f"<{count}{unit}", *struct.unpack(f">{count}{unit}", value))


def pydicoms(file: CorpusFile) -> list[RawDataElement | DataElement]:
    implicit_vr, little = pydicom.dcmread(file.path).original_encoding
    return list(pydicom.filereader.data_element_generator(BytesIO(inflated(file)), implicit_vr, little))


@MISMATCH
@pytest.mark.parametrize("file", OBJECTS, ids=lambda file: file.path.name)
def test_every_element_of_the_corpus_is_pydicoms(file):
    expected = {}
    for raw in pydicoms(file):
        tag, value = int(raw.tag), raw.value or b""
        vr = raw.VR if raw.VR not in (None, "UN") else vr_of(tag)
        if vr == "SQ" or tag >> 16 == 0x7FE0 or len(value) > MAX_VALUE:
            continue
        swap = not raw.is_little_endian and raw.VR != "UN"
        expected[tag] = Element(vr, little_endian(vr, value) if swap else value)
    found = scanned(dataset_bytes(file), file.transfer_syntax_uid, frozenset(expected))
    assert found.elements == expected
    # pydicom repeats what was announced even if it found otherwise.
    announced = pydicom.dcmread(file.path).original_encoding
    assert (found.implicit_vr != bool(found.warnings), found.little_endian) == announced
    assert found.deflated == (file.transfer_syntax_uid == DEFLATED)


@MISMATCH
@pytest.mark.parametrize("file", OBJECTS, ids=lambda file: file.path.name)
def test_pixel_data_of_the_corpus_are_where_pydicom_finds_them(file):
    raw = next((each for each in pydicoms(file) if each.tag == PIXEL), None)
    data = inflated(file)
    found = scanned(dataset_bytes(file), file.transfer_syntax_uid)
    assert found.size == len(data)
    if raw is None:
        assert found.pixel is None
        assert found.header_length == len(data)
        return
    pixel = found.pixel
    assert pixel is not None
    assert pixel.encapsulated == (raw.length == UNDEFINED)
    length = pixel.end - pixel.value_offset if pixel.value_length is None else pixel.value_length
    value = data[pixel.value_offset : pixel.value_offset + length]
    assert value.removesuffix(SEQUENCE_END) == raw.value if pixel.encapsulated else value == raw.value
    header = pydicom.filereader.read_dataset(
        BytesIO(data[: found.header_length]), found.implicit_vr, found.little_endian
    )
    assert PIXEL not in header
    assert max(header.keys(), default=0) < PIXEL
    if found.trailer_offset is not None:
        assert found.trailer_offset == pixel.end


def top_level_boundaries(file: CorpusFile) -> set[int]:
    """Where a cut leaves whole elements, so that nothing is seen to be missing; nowhere in a deflate stream."""
    if file.transfer_syntax_uid == DEFLATED:
        return {0}
    stream = BytesIO(dataset_bytes(file))
    syntax = pydicom.uid.UID(file.transfer_syntax_uid)
    generator = pydicom.filereader.data_element_generator(stream, syntax.is_implicit_VR, syntax.is_little_endian)
    return {0} | {stream.tell() for _ in generator}


def cut_points(file: CorpusFile) -> list[int]:
    size = len(dataset_bytes(file))
    chance = random.Random(file.path.name)
    return sorted(
        {*range(1, min(60, size)), *(chance.randrange(1, size) for _ in range(60)), size - 1, size - 2, size - 9}
    )


@pytest.mark.parametrize("file", OBJECTS[::6], ids=lambda file: file.path.name)
def test_what_is_cut_off_cannot_be_parsed(file):
    data = dataset_bytes(file)
    whole = top_level_boundaries(file)
    for cut in cut_points(file):
        if cut in whole:
            continue
        try:
            scanned(data[:cut], file.transfer_syntax_uid)
        except CannotParse as error:
            assert str(error)
        else:
            # What is left of the last element is zeros, which are taken for padding; hardly ever is that a header.
            assert not data[max(start for start in whole if start < cut) : cut].strip(b"\0"), cut


@pytest.mark.parametrize("element", [PATIENT, explicit(0x00091010, "OB", b"abcd")])
def test_every_cut_within_an_element_is_called_truncated(element):
    for cut in range(1, len(element)):
        with pytest.raises(CannotParse, match=r"^truncated: "):
            scanned(UID + element[:cut])


def test_truncation_message_has_all_numbers():
    with pytest.raises(CannotParse) as caught:
        scanned(UID + PATIENT[:-1])
    assert str(caught.value) == "truncated: element (0010,0010) needs 4 bytes at offset 22, 3 are left"


@pytest.mark.parametrize("data", [b"", b"\x08\x00\x16\x00UI", b"plain text, not a dataset at all", bytes(range(256))])
def test_what_is_no_dataset_cannot_be_parsed(data):
    with pytest.raises(CannotParse):
        scanned(data)


def test_unsupported_transfer_syntax_is_named():
    with pytest.raises(UnsupportedTransferSyntax, match=r"1\.2\.840\.10008\.1\.2\.6\.2"):
        scanned(UID, "1.2.840.10008.1.2.6.2")


def test_elements_out_of_order_and_group_lengths_are_tolerated():
    length = explicit(0x00080000, "UL", struct.pack("<I", 14))
    assert scanned(PATIENT + length + UID).elements == {
        NAME: Element("PN", b"A^B "),
        CLASS: Element("UI", b"1.2.3\0"),
    }


def test_the_last_of_two_equal_tags_counts_as_with_pydicom():
    data = explicit(NAME, "PN", b"A ") + explicit(NAME, "PN", b"B ")
    assert scanned(data).elements[NAME].value == b"B "
    assert pydicom.filereader.read_dataset(BytesIO(data), False, True).PatientName == "B"


def test_odd_lengths_are_tolerated():
    assert scanned(explicit(NAME, "PN", b"A^B") + explicit(0x00100020, "LO", b"1")).elements[NAME].value == b"A^B"


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100, 70_000, 200_000])
def test_trailing_zeros_are_padding(count):
    assert scanned(UID + PATIENT + bytes(count)).elements[NAME].value == b"A^B "
    data = implicit(CLASS, b"1.2.3\0") + bytes(count)
    assert scanned(data, IMPLICIT).elements[CLASS].value == b"1.2.3\0"


def test_zeros_in_the_middle_are_not():
    with pytest.raises(CannotParse, match="no data element"):
        scanned(UID + bytes(100_000) + PATIENT)


def test_data_set_trailing_padding_is_an_element():
    assert scanned(UID + explicit(0xFFFCFFFC, "OB", bytes(70_001))).warnings == []


def test_implicit_dataset_under_explicit_syntax_is_found_out():
    found = scanned(implicit(CLASS, b"1.2.3\0") + implicit(NAME, b"A^B "), EXPLICIT)
    assert found.implicit_vr
    assert found.elements[NAME] == Element("PN", b"A^B ")
    assert found.warnings == ["the dataset is in implicit VR, explicit VR was announced"]


def test_explicit_dataset_under_implicit_syntax_is_found_out():
    found = scanned(UID + PATIENT, IMPLICIT)
    assert not found.implicit_vr
    assert found.elements[NAME] == Element("PN", b"A^B ")
    assert found.warnings == ["the dataset is in explicit VR, implicit VR was announced"]


def test_element_without_vr_amid_explicit_ones():
    found = scanned(UID + implicit(NAME, b"A^B ") + explicit(0x00100020, "LO", b"1 "), EXPLICIT, WANTED | {0x00100020})
    assert found.elements[NAME] == Element("PN", b"A^B ")
    assert found.elements[0x00100020] == Element("LO", b"1 ")
    assert found.warnings == ["element (0010,0010) has no VR"]


@pytest.mark.parametrize("value", [b"", b"ab", bytes(70_000)])
@pytest.mark.parametrize("after", [PATIENT, b""])
def test_vr_of_a_later_edition_has_a_long_length(value, after):
    data = UID + b"\x09\x00\x10\x10ZZ\0\0" + struct.pack("<I", len(value)) + value + after
    assert (NAME in scanned(data).elements) == bool(after)


def test_vr_that_never_was_may_have_a_short_length_as_with_pydicom():
    data = UID + b"\x09\x00\x10\x10ZZ" + struct.pack("<H", 2) + b"ab" + PATIENT
    assert scanned(data).elements[NAME].value == b"A^B "
    data = UID + b"\x09\x00\x10\x10ZZ" + struct.pack("<H", 0) + PATIENT
    assert scanned(data).elements[NAME].value == b"A^B "


def test_warnings_are_not_endless():
    assert len(scanned(UID + implicit(0x00091010, b"") * 1_000).warnings) == MAX_WARNINGS


def test_known_tags_in_un_get_their_vr():
    assert scanned(UID + explicit(NAME, "UN", b"A^B ")).elements[NAME] == Element("PN", b"A^B ")
    private = frozenset((0x00091010,))
    assert scanned(UID + explicit(0x00091010, "UN", b"A^B "), EXPLICIT, private).elements[0x00091010].vr == "UN"


def test_long_values_are_not_kept():
    text = frozenset((0x00104000,))
    assert scanned(UID + explicit(0x00104000, "LT", b"a" * 65_534), EXPLICIT, text).elements
    found = scanned(UID + explicit(0x0040A160, "UT", b"a" * (MAX_VALUE + 2)), EXPLICIT, frozenset((0x0040A160,)))
    assert not found.elements
    assert found.warnings == ["the value of (0040,A160) has 65538 bytes and was not kept"]


@pytest.mark.parametrize("gap", [65_500, 65_520, 65_536, 131_072, 200_000])
def test_headers_across_blocks_are_whole(gap):
    for extra in range(0, 40, 2):
        data = UID + explicit(0x00091010, "OB", bytes(gap + extra)) + PATIENT
        assert scanned(data).elements[NAME].value == b"A^B "


def test_values_across_blocks_are_whole():
    for extra in range(0, 60, 2):
        data = UID + explicit(0x00091010, "OB", bytes(65_476 + extra)) + explicit(NAME, "PN", b"ABCDEFGH" * 4)
        assert scanned(data).elements[NAME].value == b"ABCDEFGH" * 4


def nested(depth: int, undefined: bool) -> bytes:
    data = explicit(0x00080104, "LO", b"deep")
    for _ in range(depth):
        if undefined:
            data = explicit(0x00400275, "SQ", item(data + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
        else:
            data = explicit(0x00400275, "SQ", item(data))
    return data


@pytest.mark.parametrize("undefined", [True, False])
def test_nested_sequences_are_passed_over(undefined):
    found = scanned(UID + nested(20, undefined) + explicit(0x00400280, "ST", b"x "), EXPLICIT, frozenset((0x00400280,)))
    assert found.elements[0x00400280].value == b"x "


def test_nesting_has_a_limit():
    assert scanned(nested(MAX_DEPTH, True))
    for depth in (MAX_DEPTH + 1, 5_000):
        with pytest.raises(CannotParse, match="nested more than 64 deep"):
            scanned(nested(depth, True))


@pytest.mark.parametrize(
    "body",
    [
        explicit(CODES, "SQ", b"", UNDEFINED),
        explicit(CODES, "SQ", item(b"", UNDEFINED), UNDEFINED),
        explicit(CODES, "SQ", item(PATIENT, UNDEFINED), UNDEFINED),
        explicit(CODES, "SQ", item(PATIENT + ITEM_END, UNDEFINED), UNDEFINED),
        explicit(CODES, "SQ", item(PATIENT, 200) + SEQUENCE_END, UNDEFINED),
    ],
)
def test_sequence_without_its_end_is_truncated(body):
    with pytest.raises(CannotParse, match="truncated"):
        scanned(UID + body)


def test_item_without_its_delimiter_ends_with_the_sequence():
    body = explicit(CODES, "SQ", item(explicit(0x00080100, "SH", b"T1"), UNDEFINED) + SEQUENCE_END, UNDEFINED)
    found = scanned(UID + body + PATIENT)
    assert found.elements[NAME].value == b"A^B "
    assert found.sequence(CODES) == [{0x00080100: Element("SH", b"T1")}]


def test_sequence_that_holds_no_items_is_refused():
    with pytest.raises(CannotParse, match="neither an item"):
        scanned(UID + explicit(CODES, "SQ", PATIENT, UNDEFINED))


def test_stray_delimiter_is_passed_over():
    found = scanned(UID + SEQUENCE_END + PATIENT)
    assert found.elements[NAME].value == b"A^B "
    assert found.warnings == ["a stray delimiter at offset 14 was passed over"]


CODE = explicit(0x00080100, "SH", b"T1") + explicit(0x00080104, "LO", b"Chest ")
CODE_IMPLICIT = implicit(0x00080100, b"T1") + implicit(0x00080104, b"Chest ")


@pytest.mark.parametrize(
    "body",
    [
        explicit(CODES, "SQ", item(CODE)),
        explicit(CODES, "SQ", item(CODE) + SEQUENCE_END, UNDEFINED),
        explicit(CODES, "SQ", item(CODE + ITEM_END, UNDEFINED)),
        explicit(CODES, "SQ", item(CODE + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
        explicit(CODES, "UN", item(CODE_IMPLICIT)),
        explicit(CODES, "UN", item(CODE_IMPLICIT + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
        explicit(CODES, "SQ", item(CODE_IMPLICIT)),
    ],
)
def test_wanted_sequence_is_parsed(body):
    found = scanned(UID + body + PATIENT)
    assert found.sequence(CODES) == [{0x00080100: Element("SH", b"T1"), 0x00080104: Element("LO", b"Chest ")}]
    assert found.elements[NAME].value == b"A^B "


def test_wanted_sequence_in_implicit_vr_is_parsed():
    for body in (
        implicit(CODES, item(CODE_IMPLICIT)),
        implicit(CODES, item(CODE_IMPLICIT + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
    ):
        found = scanned(implicit(CLASS, b"1.2.3\0") + body + implicit(NAME, b"A^B "), IMPLICIT)
        assert found.sequence(CODES) == [{0x00080100: Element("SH", b"T1"), 0x00080104: Element("LO", b"Chest ")}]


def test_absent_and_empty_sequences_have_no_items():
    found = scanned(UID + explicit(CODES, "SQ", b""))
    assert found.sequence(CODES) == []
    assert found.sequence(0x00081140) == []


def test_sequence_within_a_wanted_one_is_given_encoded():
    inner = item(CODE)
    found = scanned(UID + explicit(CODES, "SQ", item(explicit(0x00080110, "SQ", inner))))
    assert found.sequence(CODES) == [{0x00080110: Element("SQ", inner)}]


@pytest.mark.parametrize("body", [item(CODE, 500), PATIENT, item(CODE[:-3])])
def test_broken_sequence_is_refused_when_it_is_asked_for(body):
    found = scanned(UID + explicit(CODES, "SQ", body))
    with pytest.raises(CannotParse):
        found.sequence(CODES)


def test_private_sequence_in_un_of_undefined_length_is_walked_in_implicit_vr():
    inside = implicit(0x00091011, item(implicit(0x00091012, b"ab") + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
    body = explicit(0x00091010, "UN", item(inside + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
    assert scanned(UID + body + PATIENT).elements[NAME].value == b"A^B "


def test_big_endian_values_become_little_endian():
    data = explicit(CLASS, "UI", b"1.2.3\0", order=">")
    data += explicit(0x00280010, "US", b"\x02\x00", order=">") + explicit(0x00280009, "AT", b"\0\x28\0\x08", order=">")
    data += explicit(0x00186030, "UL", b"\0\0\0\x07", order=">") + explicit(
        0x00181622, "FD", b"\x3f\xf0" + bytes(6), order=">"
    )
    tags = frozenset((CLASS, 0x00280010, 0x00280009, 0x00186030, 0x00181622))
    assert scanned(data, BIG_ENDIAN, tags).elements == {
        CLASS: Element("UI", b"1.2.3\0"),
        0x00280010: Element("US", b"\x00\x02"),
        0x00280009: Element("AT", b"\x28\0\x08\0"),
        0x00186030: Element("UL", b"\x07\0\0\0"),
        0x00181622: Element("FD", bytes(6) + b"\xf0\x3f"),
    }


def example_dataset() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = "1.2.3", "1.2.3.4", "Nguyen^Van"
    code, reference = Dataset(), Dataset()
    code.CodeValue, code.CodeMeaning = "T1", "Chest"
    reference.ReferencedSOPClassUID, reference.PurposeOfReferenceCodeSequence = "1.2", Sequence([code, code])
    reference.is_undefined_length_sequence_item = True
    ds.ReferencedImageSequence = Sequence([reference])
    ds["ReferencedImageSequence"].value.is_undefined_length = True
    ds["ReferencedImageSequence"].is_undefined_length = True
    ds.ProcedureCodeSequence = Sequence([code])
    block = ds.private_block(0x0009, "TEST", create=True)
    block.add_new(1, "SQ", Sequence([code]))
    ds.Rows, ds.Columns, ds.PixelRepresentation = 4, 4, 0
    ds.add_new(PIXEL, "OW", bytes(32))
    return ds


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_what_pydicom_writes_is_read_in_every_encoding(syntax):
    stream = BytesIO()
    ds = example_dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(stream, enforce_file_format=True)
    file = stream.getvalue()
    data = file[read_file_meta(file).dataset_offset :]
    found = scanned(data, syntax, WANTED | {0x00280010, 0x00081140})
    assert found.elements[NAME] == Element("PN", b"Nguyen^Van")
    assert found.elements[0x00280010] == Element("US", b"\x04\x00")
    assert found.sequence(CODES)[0][0x00080104] == Element("LO", b"Chest ")
    assert found.sequence(0x00081140)[0][0x00081150].value == b"1.2\0"
    assert found.pixel is not None
    assert found.pixel.value_length == 32
    assert found.warnings == []


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def test_deflated_dataset_that_is_cut_or_garbled_cannot_be_parsed():
    data = deflated(UID + PATIENT * 50 + explicit(0x00091010, "OB", random.Random(1).randbytes(5000)))
    for cut in range(0, len(data), 97):
        with pytest.raises(CannotParse):
            scanned(data[:cut], DEFLATED)
    with pytest.raises(CannotParse, match="not a deflate stream"):
        scanned(b"\xff" * 100, DEFLATED)


def test_deflated_dataset_may_be_padded_to_even_length():
    assert scanned(deflated(UID + PATIENT) + b"\0", DEFLATED).elements[NAME].value == b"A^B "


def test_inflation_is_limited():
    data = deflated(bytes(5 << 20))
    with inflate(reader(data), len(data), limit=5 << 20) as (read, length):
        assert length == 5 << 20
        assert read(length - 4, 10) == bytes(4)
    with (
        pytest.raises(CannotParse, match="inflates to more than"),
        inflate(reader(data), len(data), limit=(5 << 20) - 1),
    ):
        pass


def test_pixel_data_are_never_read():
    header = UID + PATIENT + explicit(PIXEL, "OW", b"", 3 << 30)
    tail = explicit(0xFFFCFFFC, "OB", bytes(4))
    size, asked = len(header) + (3 << 30) + len(tail), 0

    def read(offset: int, length: int) -> bytes:
        nonlocal asked
        asked += length
        end = len(header) + (3 << 30)
        whole = header[offset : offset + length] + bytes(max(0, min(offset + length, end) - max(offset, len(header))))
        return whole + tail[max(0, offset - end) : max(0, offset + length - end)]

    found = scan(read, size, EXPLICIT, WANTED)
    assert found.pixel is not None
    assert found.pixel.value_length == 3 << 30
    assert found.header_length == len(UID + PATIENT)
    assert found.trailer_offset == len(header) + (3 << 30)
    assert asked < 1 << 18


def test_encapsulated_pixel_data_must_end_with_the_delimiter():
    whole = UID + fragments([b"\xff\xd8\xff\xd9"] * 3)
    assert scanned(whole, JPEG).pixel is not None
    for cut in range(len(UID) + 1, len(whole)):
        with pytest.raises(CannotParse):
            scanned(whole[:cut], JPEG)


def test_pixel_data_other_than_announced_are_reported():
    assert scanned(UID + fragments([b"ab"]), EXPLICIT).warnings == ["the pixel data are encapsulated"]
    assert scanned(UID + explicit(PIXEL, "OB", b"ab"), JPEG).warnings == ["the pixel data are not encapsulated"]


def test_float_pixel_data_are_pixel_data():
    for tag, vr in ((0x7FE00008, "OF"), (0x7FE00009, "OD")):
        pixel = scanned(UID + explicit(tag, vr, bytes(16))).pixel
        assert pixel is not None
        assert (pixel.tag, pixel.vr, pixel.value_offset, pixel.value_length) == (tag, vr, len(UID) + 12, 16)


def test_a_reader_that_gives_less_than_it_should_is_noticed():
    with pytest.raises(CannotParse, match="truncated"):
        scan(reader(UID + PATIENT), 500, EXPLICIT, WANTED)


SMALL = [file for file in OBJECTS if file.path.stat().st_size < 20_000 and file.transfer_syntax_uid != DEFLATED]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    st.sampled_from([None, EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG]),
)
def test_garbled_datasets_are_scanned_or_refused(file, changes, syntax):
    data = bytearray(dataset_bytes(file))
    for offset, change in changes:
        data[offset % len(data) : offset % len(data) + len(change)] = change
    check_survives(bytes(data), syntax or file.transfer_syntax_uid)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG]))
@example(b"\x08\x00\x16\x00UI\x00\x00" + b"\x08\x00\x16\x00ZZ\x00\x00\xff\xff\xff\xff", EXPLICIT)
@example(implicit(0x00081032, item(b"", UNDEFINED) * 100, UNDEFINED), IMPLICIT)
def test_random_bytes_are_scanned_or_refused(data, syntax):
    check_survives(data, syntax)


def check_survives(data: bytes, syntax: str) -> None:
    try:
        found = scanned(data, syntax)
        assert found.elements.keys() <= WANTED
        found.sequence(CODES)
    except CannotParse as error:
        assert len(str(error)) < 200
