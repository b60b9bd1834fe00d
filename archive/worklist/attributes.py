"""The attributes of a worklist item (PS3.4 Table K.6-1, PS3.3 C.2, C.3, C.4.10 to C.4.12).

This is the one list behind what an order may say, what can be matched and what is returned; the conformance statement
prints it. A name begins with the sequence that holds it: ``ScheduledProcedureStepSequence.Modality``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

STEP: Final = "ScheduledProcedureStepSequence"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of an item, or of the items of one of its sequences."""

    keyword: str
    type: str
    """Return key type of Table K.6-1: ``1``, ``1C``, ``2``, ``2C`` or ``3``."""
    required: bool
    """Whether Table K.6-1 makes it a required matching key. All others can be matched, too."""
    tag: int
    vr: str
    several: bool
    """Whether it may have more than one value."""
    members: Mapping[int, Attribute] = field(default_factory=lambda: MappingProxyType({}))
    """Of a sequence: what its items may hold, by tag."""

    @property
    def key(self) -> str:
        """The tag as the DICOM JSON model writes it."""
        return f"{self.tag:08X}"


# Keyword and return key type; an asterisk marks a required matching key. What is indented is in the sequence above.
_TABLE: Final = """
ScheduledProcedureStepSequence 1*
  ScheduledStationAETitle 1*
  ScheduledProcedureStepStartDate 1*
  ScheduledProcedureStepStartTime 1*
  ScheduledProcedureStepEndDate 3
  ScheduledProcedureStepEndTime 3
  Modality 1*
  ScheduledPerformingPhysicianName 2*
  ScheduledProcedureStepDescription 1C
  ScheduledStationName 2
  ScheduledProcedureStepLocation 2
  ScheduledProtocolCodeSequence 1C
    @code
  PreMedication 2C
  ScheduledProcedureStepID 1
  RequestedContrastAgent 2C
  ScheduledProcedureStepStatus 3
  CommentsOnTheScheduledProcedureStep 3
RequestedProcedureID 1
RequestedProcedureDescription 1C
RequestedProcedureCodeSequence 1C
  @code
StudyInstanceUID 1
StudyDate 3
StudyTime 3
ReferencedStudySequence 2
  @reference
RequestedProcedurePriority 2
PatientTransportArrangements 2
ReasonForTheRequestedProcedure 3
ReasonForRequestedProcedureCodeSequence 3
  @code
RequestedProcedureComments 3
RequestedProcedureLocation 3
ReportingPriority 3
NamesOfIntendedRecipientsOfResults 3
AccessionNumber 2
IssuerOfAccessionNumberSequence 3
  @issuer
RequestingPhysician 2
ReferringPhysicianName 2
RequestingService 3
PlacerOrderNumberImagingServiceRequest 3
FillerOrderNumberImagingServiceRequest 3
ImagingServiceRequestComments 3
IssueDateOfImagingServiceRequest 3
IssueTimeOfImagingServiceRequest 3
OrderEnteredBy 3
OrderEntererLocation 3
OrderCallbackPhoneNumber 3
AdmissionID 2
IssuerOfAdmissionIDSequence 3
  @issuer
CurrentPatientLocation 2
InstitutionName 3
InstitutionAddress 3
AdmittingDiagnosesDescription 3
ReferencedPatientSequence 2
  @reference
PatientName 1*
PatientID 1*
IssuerOfPatientID 3
OtherPatientIDs 3
OtherPatientIDsSequence 3
  PatientID 1
  IssuerOfPatientID 2
  TypeOfPatientID 3
OtherPatientNames 3
PatientBirthDate 2
PatientBirthTime 3
PatientSex 2
PatientAge 3
PatientWeight 2
PatientSize 3
EthnicGroup 3
Occupation 3
PatientAddress 3
PatientTelephoneNumbers 3
PatientMotherBirthName 3
PatientReligiousPreference 3
PatientComments 3
PatientPrimaryLanguageCodeSequence 3
  @code
ConfidentialityConstraintOnPatientDataDescription 2
PatientState 2
PregnancyStatus 2
LastMenstrualDate 3
MedicalAlerts 2
Allergies 2
SmokingStatus 3
SpecialNeeds 2
AdditionalPatientHistory 3
"""
_PARTS: Final = {
    "@code": "CodeValue 1\nCodingSchemeDesignator 1\nCodingSchemeVersion 3\nCodeMeaning 1",
    "@reference": "ReferencedSOPClassUID 1\nReferencedSOPInstanceUID 1",
    "@issuer": "LocalNamespaceEntityID 3\nUniversalEntityID 3\nUniversalEntityIDType 3",
}


def _read(table: str) -> dict[int, Attribute]:
    lines: list[tuple[int, str, str]] = []
    for line in table.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        word = line.split()
        for each in _PARTS[word[0]].splitlines() if word[0] in _PARTS else [line]:
            keyword, kind = each.split()
            lines.append((depth, keyword, kind))
    return _level(iter(_nested(lines, 0)))


_Nest = list[tuple[str, str, "_Nest"]]


def _nested(lines: list[tuple[int, str, str]], depth: int) -> _Nest:
    """The lines as a tree."""
    found: _Nest = []
    at = 0
    while at < len(lines):
        stop = next((i for i in range(at + 1, len(lines)) if lines[i][0] <= depth), len(lines))
        found.append((lines[at][1], lines[at][2], _nested(lines[at + 1 : stop], depth + 1)))
        at = stop
    return found


def _level(nest: Iterator[tuple[str, str, _Nest]]) -> dict[int, Attribute]:
    made = {}
    for keyword, kind, members in nest:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        made[tag] = Attribute(
            keyword,
            kind.rstrip("*"),
            kind.endswith("*"),
            tag,
            dictionary_VR(tag),
            dictionary_VM(tag) != "1",
            MappingProxyType(_level(iter(members))),
        )
    return made


ATTRIBUTES: Final[Mapping[int, Attribute]] = MappingProxyType(_read(_TABLE))
"""All attributes of an item, by tag."""

STEP_ATTRIBUTE: Final = next(each for each in ATTRIBUTES.values() if each.keyword == STEP)

FLAT: Final[Mapping[str, Attribute]] = MappingProxyType(
    {
        each.keyword: each
        for each in (*STEP_ATTRIBUTE.members.values(), *ATTRIBUTES.values())
        if each.keyword not in (STEP, "ScheduledProcedureStepStatus")
    }
)
"""What an order says, by keyword: since an item is one step, the attributes of the step stand beside all others."""

IN_STEP: Final = frozenset(each.keyword for each in STEP_ATTRIBUTE.members.values())


def rows(attributes: Mapping[int, Attribute] = ATTRIBUTES, depth: int = 0) -> Iterator[tuple[int, Attribute]]:
    """All attributes with their depth, each sequence before its members."""
    for attribute in attributes.values():
        yield depth, attribute
        yield from rows(attribute.members, depth + 1)
