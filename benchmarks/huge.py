"""Objects of any size that are made while they are sent, so that only the archive could hold one in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

from archive.standard.file_format import encode_file_meta

MULTI_FRAME_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
Offsets = Literal["basic", "extended", "empty"]

_UNDEFINED = 0xFFFFFFFF
_DIFFERENT = 7
"""Frames that are really compressed; the others repeat them."""


@dataclass(frozen=True)
class Huge:
    """One multi-frame object."""

    dataset: Dataset
    """Its header."""
    transfer_syntax_uid: str
    count: int
    frame: Callable[[int], bytes]
    """The frame of this number, from 1, as a viewer gets it."""
    size: int
    """Of the encoded dataset."""
    encoded: Callable[[], Iterator[bytes]]
    """The encoded dataset in pieces, the same each time."""

    @property
    def path(self) -> str:
        """Of the instance, below the root of the service."""
        ds = self.dataset
        return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"

    @property
    def is_encapsulated(self) -> bool:
        """Whether the frames are compressed."""
        return self.transfer_syntax_uid != ExplicitVRLittleEndian

    @property
    def meta(self) -> bytes:
        """Preamble and file meta information."""
        ds = self.dataset
        return encode_file_meta(ds.SOPClassUID, ds.SOPInstanceUID, self.transfer_syntax_uid, "HUGE")

    def file(self) -> Iterator[bytes]:
        """The Part 10 file in pieces."""
        yield self.meta
        yield from self.encoded()


def native(count: int, side: int = 512, beside: Huge | None = None) -> Huge:
    """Frames of `side` x `side` pixels of 16 bits; each begins with its number. It may be of the series of another."""
    noise = np.random.default_rng(1).integers(0, 4096, side * side, dtype=np.uint16).tobytes()[8:]

    def frame(number: int) -> bytes:
        return struct.pack("<Q", number) + noise

    ds = _header(count, side)
    if beside is not None:
        ds.StudyInstanceUID = beside.dataset.StudyInstanceUID
        ds.SeriesInstanceUID = beside.dataset.SeriesInstanceUID
    header = _encode(ds) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, count * side * side * 2)

    def encoded() -> Iterator[bytes]:
        yield header
        for number in range(1, count + 1):
            yield frame(number)

    return Huge(ds, ExplicitVRLittleEndian, count, frame, len(header) + count * side * side * 2, encoded)


def encapsulated(count: int, offsets: Offsets, side: int = 512) -> Huge:
    """The same compressed by JPEG-LS. Without offsets each frame is two fragments, which only their ends tell."""
    fragments = 2 if offsets == "empty" else 1

    def items(number: int) -> bytes:
        stream = _compressed(number % _DIFFERENT, side)
        cut = len(stream) // fragments & ~1
        return b"".join(map(_item, (stream[:cut], stream[cut:]) if fragments == 2 else (stream,)))

    lengths = [len(items(number)) for number in range(1, _DIFFERENT + 1)]
    spans = np.array([lengths[k % _DIFFERENT] for k in range(count)], dtype=np.uint64)
    starts = np.cumsum(spans, dtype=np.uint64) - spans
    ds = _header(count, side)
    if offsets == "extended":
        ds.ExtendedOffsetTable = starts.astype("<u8").tobytes()
        ds.ExtendedOffsetTableLengths = (spans - np.uint64(8)).astype("<u8").tobytes()
    table = _item(starts.astype("<u4").tobytes() if offsets == "basic" else b"")
    header = _encode(ds) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, _UNDEFINED) + table
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

    def encoded() -> Iterator[bytes]:
        yield header
        for number in range(1, count + 1):
            yield items(number)
        yield end

    def frame(number: int) -> bytes:
        return _compressed(number % _DIFFERENT, side)

    return Huge(ds, JPEGLSLossless, count, frame, len(header) + int(spans.sum()) + len(end), encoded)


@cache
def _compressed(kind: int, side: int) -> bytes:
    random = np.random.default_rng(kind)
    image = (
        np.add.outer(np.arange(side), np.arange(side)) * (kind + 1) % 3000 + random.integers(0, 64, (side, side))
    ).astype(np.uint16)
    stream = bytes(imagecodecs.jpegls_encode(image))
    return stream + b"\0" * (len(stream) % 2)


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _encode(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


def _header(count: int, side: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MULTI_FRAME_GRAYSCALE_WORD, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName = "HUGE", "Huge^Object"
    ds.StudyDate, ds.StudyTime, ds.Modality = "20261122", "083000", "XA"
    ds.AccessionNumber, ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "H1", "1", 1, 1
    ds.NumberOfFrames, ds.FrameTime = count, "33.333"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    return ds
