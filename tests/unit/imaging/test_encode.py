"""Lossless targets (PS3.5 8.2.2 to 8.2.4, 8.2.14, A.4): other decoders find every pixel as it was."""

from __future__ import annotations

import gc
import shutil
import subprocess
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames, get_frame, parse_basic_offsets
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEGLSNearLossless, generate_uid

from archive.errors import NotAcceptable
from archive.imaging import encapsulate as spool
from archive.imaging.encode import (
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    LOSSLESS,
    RLE_LOSSLESS,
)
from archive.imaging.transcode import can_transcode, encoded_frames, is_irreversible, transcode, why_not
from archive.records import StoredInstance
from storage.filesystem import FilesystemStore
from tests.corpus import storage_objects
from tests.unit.imaging.conftest import Corpus
from tests.unit.imaging.stored import store_bytes
from tests.unit.imaging.test_frames import CountingStore
from tests.unit.imaging.test_transcode import LIMIT, ONLY_WE, UNDECODABLE, assert_same_attributes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Not the library that encoded, where there is another one.
DECODER = {JPEG_LS_LOSSLESS: "gdcm", JPEG_2000_LOSSLESS: "gdcm", HTJ2K_LOSSLESS: "pylibjpeg", RLE_LOSSLESS: "pydicom"}
JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


def given(store: FilesystemStore, inst: StoredInstance, target: str) -> FileDataset:
    made = transcode(store, inst, target, LIMIT)
    file = b"".join(made.chunks)
    assert len(file) == made.size
    ds = pydicom.dcmread(BytesIO(file))
    assert ds.file_meta.TransferSyntaxUID == target
    return ds


def pixels(ds: Dataset, plugin: str = "") -> np.ndarray[Any, Any]:
    """All frames, colours as they are; but JPEG Baseline is decoded to RGB by everybody."""
    return pixel_array(ds, raw=ds.file_meta.TransferSyntaxUID not in JPEG, decoding_plugin=plugin)


def images() -> list[tuple[int, Path]]:
    """All files but one that takes seconds, numbered."""
    paths = [path for path in storage_objects() if path.name != "color3d_jpeg_baseline.dcm"]
    return list(enumerate(paths))


@pytest.mark.parametrize(("number", "path"), images(), ids=lambda value: getattr(value, "name", ""))
def test_every_image_of_the_corpus(corpus: Corpus, number: int, path: Path) -> None:
    """Into every target; the large ones into one, by turns."""
    inst, source = corpus.of(path), pydicom.dcmread(path)
    targets = [target for target in LOSSLESS if can_transcode(corpus.store, inst, target)]
    allocated, keyword = source.get("BitsAllocated"), "PixelData" in source
    if inst.object.frame_table is None or allocated not in (8, 16) or not keyword:
        assert targets == []
        return
    tiny = source.Rows * source.Columns * source.SamplesPerPixel * allocated < 8 * 256
    assert targets == [target for target in LOSSLESS if not (tiny and target == JPEG_LS_LOSSLESS)]
    if path.name in UNDECODABLE:
        with pytest.raises(NotAcceptable, match="cannot be decoded"):
            transcode(corpus.store, inst, RLE_LOSSLESS, LIMIT)
        return
    expected = None if path.name in ONLY_WE else pixels(source)
    for target in targets if expected is None or expected.nbytes < 1 << 20 else [targets[number % 4]]:
        ds = given(corpus.store, inst, target)
        if expected is not None:
            np.testing.assert_array_equal(pixels(ds, DECODER[target]), expected)
        assert_same_attributes(ds, source, compare_values=source.original_encoding == (False, True))
        colours = {"RGB": "YBR_RCT"} if target in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS) else {}
        if source.SamplesPerPixel == 3:
            assert ds.PlanarConfiguration == (1 if target == RLE_LOSSLESS else 0)
            assert ds.PhotometricInterpretation in (colours.get("RGB", "RGB"), "YBR_FULL")


def image(cells: np.ndarray[Any, Any], *, allocated: int = 16, **changes: Any) -> bytes:
    """A file with these cells: (frames, rows, columns) or (frames, rows, columns, 3), of 12 bits stored."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.3", generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "OT"
    ds.NumberOfFrames, ds.Rows, ds.Columns = cells.shape[:3]
    ds.SamplesPerPixel = cells.shape[3] if cells.ndim == 4 else 1
    ds.PhotometricInterpretation = "RGB" if cells.ndim == 4 else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, min(allocated, 12), min(allocated, 12) - 1
    ds.PixelRepresentation = int(cells.dtype.kind == "i")
    if cells.ndim == 4:
        ds.PlanarConfiguration = 0
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    if "PixelData" not in changes:
        ds.PixelData = cells.tobytes()
    ds["PixelData"].VR = "OW" if allocated > 8 else "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def noise(shape: tuple[int, ...], low: int, high: int, dtype: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("target", LOSSLESS)
@pytest.mark.parametrize(
    ("low", "high", "stored", "dtype"),
    [
        (0, 1 << 12, 12, "<u2"),
        (-(1 << 11), 1 << 11, 12, "<i2"),
        (0, 1 << 16, 16, "<u2"),
        (-(1 << 15), 1 << 15, 16, "<i2"),
        (0, 1 << 5, 5, "<u2"),
        (-(1 << 5), 1 << 5, 6, "<i2"),
        (0, 1 << 8, 8, "u1"),
        (-(1 << 7), 1 << 7, 8, "i1"),
        (0, 1 << 2, 2, "u1"),
    ],
)
def test_noise_of_every_precision(tmp_path: Path, target: str, low: int, high: int, stored: int, dtype: str) -> None:
    """Noise is the worst that a codec can meet; sizes are odd, so that frames are of odd length too."""
    store = FilesystemStore(tmp_path)
    cells = noise((3, 31, 17), low, high, dtype)
    file = image(cells, allocated=cells.itemsize * 8, BitsStored=stored, HighBit=stored - 1)
    ds = given(store, store_bytes(store, file, "noise"), target)
    np.testing.assert_array_equal(pixels(ds), cells)
    assert (ds.BitsStored, ds.HighBit) == (stored, stored - 1)


@pytest.mark.parametrize("target", LOSSLESS)
@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (16, "<u2")])
def test_colours_of_every_depth_and_configuration(tmp_path: Path, target: str, bits: int, dtype: str) -> None:
    store = FilesystemStore(tmp_path)
    cells = noise((2, 19, 23, 3), 0, 1 << bits, dtype)
    by_plane = np.moveaxis(cells, 3, 1)
    options = {"allocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    for index, (planar, value) in enumerate(((0, cells), (1, by_plane))):
        file = image(cells, PlanarConfiguration=planar, PixelData=value.tobytes(), **options)
        ds = given(store, store_bytes(store, file, f"colour{index}"), target)
        np.testing.assert_array_equal(pixels(ds), cells)


@pytest.mark.parametrize("target", LOSSLESS)
def test_what_is_beside_the_bits_stored_is_refused_or_kept(tmp_path: Path, target: str) -> None:
    """A value of 13 bits in 12 is no pixel, but an archive does not drop it."""
    store = FilesystemStore(tmp_path)
    cells = noise((2, 31, 17), 0, 1 << 12, "<u2")
    cells[1, 5, 5] |= 1 << 12
    inst = store_bytes(store, image(cells), "beside")
    if target == RLE_LOSSLESS:
        ds = given(store, inst, target)
        frames = list(generate_frames(ds.PixelData, number_of_frames=2))
        assert len(frames) == 2
        ds.BitsStored, ds.HighBit = 16, 15
        np.testing.assert_array_equal(pixels(ds), cells)
        return
    with pytest.raises(NotAcceptable, match="beyond Bits Stored"):
        transcode(store, inst, target, LIMIT)


@pytest.mark.parametrize("target", LOSSLESS)
def test_a_sign_that_stops_at_high_bit_is_one(tmp_path: Path, target: str) -> None:
    """PS3.5 8.1.1: the sign bit is High Bit, whatever is above it."""
    store = FilesystemStore(tmp_path)
    values = noise((1, 31, 17), -(1 << 11), 1 << 11, "<i2")
    file = image(values, PixelData=(values & 0x0FFF).tobytes())
    np.testing.assert_array_equal(pixels(given(store, store_bytes(store, file, "sign"), target)), values[0])


@pytest.mark.parametrize(
    ("changes", "only"),
    [
        ({"BitsStored": 12, "HighBit": 15}, {RLE_LOSSLESS}),
        ({"BitsStored": 1, "HighBit": 0}, {JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, RLE_LOSSLESS}),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, set(LOSSLESS)),
        ({"PhotometricInterpretation": "PALETTE COLOR", "PixelRepresentation": 1}, set()),
        ({"PhotometricInterpretation": "RGB"}, set()),
        ({"HighBit": "x"}, set()),
    ],
)
def test_what_a_code_stream_cannot_hold_is_known_from_the_header(
    tmp_path: Path, changes: dict[str, Any], only: set[str]
) -> None:
    store = FilesystemStore(tmp_path)
    if changes.get("HighBit") == "x":
        changes = {"BitsAllocated": 12}
    inst = store_bytes(store, image(noise((1, 31, 17), 0, 1, "<u2"), **changes), "header")
    assert {target for target in LOSSLESS if can_transcode(store, inst, target)} == only
    for target in set(LOSSLESS) - only:
        with pytest.raises(NotAcceptable):
            transcode(store, inst, target, LIMIT)
        with pytest.raises(NotAcceptable):
            encoded_frames(store, inst, [1], target, LIMIT)


def test_an_object_that_would_be_too_large_decoded_is_refused(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    inst = store_bytes(store, image(noise((4, 64, 64), 0, 99, "<u2")), "large")
    with pytest.raises(NotAcceptable, match="more than the limit"):
        transcode(store, inst, RLE_LOSSLESS, 4 * 64 * 64 * 2 - 1)
    assert transcode(store, inst, RLE_LOSSLESS, 4 * 64 * 64 * 2).size


def test_the_basic_offset_table_leads_to_every_frame(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    cells = noise((7, 31, 17), 0, 1 << 12, "<u2")
    ds = given(store, store_bytes(store, image(cells), "table"), JPEG_LS_LOSSLESS)
    assert len(parse_basic_offsets(ds.PixelData)) == 7
    assert "ExtendedOffsetTable" not in ds
    for index, expected in enumerate(cells):
        np.testing.assert_array_equal(pixel_array(ds, index=index), expected)


def test_offsets_beyond_32_bits_go_into_the_extended_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PS3.3 C.7.6.3.1.8, C.7.6.3.1.9, with a limit that needs no 4 GiB."""
    store = FilesystemStore(tmp_path)
    cells = noise((7, 31, 17), 0, 1 << 12, "<u2")
    monkeypatch.setattr(spool, "_LARGEST_OFFSET", 1000)
    ds = given(store, store_bytes(store, image(cells), "extended"), JPEG_2000_LOSSLESS)
    assert parse_basic_offsets(ds.PixelData) == []
    tables = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    frames = list(generate_frames(ds.PixelData, number_of_frames=7))
    for index, frame in enumerate(frames):
        assert get_frame(ds.PixelData, index, extended_offsets=tables) == frame
        np.testing.assert_array_equal(pixel_array(ds, index=index), cells[index])
    # What we made is read by us, and decoded again it has no tables that lead nowhere.
    buffer = BytesIO()
    ds.save_as(buffer)
    back = given(store, store_bytes(store, buffer.getvalue(), "again"), ExplicitVRLittleEndian)
    assert "ExtendedOffsetTable" not in back and "ExtendedOffsetTableLengths" not in back
    np.testing.assert_array_equal(pixels(back), cells)


@pytest.mark.parametrize("target", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_what_was_lossy_is_never_called_lossless(corpus: Corpus, target: str) -> None:
    """PS3.3 C.7.6.1.1.5: by the process, and of JPEG 2000 by the wavelet."""
    cells = noise((1, 64, 64), 0, 256, "u1")
    near = pydicom.dcmread(BytesIO(image(cells, allocated=8)))
    near.compress(JPEGLSNearLossless, jls_error=3)
    wavelet = pydicom.dcmread(BytesIO(image(cells, allocated=8)))
    wavelet.compress(JPEG2000, j2k_cr=[8])
    reversible = pydicom.dcmread(BytesIO(image(cells, allocated=8)))
    reversible.compress(UID(JPEG_2000_LOSSLESS))
    reversible.file_meta.TransferSyntaxUID = JPEG2000
    for key, source, lossy in (("near", near, True), ("wavelet", wavelet, True), ("reversible", reversible, False)):
        source.pop("LossyImageCompression", None)
        buffer = BytesIO()
        source.save_as(buffer)
        ds = given(corpus.store, store_bytes(corpus.store, buffer.getvalue(), f"{key}{target[-2:]}"), target)
        assert ds.get("LossyImageCompression") == ("01" if lossy else None)
    baseline = given(corpus.store, corpus.named("SC_rgb_dcmtk_+eb+cy+np.dcm"), target)
    assert baseline.LossyImageCompression == "01"


def test_damaged_code_streams_tell_nothing_of_their_wavelet() -> None:
    assert not is_irreversible(b"")
    assert not is_irreversible(b"\xff\x4f\xff\x51")
    assert not is_irreversible(b"\xff\x4f\xff\x51\x00\x00" + b"\xff\x52" * 3)
    assert not is_irreversible(b"\xff\x4f\xff\x51" + b"\x00" * 60)


def test_a_damaged_frame_is_told_before_a_byte_is_given(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    ds = pydicom.dcmread(BytesIO(image(noise((3, 64, 64), 0, 1 << 12, "<u2"))))
    ds.compress(UID(JPEG_2000_LOSSLESS))
    frames = list(generate_frames(ds.PixelData, number_of_frames=3))
    ds.PixelData = encapsulate([frames[0], frames[1], b"\xff\x4f\xff\x51 no frame "])
    buffer = BytesIO()
    ds.save_as(buffer)
    inst = store_bytes(store, buffer.getvalue(), "damaged")
    with pytest.raises(NotAcceptable, match="cannot be decoded"):
        transcode(store, inst, JPEG_LS_LOSSLESS, LIMIT)


def test_a_frame_costs_one_small_read(tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    cells = noise((200, 31, 17), 0, 1 << 12, "<u2")
    inst = store_bytes(store, image(cells), "frames")
    (first,) = encoded_frames(store, inst, [1], JPEG_LS_LOSSLESS, LIMIT)
    assert first.startswith(b"\xff\xd8")
    store.ranges.clear()
    assert len(list(encoded_frames(store, inst, [150], JPEG_LS_LOSSLESS, LIMIT))) == 1
    assert sum(length for _, length in store.ranges) < 31 * 17 * 2 + 3 * 1024
    assert store.ranges[-1][1] == 31 * 17 * 2


def test_memory_is_a_few_frames_and_the_spool_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FilesystemStore(tmp_path)
    monkeypatch.setattr(spool, "_IN_MEMORY", 1 << 16)
    cells = noise((60, 256, 256), 0, 1 << 12, "<u2")
    inst = store_bytes(store, image(cells), "memory")
    tracemalloc.start()
    made = transcode(store, inst, RLE_LOSSLESS, LIMIT)
    total = sum(map(len, made.chunks))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == made.size > 5_000_000
    assert peak < 12 << 20  # frames are read by 4 MiB at once


def test_what_is_never_read_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FilesystemStore(tmp_path)
    monkeypatch.setattr(spool, "_IN_MEMORY", 1)
    inst = store_bytes(store, image(noise((2, 64, 64), 0, 99, "<u2")), "dropped")
    gc.collect()  # what other tests left
    before = len(list(Path("/proc/self/fd").iterdir()))
    made = [transcode(store, inst, RLE_LOSSLESS, LIMIT) for _ in range(5)]
    assert len(list(Path("/proc/self/fd").iterdir())) >= before + 5
    next(made[0].chunks)
    made[1].chunks.close()
    made.clear()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize(
    ("target", "program"), [(JPEG_LS_LOSSLESS, "dcmdjpls"), (RLE_LOSSLESS, "dcmdrle"), (JPEG_2000_LOSSLESS, "gdcmconv")]
)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_palette.dcm", "SC_rgb.dcm"])
def test_other_programs_find_the_same_pixels(
    corpus: Corpus, tmp_path: Path, target: str, program: str, name: str
) -> None:
    path = next((path for path in storage_objects() if path.name == name), None)
    if shutil.which(program) is None or path is None:
        pytest.skip(f"{program} or {name} is not here")
    compressed, native = tmp_path / "compressed.dcm", tmp_path / "native.dcm"
    compressed.write_bytes(b"".join(transcode(corpus.store, corpus.of(path), target, LIMIT).chunks))
    options = ["--raw"] if program == "gdcmconv" else []
    subprocess.run([program, *options, str(compressed), str(native)], check=True, capture_output=True)
    np.testing.assert_array_equal(pixels(pydicom.dcmread(native)), pixels(pydicom.dcmread(path)))


def test_what_has_no_frames_is_not_compressed(corpus: Corpus) -> None:
    inst = corpus.named("test-SR.dcm")
    assert "without frames" in why_not(corpus.store, inst, RLE_LOSSLESS)
    assert can_transcode(corpus.store, inst, ExplicitVRLittleEndian)
