"""Small images made for a test: with overlays, functional groups, several frames."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_GREYSCALE = "1.2.840.10008.5.1.4.1.1.7.3"


def image_file(
    pixels: NDArray[Any], *additions: Dataset, photometric: str = "MONOCHROME2", signed: bool = False, stored: int = 12
) -> Dataset:
    """An image of (rows, columns) or (frames, rows, columns) of 8 or 16 bits; `stored` of 16."""
    ds = Dataset()
    frames = pixels.shape[0] if pixels.ndim == 3 else None
    ds.SOPClassUID = UID(SECONDARY_CAPTURE if frames is None else MULTI_FRAME_GREYSCALE)
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.Modality = "RENDER", "Test^Render", "OT"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape[-2:], 1, photometric
    if frames is not None:
        ds.NumberOfFrames = frames
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = min(stored, ds.BitsAllocated)
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(signed)
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OW"
    for each in additions:
        ds.update(each)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def encoded(ds: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """The image as a file."""
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def overlay(
    group: int, bits: NDArray[np.uint8], origin: tuple[int, int] = (1, 1), position: int | None = None, kind: str = "G"
) -> Dataset:
    """The elements of an overlay of (rows, columns) or (frames, rows, columns); without data if it has a position."""
    ds = Dataset()
    ds.add_new((group, 0x0010), "US", bits.shape[-2])
    ds.add_new((group, 0x0011), "US", bits.shape[-1])
    ds.add_new((group, 0x0040), "CS", kind)
    ds.add_new((group, 0x0050), "SS", list(origin))
    ds.add_new((group, 0x0100), "US", 1 if position is None else 16)
    ds.add_new((group, 0x0102), "US", position or 0)
    if bits.ndim == 3:
        ds.add_new((group, 0x0015), "IS", bits.shape[0])
        ds.add_new((group, 0x0051), "US", 1)
    if position is None:
        packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
        ds.add_new((group, 0x3000), "OW", packed + b"\0" * (len(packed) % 2))
    return ds
