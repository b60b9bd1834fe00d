"""The attributes that the index keeps, by level (PS3.4 C.6.1.1, C.6.2.1; PS3.18 10.6.3.3).

This is the one list behind what is stored, matched and returned; the conformance statement prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from archive.records import Level


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the index. `level` is where its value lives."""

    keyword: str
    level: Level
    default: bool = False
    """Returned without being asked for."""
    tag: int = 0
    vr: str = ""
    key: str = ""
    """The tag as the DICOM JSON model writes it."""


def _attributes(level: Level, *, default: str, optional: str) -> list[Attribute]:
    made = []
    for keywords, by_default in ((default, True), (optional, False)):
        for keyword in keywords.split():
            tag = tag_for_keyword(keyword)
            assert tag is not None, keyword
            made.append(Attribute(keyword, level, by_default, tag, dictionary_VR(tag), f"{tag:08X}"))
    return made


PATIENT: Final = _attributes(
    Level.PATIENT,
    default="PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex",
    optional="""PatientBirthTime OtherPatientNames OtherPatientIDs EthnicGroup PatientComments PatientSpeciesDescription
        OtherPatientIDsSequence IssuerOfPatientIDQualifiersSequence""",
)
STUDY: Final = _attributes(
    Level.STUDY,
    default="StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName",
    optional="""NameOfPhysiciansReadingStudy PatientAge PatientSize PatientWeight AdmissionID
        AdmittingDiagnosesDescription Occupation AdditionalPatientHistory TimezoneOffsetFromUTC
        RequestedProcedureDescription RequestedProcedureID RequestingPhysician RequestingService
        InstitutionName PhysiciansOfRecord PregnancyStatus IssuerOfAccessionNumberSequence ProcedureCodeSequence
        ReferencedStudySequence""",
)
SERIES: Final = _attributes(
    Level.SERIES,
    default="""SeriesInstanceUID Modality SeriesNumber SeriesDescription BodyPartExamined
        PerformedProcedureStepStartDate PerformedProcedureStepStartTime""",
    optional="""SeriesDate SeriesTime Laterality ProtocolName PatientPosition OperatorsName PerformingPhysicianName
        Manufacturer ManufacturerModelName StationName DeviceSerialNumber SoftwareVersions InstitutionalDepartmentName
        InstitutionAddress PerformedProcedureStepID PerformedProcedureStepDescription FrameOfReferenceUID
        PresentationIntentType RequestAttributesSequence ReferencedPerformedProcedureStepSequence
        AnatomicRegionSequence PerformedProtocolCodeSequence""",
)
IMAGE: Final = _attributes(
    Level.IMAGE,
    default="SOPClassUID SOPInstanceUID InstanceNumber Rows Columns BitsAllocated NumberOfFrames",
    optional="""AvailableTransferSyntaxUID VerificationFlag CompletionFlag ConceptNameCodeSequence ContentLabel
        ContentDescription ContentCreatorName PresentationCreationDate PresentationCreationTime DocumentTitle""",
)
COMPUTED: Final = {
    Level.PATIENT: _attributes(
        Level.PATIENT,
        default="",
        optional="NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: _attributes(
        Level.STUDY,
        default="ModalitiesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances InstanceAvailability",
        optional="SOPClassesInStudy",
    ),
    Level.SERIES: _attributes(Level.SERIES, default="NumberOfSeriesRelatedInstances", optional=""),
    Level.IMAGE: [],
}
"""Attributes that the archive makes, no object carries them."""
OF_DOCUMENTS: Final = IMAGE[IMAGE.index(next(each for each in IMAGE if each.keyword == "VerificationFlag")) :]
"""Attributes of reports, presentation states and the like. Plain images have none, so a row of the index for one of
them grows by nothing; with what every image has, such as ContentDate, each would take half as much room again."""

BY_LEVEL: Final = {Level.PATIENT: PATIENT, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: IMAGE}
STORED: Final = {attribute.tag: attribute for attributes in BY_LEVEL.values() for attribute in attributes}
KNOWN: Final = STORED | {attribute.tag: attribute for attributes in COMPUTED.values() for attribute in attributes}
"""Every attribute that can be matched or returned."""
LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)


def levels_down_to(level: Level) -> tuple[Level, ...]:
    """The level and those above it."""
    return LEVELS[: LEVELS.index(level) + 1]
