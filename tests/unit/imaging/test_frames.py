"""Frames by byte range (PS3.5 8.1.1, A.4; PS3.18 10.4.1.1.2): the right bytes, and no more of them than needed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from archive.errors import NotFound, StoreUnavailable
from archive.imaging.decode import decode_frame
from archive.imaging.pixels import float_keyword, pixel_format
from archive.retrieve import frame_place, frame_table, frames_syntax, read_frames, read_header
from storage.base import ObjectReader
from storage.filesystem import FilesystemStore
from tests.corpus import storage_objects
from tests.unit.imaging.conftest import Corpus
from tests.unit.imaging.stored import store_bytes
from tests.unit.imaging.test_transcode import ONLY_WE, UNDECODABLE

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class CountingStore(FilesystemStore):
    """A real store that notes what is read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ranges: list[tuple[int, int]] = []

    def open(self, key: str) -> ObjectReader:  # type: ignore[override]
        raise AssertionError("a frame is never a reason to read a whole object")

    def open_range(self, key: str, offset: int, length: int) -> ObjectReader:  # type: ignore[override]
        self.ranges.append((offset, length))
        return super().open_range(key, offset, length)


@pytest.mark.parametrize("path", storage_objects(), ids=lambda path: path.name)
def test_every_frame_is_pydicoms(corpus: Corpus, path: Path) -> None:
    inst = corpus.of(path)
    if inst.object.frame_table is None:
        with pytest.raises(NotFound):
            next(read_frames(corpus.store, inst, [1]))
        return
    count = frame_table(corpus.store, inst).count
    frames = list(read_frames(corpus.store, inst, range(1, count + 1)))
    source = pydicom.dcmread(path)
    if inst.object.frame_table:
        assert frames == list(generate_frames(source.PixelData, number_of_frames=count))
    if path.name in UNDECODABLE | ONLY_WE:
        return
    ds = read_header(corpus.store, inst)
    layout = pixel_format(ds, float_keyword(ds))
    for index in range(count) if count <= 30 else (0, count // 2, count - 1):
        pixels, _ = decode_frame(frames[index], layout, frames_syntax(inst), 1 << 30)
        np.testing.assert_array_equal(pixels, pixel_array(source, index=index))


@pytest.mark.parametrize("path", storage_objects(), ids=lambda path: path.name)
def test_a_frame_that_lies_in_the_file_as_it_is_given_is_known_by_its_place(corpus: Corpus, path: Path) -> None:
    inst = corpus.of(path)
    if inst.object.frame_table is None:
        with pytest.raises(NotFound):
            frame_place(corpus.store, inst, 1)
        return
    count = frame_table(corpus.store, inst).count
    for number in (1, (count + 1) // 2, count):
        place = frame_place(corpus.store, inst, number)
        if place is None:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            syntax = ds.file_meta.TransferSyntaxUID
            changed = syntax.is_compressed or syntax.is_deflated or not syntax.is_little_endian
            assert changed or ds.BitsAllocated == 1
            continue
        with corpus.store.open_range(inst.object.key, *place) as reader:
            assert [reader.read()] == list(read_frames(corpus.store, inst, [number]))
        for beyond in (0, count + 1):
            with pytest.raises(NotFound):
                frame_place(corpus.store, inst, beyond)


def test_frames_of_big_endian_are_the_same_as_of_little_endian(corpus: Corpus) -> None:
    for name in ("SC_rgb_{}16bit_2frame.dcm", "SC_rgb_{}32bit_2frame.dcm", "SC_rgb_{}2frame.dcm"):
        little, big = (corpus.named(name.format(kind)) for kind in ("", "expb_"))
        assert list(read_frames(corpus.store, big, [2, 1])) == list(read_frames(corpus.store, little, [2, 1]))


def multi_frame(count: int, *, compressed: bool) -> tuple[bytes, list[bytes]]:
    """A multi-frame object of 64 x 64 pixels of 16 bits, or of frames of random sizes, and its frames."""
    rng = np.random.default_rng(7)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2.1", generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CT"
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.NumberOfFrames = 1, "MONOCHROME2", count
    if compressed:
        frames = [rng.bytes(2 * int(rng.integers(100, 2000))) for _ in range(count)]
        ds.PixelData = encapsulate(frames)
    else:
        frames = [rng.bytes(64 * 64 * 2) for _ in range(count)]
        ds.PixelData = b"".join(frames)
    ds["PixelData"].VR = "OB" if compressed else "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless if compressed else ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue(), frames


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "encapsulated"])
def test_a_frame_costs_one_small_read(tmp_path: Path, compressed: bool) -> None:
    store = CountingStore(tmp_path)
    file, frames = multi_frame(500, compressed=compressed)
    inst = store_bytes(store, file, "a500")
    assert list(read_frames(store, inst, [400])) == [frames[399]]
    # Where native frames begin is read from the header once and remembered.
    assert len(store.ranges) == (1 if compressed else 2)
    store.ranges.clear()
    assert list(read_frames(store, inst, [500])) == [frames[499]]
    assert [length for _, length in store.ranges] == [len(frames[499]) + (8 if compressed else 0)]


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "encapsulated"])
def test_frames_side_by_side_are_read_together(tmp_path: Path, compressed: bool) -> None:
    store = CountingStore(tmp_path)
    file, frames = multi_frame(500, compressed=compressed)
    inst = store_bytes(store, file, "b500")
    assert list(read_frames(store, inst, [7])) == [frames[6]]
    store.ranges.clear()
    wanted = [*range(10, 61), 3, 2]
    assert list(read_frames(store, inst, wanted)) == [frames[number - 1] for number in wanted]
    assert len(store.ranges) == 3


def test_one_bit_frames_begin_with_a_byte(corpus: Corpus) -> None:
    """Frames of 9 pixels of one bit share bytes; each comes out octet-aligned."""
    bits = np.random.default_rng(1).integers(0, 2, (5, 3, 3), dtype=np.uint8)
    file, _ = multi_frame(5, compressed=False)
    ds = pydicom.dcmread(BytesIO(file))
    ds.Rows = ds.Columns = 3
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    buffer = BytesIO()
    ds.save_as(buffer)
    inst = store_bytes(corpus.store, buffer.getvalue(), "onebit")
    layout = pixel_format(read_header(corpus.store, inst))
    for frame, expected in zip(read_frames(corpus.store, inst, range(1, 6)), bits, strict=True):
        pixels, _ = decode_frame(frame, layout, ExplicitVRLittleEndian, 1 << 20)
        np.testing.assert_array_equal(pixels, expected)


def test_what_the_store_lost_is_unavailable_and_not_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FilesystemStore(tmp_path)
    inst = store_bytes(store, multi_frame(2, compressed=True)[0], "lost")
    store.delete("lost")
    with pytest.raises(StoreUnavailable, match="lost"):
        next(read_frames(store, inst, [1]))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_frames_beyond_the_last_are_not_found(corpus: Corpus) -> None:
    with pytest.raises(NotFound, match="it has 30"):
        next(read_frames(corpus.store, corpus.named("examples_ybr_color.dcm"), [31]))
