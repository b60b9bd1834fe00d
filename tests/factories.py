"""Synthetic objects for tests, as pydicom datasets and as bytes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from archive.core import Archive
from archive.records import Receipt, Source

SOURCE = Source(facility="86001", issuer_of_patient_id="86001", transport="import", calling_ae_title="CT1")
MODALITY = replace(SOURCE, transport="dimse")


def ct_image(*, rows: int = 16, columns: int = 16, seed: int = 0, **attributes: Any) -> Dataset:
    """A small CT image with a Vietnamese patient. Keywords set attributes; None removes one."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.PatientName = "Nguyễn^Văn Đức"
    dataset.PatientID = "BN0001"
    dataset.PatientBirthDate = "19620512"
    dataset.PatientSex = "M"
    dataset.StudyDate = "20261101"
    dataset.StudyTime = "083015"
    dataset.AccessionNumber = "A1"
    dataset.StudyID = "S1"
    dataset.StudyDescription = "CT sọ não"
    dataset.Modality = "CT"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = rows
    dataset.Columns = columns
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    pixels = np.random.default_rng(seed).integers(0, 4096, (rows, columns), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def encode(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """The dataset as it travels in C-STORE: without file meta information."""
    from pydicom.uid import UID

    syntax = UID(transfer_syntax_uid)
    buffer = BytesIO()
    dcmwrite(
        buffer,
        dataset,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=False,
        force_encoding=True,
    )
    return buffer.getvalue()


def store(archive: Archive, dataset: Dataset, source: Source = SOURCE) -> Receipt:
    """Store a dataset in Explicit VR Little Endian."""
    return store_bytes(archive, encode(dataset), dataset.SOPClassUID, dataset.SOPInstanceUID, source=source)


def store_bytes(
    archive: Archive,
    data: bytes,
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    source: Source = SOURCE,
) -> Receipt:
    """Store dataset bytes as they are."""
    with archive.begin(
        source,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
    ) as receiving:
        receiving.write(data)
        return receiving.finish()
