"""Transcoded objects hold the same pixels and the same attributes as their sources (PS3.5 8.2, A.1, A.2)."""

from __future__ import annotations

import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from archive.errors import NotAcceptable
from archive.imaging.decode import decode_frame
from archive.imaging.pixels import PixelFormat
from archive.imaging.transcode import TARGETS, can_transcode, native_frames, transcode
from archive.standard.file_format import read_file_meta
from tests.corpus import storage_objects
from tests.unit.imaging.conftest import Corpus
from tests.unit.imaging.stored import store_bytes

# The corpus is full of values that break rules; pydicom says so whenever one is looked at.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LIMIT = 1 << 30
# No library decodes it: the frame ends at bytes that look like a delimiter (made for a test of pydicom's parser).
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}
# pydicom alone cannot decode them: see `archive.imaging.decode.with_valid_scan`; and 1A is no Number of Frames.
ONLY_WE = {"JPEG-lossy.dcm", "badVR.dcm"}
CHANGED = {"PhotometricInterpretation", "PlanarConfiguration", "LossyImageCompression"}


def cases() -> list[object]:
    """Every object into explicit VR, and the small ones into implicit VR: the pixels go the same way."""
    return [
        pytest.param(path, target, id=f"{path.name}-{kind}")
        for target, kind in zip(TARGETS, ("explicit", "implicit"), strict=True)
        for path in storage_objects()
        if kind == "explicit" or path.stat().st_size < 100_000
    ]


@pytest.mark.parametrize(("path", "target"), cases())
def test_same_pixels_and_same_attributes(corpus: Corpus, path: Path, target: str) -> None:
    inst = corpus.of(path)
    assert can_transcode(corpus.store, inst, target)
    if path.name in UNDECODABLE:
        with pytest.raises(NotAcceptable, match="cannot be decoded"):
            transcode(corpus.store, inst, target, LIMIT)
        return
    made = transcode(corpus.store, inst, target, LIMIT)
    file = b"".join(made.chunks)
    assert len(file) == made.size
    given, source = pydicom.dcmread(BytesIO(file)), pydicom.dcmread(path)
    assert given.file_meta.TransferSyntaxUID == target
    assert given.file_meta.MediaStorageSOPInstanceUID == inst.sop_instance_uid
    if inst.object.frame_table is not None and path.name not in ONLY_WE:
        np.testing.assert_array_equal(given.pixel_array, source.pixel_array)
    assert_same_attributes(given, source, compare_values=target == TARGETS[0])


def assert_same_attributes(given: Dataset, source: Dataset, *, compare_values: bool) -> None:
    """Every element is there, with the same value unless pixels were decoded or words swapped."""
    wanted = {e.tag for e in source if e.tag.element and e.tag.group < 0x7FE0}
    assert wanted <= {e.tag for e in given}
    for tag in wanted if compare_values else ():
        before, after = source[tag], given[tag]
        words = before.VR == "OW" and not source.original_encoding[1]
        if before.keyword not in CHANGED and before.VR not in ("SQ", "UN") and after.VR == before.VR and not words:
            assert after.value == before.value, tag


def test_file_meta_information_within_a_dataset_is_left_out(corpus: Corpus) -> None:
    """Readers would take it for that of the file, and look for RLE in pixels that are decoded."""
    source = pydicom.dcmread(next(path for path in storage_objects() if path.name == "MR_small_RLE.dcm"))
    within = bytes.fromhex("02001000 5549 1400") + b"1.2.840.10008.1.2.5\0"
    buffer = BytesIO()
    source.save_as(buffer)
    start = read_file_meta(buffer.getvalue(), at_end=True).dataset_offset
    file = buffer.getvalue()[:start] + within + buffer.getvalue()[start:]
    inst = store_bytes(corpus.store, file, "within")
    given = pydicom.dcmread(BytesIO(b"".join(transcode(corpus.store, inst, TARGETS[0], LIMIT).chunks)))
    assert given.file_meta.TransferSyntaxUID == TARGETS[0]
    np.testing.assert_array_equal(given.pixel_array, source.pixel_array)


def test_words_of_big_endian_are_turned_round(corpus: Corpus) -> None:
    big = corpus.named("OBXXXX1A_expb.dcm")
    little = pydicom.dcmread(next(path for path in storage_objects() if path.name == "OBXXXX1A.dcm"))
    given = pydicom.dcmread(BytesIO(b"".join(transcode(corpus.store, big, TARGETS[0], LIMIT).chunks)))
    assert given.RedPaletteColorLookupTableData == little.RedPaletteColorLookupTableData


def test_colours_are_declared_as_they_are_decoded(corpus: Corpus) -> None:
    given = pydicom.dcmread(
        BytesIO(b"".join(transcode(corpus.store, corpus.named("SC_rgb_dcmtk_+eb+cy+np.dcm"), TARGETS[0], LIMIT).chunks))
    )
    assert (given.PhotometricInterpretation, given.PlanarConfiguration) == ("RGB", 0)
    assert given.LossyImageCompression == "01"
    assert given["PixelData"].VR == "OB"


def test_a_decoded_object_over_the_limit_is_refused_before_anything_is_decoded(corpus: Corpus) -> None:
    with pytest.raises(NotAcceptable, match="more than the limit"):
        transcode(corpus.store, corpus.named("color3d_jpeg_baseline.dcm"), TARGETS[0], 1 << 20)


def test_nothing_is_compressed(corpus: Corpus) -> None:
    inst = corpus.named("CT_small.dcm")
    assert not can_transcode(corpus.store, inst, "1.2.840.10008.1.2.4.50")
    with pytest.raises(NotAcceptable):
        transcode(corpus.store, inst, "1.2.840.10008.1.2.4.50", LIMIT)


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "emri_small_jpeg_2k_lossless.dcm", "rtdose_rle.dcm"])
def test_native_frames_know_their_size(corpus: Corpus, name: str) -> None:
    inst = corpus.named(name)
    size, frames = native_frames(corpus.store, inst, [3, 1], LIMIT)
    source = pydicom.dcmread(next(path for path in storage_objects() if path.name == name)).pixel_array
    third, first = frames
    assert len(third) == len(first) == size
    assert third == source[2].astype(source.dtype.newbyteorder("<")).tobytes()
    assert first == source[0].astype(source.dtype.newbyteorder("<")).tobytes()


def test_memory_is_a_few_frames_whatever_their_number(corpus: Corpus) -> None:
    inst = corpus.named("examples_ybr_color.dcm")
    made = transcode(corpus.store, inst, TARGETS[0], LIMIT)
    tracemalloc.start()
    total = sum(map(len, made.chunks))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == made.size > 6_900_000
    # 30 frames of 230 kB; the conversion of one to RGB is done in floating point.
    assert peak < 4_500_000


def test_deflated_frames(corpus: Corpus) -> None:
    """PS3.5 A.4.12: Deflated Image Frame Compression."""
    layout = PixelFormat(4, 6, 1, 16, 16, False, "MONOCHROME2", 0)
    pixels = np.arange(24, dtype="<u2").reshape(4, 6)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    frame = deflater.compress(pixels.tobytes()) + deflater.flush() + b"\0"
    decoded, _ = decode_frame(frame, layout, "1.2.840.10008.1.2.8.1", 1000)
    np.testing.assert_array_equal(decoded, pixels)
    with pytest.raises(NotAcceptable):
        decode_frame(b"\xff\xff\xff", layout, "1.2.840.10008.1.2.8.1", 1000)
