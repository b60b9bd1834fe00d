"""Studies as a hospital has them, made from seeds: a CT with what was derived from it, ultrasound, video, document."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import coding
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CLIP = Path(__file__).with_name("clip.mp4")
"""H.264 baseline, 160 x 120, 30 frames at 10 per second: a yellow square goes from left to right, behind it red and blue."""
CLIP_FRAMES, CLIP_ROWS, CLIP_COLUMNS = 30, 120, 160

CT, ULTRASOUND, VIDEO, PDF, RT_STRUCTURE_SET = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.77.1.4.1",
    "1.2.840.10008.5.1.4.1.1.104.1",
    "1.2.840.10008.5.1.4.1.1.481.3",
)
MPEG4_HIGH_PROFILE = "1.2.840.10008.1.2.4.102"
BONE_HU, WATER_HU, AIR_HU = 700, 0, -1000
PIXEL_MM, SLICE_MM = 2, 5


def phantom(slices: int, side: int) -> Iterator[NDArray[np.int16]]:
    """Hounsfield units of each slice: a body whose planes all differ, with a bone and a cyst that move."""
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    for z in np.linspace(-1, 1, slices):
        made = np.full(x.shape, AIR_HU, np.int16)
        made[(x / 0.85) ** 2 + (y / 0.6) ** 2 < 1 - 0.5 * z**2] = 40
        made[(x - 0.5 * z) ** 2 + (y - 0.25) ** 2 < 0.03] = BONE_HU
        made[(x + 0.4) ** 2 + (y + 0.1 + 0.3 * z) ** 2 + z**2 < 0.06] = WATER_HU
        yield made


def common(sop_class: str, modality: str, **attributes: Any) -> FileDataset:
    """What every object says: patient, study, series and itself, in a file without pixel data."""
    made = FileDataset("", Dataset(), preamble=bytes(128), file_meta=FileMetaDataset())
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    said: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "Trần^Thị Bưởi",
        "PatientID": "BN4711",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "StudyDate": "20260302",
        "StudyTime": "081500",
        "AccessionNumber": "V1",
        "StudyID": "1",
        "StudyDescription": "CT bụng",
        "ReferringPhysicianName": "Lê^Văn C",
        "Modality": modality,
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "ContentDate": "20260302",
        "ContentTime": "081500",
        "Manufacturer": "Phantom",
        "ManufacturerModelName": "P1",
        "DeviceSerialNumber": "1",
        "SoftwareVersions": "1",
    }
    for keyword, value in {**said, **attributes}.items():
        setattr(made, keyword, value)
    return made


def ct_series(slices: int = 40, side: int = 128, *, noise: int | None = None, **attributes: Any) -> list[FileDataset]:
    """Axial slices of the phantom. `noise` is the seed of the noise, if there is to be any."""
    series = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesDescription": "Cắt lớp bụng",
        **attributes,
    }
    made = []
    random = np.random.default_rng(noise)
    for number, pixels in enumerate(phantom(slices, side)):
        image = common(CT, "CT", **series, InstanceNumber=number + 1)
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.PositionReferenceIndicator = ""
        image.ImagePositionPatient = [-PIXEL_MM * (side - 1) / 2] * 2 + [SLICE_MM * number]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness, image.PatientPosition = [PIXEL_MM] * 2, SLICE_MM, "HFS"
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -1024, 1, "HU"
        image.WindowCenter, image.WindowWidth = 100, 1600
        stored = pixels.astype(np.int32) + 1024
        if noise is not None:
            stored += random.integers(0, 24, stored.shape)
        _pixels(image, stored.astype(np.uint16), stored=12)
        made.append(image)
    return made


def _pixels(image: Dataset, pixels: NDArray[Any], stored: int, photometric: str = "MONOCHROME2") -> None:
    """Native pixel data of (rows, columns), or (frames, rows, columns, samples)."""
    image.SamplesPerPixel = 3 if photometric == "RGB" else 1
    image.Rows, image.Columns = pixels.shape[-3:-1] if photometric == "RGB" else pixels.shape[-2:]
    image.PhotometricInterpretation = photometric
    image.BitsAllocated = 8 * pixels.dtype.itemsize
    image.BitsStored, image.HighBit, image.PixelRepresentation = stored, stored - 1, 0
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OW" if image.BitsAllocated == 16 else "OB"


def _derived(images: list[FileDataset], number: int, description: str) -> dict[str, Any]:
    """What highdicom wants to know of an object that is made from others."""
    return {
        "series_instance_uid": generate_uid(),
        "series_number": number,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "Phantom",
        "manufacturer_model_name": "P1",
        "software_versions": "1",
        "device_serial_number": "1",
        "series_description": description,
    }


def segmentation(images: list[FileDataset]) -> Dataset:
    """A binary Segmentation of bone and cyst, on the slices where they are."""
    volume = np.stack([image.pixel_array.astype(int) - 1024 for image in images])
    masks = np.stack([volume >= BONE_HU, (volume >= WATER_HU) & (volume < 40)], axis=-1).astype(np.uint8)
    algorithm = hd.AlgorithmIdentificationSequence("phantom", codes.cid7162.ArtificialIntelligence, "1")
    described = [
        hd.seg.SegmentDescription(number, label, category, kind, "AUTOMATIC", algorithm)
        for number, label, category, kind in (
            (1, "Xương", codes.SCT.Tissue, codes.SCT.Bone),
            (2, "Nang", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Cyst),
        )
    ]
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=described,
        **_derived(images, 2, "Phân vùng"),
    )


def report(images: list[FileDataset], slice_index: int) -> Dataset:
    """A measurement report (TID 1500) with the area of a region that it draws in one slice."""
    image = images[slice_index]
    corners = np.array([(40, 50), (70, 50), (70, 80), (40, 80), (40, 50)], float)
    source = hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    region = hd.sr.ImageRegion("POLYLINE", corners, source)
    area = hd.sr.Measurement(codes.SCT.Area, 3600, codes.UCUM.SquareMillimeter)
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(generate_uid(), "Nang gan"),
        referenced_region=region,
        finding_type=codes.SCT.Cyst,
        measurements=[area],
    )
    observer = hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Lê^Văn C"))
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            coding.CodedConcept("vi", "RFC5646", "Vietnamese")
        ),
    )
    made = hd.sr.ComprehensiveSR(
        evidence=[image], content=content[0], is_complete=True, **_derived(images, 3, "Báo cáo đo")
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def structure_set(images: list[FileDataset]) -> Dataset:
    """An RT Structure Set: a square around the bone, on ten slices."""
    first = images[0]
    made = common(
        RT_STRUCTURE_SET,
        "RTSTRUCT",
        StudyInstanceUID=first.StudyInstanceUID,
        FrameOfReferenceUID=first.FrameOfReferenceUID,
        SeriesNumber=4,
        SeriesDescription="Cấu trúc xạ trị",
        StructureSetLabel="KH1",
        StructureSetDate="20260302",
        StructureSetTime="090000",
        OperatorsName="",
        ApprovalStatus="UNAPPROVED",
    )
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=[_reference(i) for i in images])
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    made.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi = _item(ROINumber=1, ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID, ROIName="Đích")
    roi.ROIGenerationAlgorithm = "MANUAL"
    made.StructureSetROISequence = Sequence([roi])
    contours = []
    for image in images[len(images) // 2 - 5 : len(images) // 2 + 5]:
        z = image.ImagePositionPatient[2]
        corners = [(-60, -20), (60, -20), (60, 80), (-60, 80)]
        contour = _item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4)
        contour.ContourImageSequence = Sequence([_reference(image)])
        contour.ContourData = [value for x, y in corners for value in (x, y, z)]
        contours.append(contour)
    made.ROIContourSequence = Sequence(
        [_item(ROIDisplayColor=[255, 0, 255], ReferencedROINumber=1, ContourSequence=contours)]
    )
    made.RTROIObservationsSequence = Sequence(
        [_item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="PTV", ROIInterpreter="")]
    )
    return made


def _item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def _reference(image: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def ultrasound(frames: int = 12) -> FileDataset:
    """A loop in RGB: a bright disc wanders over the sector."""
    made = common(ULTRASOUND, "US", StudyDescription="Siêu âm tim", SeriesDescription="Vòng lặp")
    pixels = np.zeros((frames, 120, 160, 3), np.uint8)
    y, x = np.mgrid[:120, :160]
    for number, frame in enumerate(pixels):
        frame[...] = (20, 20, 40)
        frame[(x - 20 - 10 * number) ** 2 + (y - 60) ** 2 < 300] = (250, 200, 20)
    made.NumberOfFrames, made.FrameTime, made.PlanarConfiguration = frames, 50, 0
    made.FrameIncrementPointer = 0x00181063
    made.add_new(0x00280009, "AT", 0x00181063)
    made.LossyImageCompression = "00"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    _pixels(made, pixels, stored=8, photometric="RGB")
    region = _item(RegionSpatialFormat=1, RegionDataType=1, RegionFlags=0, RegionLocationMinX0=0, RegionLocationMinY0=0)
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 159, 119
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    made.SequenceOfUltrasoundRegions = Sequence([region])
    return made


def video() -> FileDataset:
    """The clip as a Video Photographic Image."""
    made = common(VIDEO, "XC", StudyDescription="Nội soi", SeriesDescription="Phim nội soi")
    made.file_meta.TransferSyntaxUID = UID(MPEG4_HIGH_PROFILE)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "YBR_PARTIAL_420", 0
    made.Rows, made.Columns, made.NumberOfFrames = CLIP_ROWS, CLIP_COLUMNS, CLIP_FRAMES
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.CineRate, made.FrameTime, made.LossyImageCompression = 10, 100, "01"
    made.add_new(0x00280009, "AT", 0x00181063)
    content = CLIP.read_bytes()
    made.PixelData = encapsulate([content + b"\0" * (len(content) % 2)], has_bot=False)
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return made


def document(words: str = "KET QUA XET NGHIEM") -> FileDataset:
    """An Encapsulated PDF of one page with these words, too large to be in the metadata."""
    made = common(PDF, "DOC", StudyDescription="Giấy tờ", SeriesDescription="Kết quả")
    made.BurnedInAnnotation, made.DocumentTitle, made.MIMETypeOfEncapsulatedDocument = (
        "YES",
        "Kết quả",
        "application/pdf",
    )
    made.ConversionType, made.VerificationFlag = "WSD", "UNVERIFIED"
    content = pdf(words)
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made.EncapsulatedDocumentLength = len(content)
    return made


def pdf(words: str) -> bytes:
    """A page that says some words in large letters, on a green ground."""
    drawn = zlib.compress(f"0.6 0.9 0.6 rg 0 0 400 300 re f 0 g BT /F1 24 Tf 40 150 Td ({words}) Tj ET".encode())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n%" + b"-" * 4096 + b"\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def part10(made: Dataset) -> bytes:
    """The object as a file."""
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
