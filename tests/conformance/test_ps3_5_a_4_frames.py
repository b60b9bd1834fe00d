"""Frames of native and encapsulated pixel data (PS3.5 8.1.1, 8.2, A.4; PS3.3 C.7.6.3.1.8), held against pydicom."""

import functools
import struct
import zlib
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length

from archive.errors import CannotParse
from archive.standard.file_format import read_file_meta
from archive.standard.frames import (
    FrameTable,
    _contiguous,
    extract_bits,
    frame_table,
    native_frame_table,
    strip_item_headers,
)
from archive.standard.scan import Scan, scan
from archive.standard.text import parse_int
from tests.corpus import CorpusFile, corpus
from tests.unit.standard.encoding import DEFLATED, EXPLICIT, JPEG, RLE, explicit, fragments, item, reader

VIDEO = "1.2.840.10008.1.2.4.102"
J2K = "1.2.840.10008.1.2.4.90"
END = b"\xff\xd9"
JPEG_START = b"\xff\xd8\xff\xe0"
OBJECTS = [file for file in corpus() if file.is_storage_object]
PYDICOM_WARNS = pytest.mark.filterwarnings("ignore")


def scanned(data: bytes, syntax: str) -> Scan:
    return scan(reader(data), len(data), syntax, frozenset())


def table_of(data: bytes, syntax: str, frames: int | None, scan: Scan | None = None, **shape: int) -> FrameTable | None:
    values = {"rows": 1, "columns": 1, "samples_per_pixel": 1, "bits_allocated": 8} | shape
    return frame_table(
        scan or scanned(data, syntax),
        number_of_frames=frames,
        transfer_syntax_uid=syntax,
        read=reader(data),
        **values,
    )


def frames_of(data: bytes, table: FrameTable) -> list[bytes]:
    spans = [table.span(index) for index in range(table.count)]
    return [strip_item_headers(data[offset : offset + length]) for offset, length in spans]


@functools.lru_cache(maxsize=4)
def dataset_bytes(file: CorpusFile) -> bytes:
    data = file.path.read_bytes()
    data = data[read_file_meta(data, at_end=True).dataset_offset :]
    return zlib.decompress(data, -15) if file.transfer_syntax_uid == DEFLATED else data


def with_pixels(file: CorpusFile) -> bool:
    found = scanned(dataset_bytes(file), EXPLICIT if file.transfer_syntax_uid == DEFLATED else file.transfer_syntax_uid)
    return found.pixel is not None


@PYDICOM_WARNS
@pytest.mark.parametrize("file", [each for each in OBJECTS if with_pixels(each)], ids=lambda file: file.path.name)
def test_every_frame_of_the_corpus_is_pydicoms(file):
    ds = pydicom.dcmread(file.path)
    data = dataset_bytes(file)
    found = scanned(data, EXPLICIT if file.transfer_syntax_uid == DEFLATED else file.transfer_syntax_uid)
    # One file says "1A".
    number = parse_int(str(ds.get("NumberOfFrames", "")))
    count = ds.NumberOfFrames = number or 1
    table = frame_table(
        found,
        rows=ds.Rows,
        columns=ds.Columns,
        samples_per_pixel=ds.SamplesPerPixel,
        bits_allocated=ds.BitsAllocated,
        number_of_frames=number,
        transfer_syntax_uid=file.transfer_syntax_uid,
        read=reader(data),
        photometric_interpretation=ds.get("PhotometricInterpretation", ""),
    )
    assert table is not None
    pixels = next(
        bytes(ds[keyword].value) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if keyword in ds
    )
    if table.encapsulated:
        assert frames_of(data, table) == list(generate_frames(pixels, number_of_frames=count))
        assert FrameTable.from_bytes(table.to_bytes()) == table
        return
    assert table.count == count
    assert table.to_bytes() == b""
    if table.bits % 8 == 0:
        assert table.bits // 8 * count == get_expected_length(ds)
    whole = b""
    for index in range(count):
        offset, length = table.span(index)
        frame = data[offset : offset + length]
        if table.bits % 8:
            frame = extract_bits(frame, table.bit_offset(index), table.bits)
            assert len(frame) == (table.bits + 7) // 8
            continue
        whole += frame
    assert pixels.startswith(whole)


@pytest.mark.parametrize("syntax", [JPEG, J2K, RLE, VIDEO, "1.2.840.10008.1.2.4.112"])
def test_a_single_frame_is_all_fragments(syntax):
    data = fragments([b"abcd", b"efgh"])
    table = table_of(data, syntax, 1)
    assert table is not None
    assert frames_of(data, table) == [b"abcdefgh"]


@pytest.mark.parametrize("frames", [2, 0, -1])
def test_rle_frames_are_fragments(frames):
    data = fragments([b"abcd", b"ef"])
    table = table_of(data, RLE, frames)
    assert table is not None
    assert frames_of(data, table) == [b"abcd", b"ef"]


PARTS = [JPEG_START + b"a1", b"a2" + END, JPEG_START + b"b1b1", b"b2", b"b3" + END + b"\0\0", JPEG_START + b"c1" + END]
EXPECTED = [b"".join(PARTS[:2]), b"".join(PARTS[2:5]), PARTS[5]]
FIRSTS = [0, sum(len(part) + 8 for part in PARTS[:2]), sum(len(part) + 8 for part in PARTS[:5])]
BASIC = struct.pack("<3I", *FIRSTS)
EXTENDED = explicit(0x7FE00001, "OV", struct.pack("<3Q", *FIRSTS)) + explicit(
    0x7FE00002, "OV", struct.pack("<3Q", *map(len, EXPECTED))
)


@pytest.mark.parametrize("frames", [3, 0])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(fragments(PARTS, BASIC), id="basic offset table"),
        pytest.param(EXTENDED + fragments(PARTS), id="extended offset table"),
        pytest.param(fragments(PARTS), id="markers"),
        pytest.param(fragments(PARTS, struct.pack("<3I", 0, 1, 2)), id="bad basic offset table"),
        pytest.param(fragments(PARTS, struct.pack("<3I", 0, 0, 0)), id="empty basic offset table"),
        pytest.param(fragments(PARTS, BASIC + b"\0"), id="odd basic offset table"),
    ],
)
def test_several_fragments_a_frame(data, frames):
    table = table_of(data, JPEG, frames)
    assert table is not None
    assert frames_of(data, table) == EXPECTED


def test_frames_may_be_told_by_their_beginnings():
    parts = [JPEG_START + b"a1", b"a2", JPEG_START + b"b1"]
    data = fragments(parts)
    table = table_of(data, JPEG, 2)
    assert table is not None
    assert frames_of(data, table) == [b"".join(parts[:2]), parts[2]]


def test_table_of_one_offset_does_not_hide_the_frames():
    """Some writers fill in only the first offset."""
    data = fragments([b"ab", b"cd", b"ef"], struct.pack("<I", 0))
    table = table_of(data, J2K, 3)
    assert table is not None
    assert frames_of(data, table) == [b"ab", b"cd", b"ef"]


def test_a_good_table_is_believed_before_a_wrong_number_of_frames():
    data = fragments(PARTS, BASIC)
    found = scanned(data, JPEG)
    table = table_of(data, JPEG, 5, found)
    assert table is not None
    assert frames_of(data, table) == EXPECTED
    assert found.warnings == ["5 frames were announced, 3 are there"]


@pytest.mark.parametrize("frames", [4, 1 << 40])
def test_frames_that_cannot_be_told_apart_are_not_guessed(frames):
    data = fragments([b"abcd", b"ef"])
    found = scanned(data, JPEG)
    assert table_of(data, JPEG, frames, found) is None
    assert found.warnings == ["the 2 fragments of the pixel data cannot be told apart as frames"]


def test_frames_of_a_video_cannot_be_told_apart():
    data = fragments([b"abcd", b"ef"])
    assert table_of(data, VIDEO, 2) is None
    assert table_of(fragments([]), JPEG, 1) is None


def test_no_pixel_data_no_table():
    assert table_of(explicit(0x00080016, "UI", b"1.2.3\0"), EXPLICIT, None) is None


def test_a_hundred_thousand_fragments():
    count = 100_000
    one = item(b"ab")
    table = b"".join(struct.pack("<I", index * len(one)) for index in range(0, count, 4))
    data = explicit(0x7FE00010, "OB", item(table) + one * count + b"\xfe\xff\xdd\xe0" + bytes(4), 0xFFFFFFFF)
    found = scanned(data, JPEG)
    assert found.pixel is not None
    assert len(found.pixel.fragment_offsets) == count
    frames = table_of(data, JPEG, count // 4, found)
    assert frames is not None
    encoded = frames.to_bytes()
    assert len(encoded) < 5 * count
    assert FrameTable.from_bytes(encoded) == frames
    offset, length = frames.span(count // 4 - 1)
    assert strip_item_headers(data[offset : offset + length]) == b"ab" * 4


def test_native_frames_are_computed():
    data = explicit(0x7FE00010, "OW", bytes(range(24)))
    table = table_of(data, EXPLICIT, 3, rows=2, columns=2, bits_allocated=16)
    assert table is not None
    assert [table.span(index) for index in range(3)] == [(12, 8), (20, 8), (28, 8)]
    with pytest.raises(IndexError):
        table.span(3)
    with pytest.raises(IndexError):
        table.span(-1)


@pytest.mark.parametrize(
    ("interpretation", "bits"), [("YBR_FULL_422", 16), ("YBR_PARTIAL_420", 12), ("RGB", 24), ("", 24)]
)
def test_shared_chroma_takes_less(interpretation, bits):
    data = explicit(0x7FE00010, "OB", bytes(4 * bits // 8))
    table = frame_table(
        scanned(data, EXPLICIT),
        rows=2,
        columns=2,
        samples_per_pixel=3,
        bits_allocated=8,
        number_of_frames=1,
        transfer_syntax_uid=EXPLICIT,
        read=reader(data),
        photometric_interpretation=interpretation,
    )
    assert table is not None
    assert table.span(0) == (12, 4 * bits // 8)


@pytest.mark.parametrize(("frames", "count"), [(None, 1), (0, 6), (-5, 6), (6, 6), (100, 6), (1 << 60, 6), (2, 2)])
def test_number_of_frames_is_held_against_the_bytes(frames, count):
    data = explicit(0x7FE00010, "OB", bytes(24))
    found = scanned(data, EXPLICIT)
    table = table_of(data, EXPLICIT, frames, found, rows=2, columns=2)
    assert table is not None
    assert table.count == count
    assert bool(found.warnings) == (frames in (100, 1 << 60))


@pytest.mark.parametrize("shape", [{"rows": 0}, {"rows": 5}, {"bits_allocated": 0}, {"columns": -1}, {"rows": 1 << 40}])
def test_less_than_a_frame_is_none(shape):
    data = explicit(0x7FE00010, "OB", b"abcd")
    found = scanned(data, EXPLICIT)
    assert table_of(data, EXPLICIT, 1, found, **shape) is None
    assert found.warnings == ["the pixel data have 4 bytes, less than a frame"]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(0, 7), st.randoms(use_true_random=False))
def test_packed_bits_are_cut_at_any_bit(rows, columns, frames, padding, chance):
    """PS3.5 8.1.1: the bits of a frame follow those of the one before without alignment."""
    images = np.array([[chance.randrange(2) for _ in range(rows * columns)] for _ in range(frames)], dtype=np.uint8)
    packed = np.packbits(images.ravel(), bitorder="little").tobytes() + bytes(padding)
    table = native_frame_table(0, len(packed), bits_per_frame=rows * columns, number_of_frames=frames)
    assert table is not None
    for index in range(frames):
        offset, length = table.span(index)
        frame = extract_bits(packed[offset : offset + length], table.bit_offset(index), table.bits)
        assert frame == np.packbits(images[index], bitorder="little").tobytes()


def test_spans_beyond_4_gib_are_kept():
    lengths = np.array([1 << 33, 5], dtype=np.uint64)
    table = _contiguous(100, lengths)
    assert FrameTable.from_bytes(table.to_bytes()) == table
    assert table.span(1) == (100 + (1 << 33), 5)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x01I" + bytes(12), b"\x02I" + bytes(11) + b"\1" + bytes(4), b"\x01?" + bytes(12)]
)
def test_other_bytes_are_no_frame_table(data):
    with pytest.raises(ValueError, match="not a frame table"):
        FrameTable.from_bytes(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_table_or_refused(data):
    with suppress(ValueError):
        assert FrameTable.from_bytes(data).to_bytes()


@pytest.mark.parametrize("data", [item(b"abcd")[:-1], item(b"ab") + b"abc", b"abcdefgh", item(b"", 0xFFFFFFFF)])
def test_broken_spans_are_refused(data):
    with pytest.raises(CannotParse):
        strip_item_headers(data)


def test_item_headers_are_stripped():
    assert strip_item_headers(b"") == b""
    assert strip_item_headers(item(b"ab") + item(b"") + item(b"cd")) == b"abcd"
    assert strip_item_headers(item(b"ab") + b"\xfe\xff\xdd\xe0" + bytes(4)) == b"ab"


@given(
    st.lists(st.binary(max_size=12).map(lambda part: part + bytes(len(part) % 2)), max_size=8),
    st.binary(max_size=40),
    st.integers(-2, 12),
    st.sampled_from([JPEG, RLE, VIDEO, J2K]),
)
def test_whatever_the_table_says_frames_are_whole_fragments(parts, table, frames, syntax):
    data = fragments(parts, table)
    found = table_of(data, syntax, frames)
    if found is not None:
        assert b"".join(parts).endswith(b"".join(frames_of(data, found)))
