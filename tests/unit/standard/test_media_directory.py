"""The DICOMDIR that we write, read by others."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archive.standard.media_directory import MediaDirectory, record_type
from tests.media import file_set

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.33"


def _header(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "NGUYỄN^VĂN AN",
        "PatientID": "BN1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "StudyDate": "20250301",
        "StudyTime": "083000",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        **values,
    }.items():
        setattr(made, keyword, value)
    return made


def _directory(*added: tuple[Dataset, str]) -> bytes:
    directory = MediaDirectory()
    for number, (header, sop_class) in enumerate(added):
        file_id = ("DICOM", f"I{number:07}")
        directory.add(header, file_id, sop_class, f"1.2.3.9.{number + 1}", ExplicitVRLittleEndian)
    return directory.content()


def test_each_record_stands_where_the_others_say(tmp_path: Path) -> None:
    content = _directory(
        (_header(), CT),
        (_header(InstanceNumber=2), CT),
        (_header(SeriesInstanceUID="1.2.3.2", Modality="SR"), SR),
        (_header(StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1"), CT),
        (_header(PatientID="BN2", StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.5.1"), CT),
        (_header(InstanceNumber=3), CT),
    )
    (tmp_path / "DICOM").mkdir()
    for number in range(6):
        (tmp_path / "DICOM" / f"I{number:07}").touch()
    (tmp_path / "DICOMDIR").write_bytes(content)
    with file_set(tmp_path / "DICOMDIR") as found:
        assert len(found) == 6
        assert [str(name) for name in found.find_values("PatientID")] == ["BN1", "BN2"]
        assert [each.InstanceNumber for each in found.find(SeriesInstanceUID="1.2.3.1")] == [1, 2, 3]
        assert [each.path for each in found.find(PatientID="BN2")] == [str(tmp_path / "DICOM" / "I0000004")]
        assert str(found.find(PatientID="BN1")[0].PatientName) == "NGUYỄN^VĂN AN"


def test_an_empty_medium_has_an_empty_directory() -> None:
    found = dcmread(BytesIO(_directory()))
    assert found.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity == 0
    assert len(found.DirectoryRecordSequence) == 0


def test_what_an_object_lacks_and_a_record_must_have_is_made_up() -> None:
    bare = Dataset()
    bare.StudyInstanceUID, bare.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    found = dcmread(BytesIO(_directory((bare, CT), (bare, SR))))
    patient, study, series, image, report = found.DirectoryRecordSequence
    assert (patient.PatientID, patient.PatientName) == ("UNKNOWN", "")
    assert (study.StudyDate, study.StudyID, study.AccessionNumber) == ("19000101", "0", "")
    assert (series.Modality, series.SeriesNumber, image.InstanceNumber) == ("OT", 0, 0)
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        (CT, "IMAGE"),
        (SR, "SR DOCUMENT"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KEY OBJECT DOC"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PRESENTATION"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "WAVEFORM"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "ENCAP DOC"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT PLAN"),
    ],
)
def test_records_are_of_the_type_for_the_class(sop_class: str, kind: str) -> None:
    assert record_type(sop_class) == kind


def test_dcmtk_follows_the_records(tmp_path: Path) -> None:
    """`dcmmkdir --append` reads all of a DICOMDIR, and refuses one whose records do not hang together."""
    (tmp_path / "DICOM").mkdir()
    (tmp_path / "DICOMDIR").write_bytes(_directory((_header(), CT), (_header(InstanceNumber=2), CT)))
    more = _header(SeriesInstanceUID="1.2.3.7", SOPClassUID=CT, SOPInstanceUID=generate_uid(), StudyID="1")
    more.AccessionNumber = more.StudyDescription = ""
    more.file_meta = FileMetaDataset()
    more.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    more.save_as(tmp_path / "DICOM" / "MORE", enforce_file_format=True)
    for number in range(2):
        (tmp_path / "DICOM" / f"I{number:07}").write_bytes((tmp_path / "DICOM" / "MORE").read_bytes())
    appended = subprocess.run(
        ["dcmmkdir", "--append", "--no-consistency-check", "--invent", "DICOM/MORE"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert appended.returncode == 0, appended.stderr
    records = dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
    assert [each.DirectoryRecordType for each in records].count("IMAGE") == 3
    assert [each.DirectoryRecordType for each in records].count("SERIES") == 2
    assert [each.DirectoryRecordType for each in records].count("STUDY") == 1
