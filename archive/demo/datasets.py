"""Makes the DICOM objects of the demo province, one at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    XRayAngiographicImageStorage,
)

from archive.demo.phantom import PIXEL, SIZE, Thorax, angiogram
from archive.demo.province import FACILITY_NAMES, STUDIES, SeriesPlan, StudyPlan, uid

MODEL = "Dữ liệu mẫu"
# What a test file says of its origin. The rest of its header stays as its modality wrote it.
ORIGIN = (
    "AcquisitionDateTime",
    "DeviceSerialNumber",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientAddress",
    "PatientAge",
    "PatientComments",
    "PatientTelephoneNumbers",
    "PerformedProcedureStepID",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "ReferencedPatientSequence",
    "ReferencedPerformedProcedureStepSequence",
    "ReferencedStudySequence",
    "RequestAttributesSequence",
    "RequestingPhysician",
    "RequestingService",
    "StationName",
)


class DemoFile(NamedTuple):
    """One object: its place in the demo, and its dataset as a modality would send it."""

    study: StudyPlan
    name: str
    """Folder and file name, such as ``26103000017/CT1/001.dcm``."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes
    """Encoded dataset, without file meta information."""
    file_meta: bytes
    """Preamble and file meta information."""


class MissingTestFile(Exception):
    """A test file of pydicom is not on this machine."""


def count() -> int:
    """How many objects `files` gives."""
    return sum(max(series.slices, len(series.files), 1) for study in STUDIES for series in study.series)


def files() -> Iterator[DemoFile]:
    """All objects of the demo province, made as they are asked for.

    Raises `MissingTestFile`.
    """
    for study in STUDIES:
        for number, series in enumerate(study.series, start=1):
            for instance, (dataset, syntax) in enumerate(_objects(study, series), start=1):
                _describe(dataset, study, series, number, instance)
                name = f"{study.accession_number}/{series.modality}{number}/{instance:03d}.dcm"
                yield _encode(study, name, dataset, syntax)


def _objects(study: StudyPlan, series: SeriesPlan) -> Iterator[tuple[Dataset, UID]]:
    if series.builder == "thorax":
        return _thorax(study, series)
    if series.builder == "angiogram":
        return iter([_angiogram()])
    if series.builder == "report":
        return iter([(_report(study), ExplicitVRLittleEndian)])
    return map(_test_file, series.files)


def _test_file(name: str) -> tuple[Dataset, UID]:
    path = get_testdata_file(name, download=False)
    if path is None:
        raise MissingTestFile(f"the demo needs {name} of the package pydicom-data: install the 'embedded' extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that modalities wrote against the rules long ago
        dataset = dcmread(Path(str(path)))
        syntax = UID(dataset.file_meta.TransferSyntaxUID)
        dataset.remove_private_tags()
        dataset.decode()  # text must be read in the old character set before the new one is declared
    for keyword in ORIGIN:
        if keyword in dataset:
            delattr(dataset, keyword)
    return dataset, syntax


def _describe(dataset: Dataset, study: StudyPlan, series: SeriesPlan, number: int, instance: int) -> None:
    """Patient, study, series and instance: who and what the demo says it is (PS3.3 C.7.1 to C.7.3, C.12.1)."""
    person = study.person
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = person.name, person.patient_id
    if person.issuer:
        dataset.IssuerOfPatientID = person.issuer
    # A year alone is not a date (VR DA): the year then shows in the age only.
    dataset.PatientBirthDate = "" if person.birth_date.endswith("0000") else person.birth_date
    dataset.PatientSex = person.sex
    dataset.PatientAge = _age(person.birth_date, study.date)
    dataset.StudyInstanceUID = study.uid
    dataset.StudyDate, dataset.StudyTime = study.date, study.time
    dataset.AccessionNumber = study.accession_number
    dataset.StudyID = study.accession_number[-5:]
    dataset.StudyDescription = study.description
    dataset.ReferringPhysicianName = study.referrer
    dataset.InstitutionName = FACILITY_NAMES[study.facility]
    dataset.SeriesInstanceUID = uid("series", study.accession_number, number)
    dataset.SeriesNumber, dataset.SeriesDescription = number, series.description
    dataset.Modality = series.modality
    dataset.SeriesDate, dataset.SeriesTime = study.date, study.time
    if series.body_part:
        dataset.BodyPartExamined = series.body_part
    for moment in ("Acquisition", "Content", "InstanceCreation"):
        if f"{moment}Date" in dataset or moment == "Content":
            setattr(dataset, f"{moment}Date", study.date)
            setattr(dataset, f"{moment}Time", study.time)
    dataset.InstanceNumber = instance
    dataset.SOPInstanceUID = uid("instance", study.accession_number, number, instance)


def _age(birth_date: str, study_date: str) -> str:
    """Age string (VR AS, PS3.5 6.2) in years, by the year alone where day and month are unknown."""
    years = int(study_date[:4]) - int(birth_date[:4])
    if birth_date[4:] != "0000" and study_date[4:] < birth_date[4:]:
        years -= 1
    return f"{years:03d}Y"


def _thorax(study: StudyPlan, series: SeriesPlan) -> Iterator[tuple[Dataset, UID]]:
    """A CT stack from head to foot, with the geometry that reformatting needs (PS3.3 C.7.6.2)."""
    thorax = Thorax(series.nodule)
    corner = -(SIZE - 1) / 2 * PIXEL
    for index in range(series.slices):
        z = 140 - index * series.spacing
        dataset = _image(CTImageStorage, rows=SIZE, columns=SIZE, stored=12)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.FrameOfReferenceUID = uid("frame of reference", study.accession_number)
        dataset.PositionReferenceIndicator = ""
        dataset.PatientPosition = "HFS"
        dataset.PixelSpacing = [PIXEL, PIXEL]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [corner, corner, z]
        dataset.SliceLocation = z
        dataset.SliceThickness = dataset.SpacingBetweenSlices = series.spacing
        dataset.KVP, dataset.XRayTubeCurrent, dataset.ConvolutionKernel = 120, 180, "STANDARD"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
        dataset.WindowCenter, dataset.WindowWidth = [40, -600], [400, 1500]
        dataset.WindowCenterWidthExplanation = ["Trung thất", "Phổi"]
        dataset.PixelData = (thorax.slice(z) + 1024).astype("<u2").tobytes()
        yield dataset, ExplicitVRLittleEndian


def _angiogram() -> tuple[Dataset, UID]:
    """A multi-frame XA image (PS3.3 A.14), compressed without loss."""
    frames = angiogram()
    dataset = _image(XRayAngiographicImageStorage, rows=frames.shape[1], columns=frames.shape[2], stored=8)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.NumberOfFrames = len(frames)
    dataset.FrameIncrementPointer = 0x00181063
    dataset.FrameTime = "66.7"
    dataset.RecommendedDisplayFrameRate = 15
    dataset.PixelIntensityRelationship = "LIN"
    dataset.KVP, dataset.RadiationSetting = 80, "GR"
    dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = 30, -20
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.PixelData = frames.tobytes()
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    return dataset, JPEGLSLossless


def _image(sop_class: UID, *, rows: int, columns: int, stored: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.Manufacturer, dataset.ManufacturerModelName = "pydicom, numpy", MODEL
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (16 if stored > 8 else 8), stored, stored - 1
    dataset.PixelRepresentation = 0
    return dataset


def _report(study: StudyPlan) -> Dataset:
    """A Basic Text SR of the study's first series (PS3.3 A.35.1)."""
    dataset = Dataset()
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.Manufacturer, dataset.ManufacturerModelName = "pydicom", MODEL
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [_code("18748-4", "LN", "Kết quả chẩn đoán hình ảnh")]
    dataset.ContentSequence = [
        _text(
            "121070",
            "Mô tả",
            "Nốt đặc thùy trên phổi phải, bờ đều, đường kính khoảng 18 mm, không vôi hóa (lần chụp trước: 10 mm). "
            "Không thấy hạch trung thất to. Không tràn dịch màng phổi.",
        ),
        _text("121076", "Kết luận", "Nốt phổi phải tăng kích thước. Đây là dữ liệu mẫu, không phải người thật."),
    ]
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(study)]
    return dataset


def _evidence(study: StudyPlan) -> Dataset:
    images = []
    for instance in range(1, study.series[0].slices + 1):
        image = Dataset()
        image.ReferencedSOPClassUID = CTImageStorage
        image.ReferencedSOPInstanceUID = uid("instance", study.accession_number, 1, instance)
        images.append(image)
    series = Dataset()
    series.SeriesInstanceUID = uid("series", study.accession_number, 1)
    series.ReferencedSOPSequence = images
    evidence = Dataset()
    evidence.StudyInstanceUID = study.uid
    evidence.ReferencedSeriesSequence = [series]
    return evidence


def _text(code: str, meaning: str, text: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [_code(code, "DCM", meaning)]
    item.TextValue = text
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _encode(study: StudyPlan, name: str, dataset: Dataset, syntax: UID) -> DemoFile:
    """Write a Part 10 file and tell its two parts apart (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    dataset.file_meta = meta
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, dataset, enforce_file_format=True)
    data = buffer.getvalue()
    offset = 144 + int.from_bytes(data[140:144], "little")
    return DemoFile(
        study, name, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(syntax), data[offset:], data[:offset]
    )
