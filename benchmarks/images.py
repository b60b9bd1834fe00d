"""CT images of any size under new UIDs, encoded as they are sent."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from archive.standard.file_format import encode_file_meta
from benchmarks.sender import Object

SLICES = 100
"""Of a series."""


def ct_objects(rows: int, count: int, seed: int, *, columns: int = 0, slices: int = SLICES) -> list[Object]:
    """Images of `rows` x `columns` (as many as rows, if left out) pixels of 16 bits, in series of `slices`."""
    made = []
    for number in range(count):
        if number % slices == 0:
            study, series = generate_uid(), generate_uid()
        ds = Dataset()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.PatientID, ds.PatientName = f"P{number // slices}", "Benchmark^Patient"
        ds.StudyDate, ds.StudyTime, ds.Modality = "20261101", "083000", "CT"
        ds.AccessionNumber, ds.StudyID = f"A{number // slices}", "1"
        ds.SeriesNumber, ds.InstanceNumber = 1, number % slices + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number % slices], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = rows, columns or rows
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        # Large ones would take longer to make than to send: they differ in the first pixels alone.
        pixels = _pixels(rows * (columns or rows), seed + number % 8 if rows < 1024 else 0)
        dataset = b"".join(
            (
                _encoded(ds),
                struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)),
                struct.pack("<II", seed % 4096, number),
                memoryview(pixels)[8:],
            )
        )
        made.append(Object(CTImageStorage, ds.SOPInstanceUID, ExplicitVRLittleEndian, dataset))
    return made


def part10(item: Object) -> bytes:
    """The object as a file."""
    meta = encode_file_meta(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, "BENCHMARK")
    return meta + item.dataset


@lru_cache(maxsize=64)
def _pixels(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 4096, count, dtype=np.uint16).tobytes()


def _encoded(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()
