"""Rules by which the attributes of what a peer sends are corrected, beside the stored object."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import validate_value

TEXT_VRS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)
# Who and what the object is about: patient, study, visit, procedure. Nothing of these groups describes pixels but those
# that are excepted.
_GROUPS: Final = frozenset((0x0008, 0x0010, 0x0012, 0x0032, 0x0038, 0x0040))
_BESIDE: Final = frozenset((0x00180015, 0x00181000, 0x00181030, 0x00200010, 0x00204000))
_NEVER: Final = frozenset((0x00080005, 0x00080008))

WorklistKeyword = Literal[
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestingPhysician",
    "RequestingService",
    "AdmissionID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
]
"""What may be taken over from the worklist item where the object lacks it."""


def _correctable(keyword: str) -> str:
    """A keyword of which rules may change the value: text about patient and procedure, at the top level."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no keyword of the data dictionary (PS3.6), such as InstitutionName")
    if dictionary_VR(tag) not in TEXT_VRS or tag in _NEVER or (tag >> 16 not in _GROUPS and tag not in _BESIDE):
        raise ValueError(
            f"{keyword} cannot be corrected: UIDs, sequences, and what describes the image stay as they are"
        )
    return keyword


Keyword = Annotated[str, AfterValidator(_correctable)]


def fits_vr(keyword: str, value: str) -> str | None:
    """What is wrong with the value of an attribute by its VR (PS3.5 6.2); None if nothing is."""
    vr = dictionary_VR(keyword)
    parts = [value] if vr in ("LT", "ST", "UT", "UR") else value.split("\\")
    for part in parts:
        try:
            validate_value(vr, part, pydicom_config.RAISE)
        except ValueError:
            return f"{value!r} is no value of {keyword}, which has the VR {vr} (PS3.5 6.2)"
    if not value.isprintable():
        return f"the value of {keyword} has control characters"
    if not value.isascii() and vr not in ("LO", "LT", "PN", "SH", "ST", "UC", "UT"):
        return f"the value of {keyword}, which has the VR {vr}, may have ASCII characters only"
    return None


class InstitutionCode(BaseModel):
    """An item of Institution Code Sequence (PS3.3 8.8)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str = Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
    scheme: str = Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
    meaning: str = Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]+$")


class Coercion(BaseModel):
    """What to correct in what a peer sends. A keyword may have one rule only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer_of_patient_id: str = Field(default="", max_length=64)
    """IssuerOfPatientID to be set; ``facility`` for that of the peer's facility."""
    institution_name: str = ""
    """InstitutionName to be set."""
    institution_department: str = ""
    """InstitutionalDepartmentName to be set."""
    institution_code: InstitutionCode | None = None
    """Institution Code Sequence to be set."""
    set: dict[Keyword, str] = {}
    """Values whatever the object says."""
    set_if_empty: dict[Keyword, str] = {}
    """Values where the object has none."""
    prefix: dict[Keyword, str] = {}
    """What to put before a value that does not begin with it."""
    remove: tuple[Keyword, ...] = ()
    """What to leave out."""
    from_worklist: tuple[WorklistKeyword, ...] = ()
    """What to take over, where the object lacks it, from the worklist item that it was made for."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = [*self.always, *self.set_if_empty, *self.prefix, *self.remove]
        named += ["IssuerOfPatientID"] if self.issuer_of_patient_id == "facility" else []
        twice = sorted({keyword for keyword in named if named.count(keyword) > 1})
        if twice:
            raise ValueError(f"more than one rule for {', '.join(twice)}")
        given = {**self.always, **self.set_if_empty, **self.prefix}
        for keyword, value in given.items():
            if not value.strip():
                raise ValueError(f"the value of {keyword} is empty; to take it out, name it under remove")
            if wrong := fits_vr(keyword, value):
                raise ValueError(wrong)
        return self

    @cached_property
    def always(self) -> dict[str, str]:
        """Values by keyword that are set whatever the object says; without the issuer that the facility has."""
        found = {
            "IssuerOfPatientID": self.issuer_of_patient_id if self.issuer_of_patient_id != "facility" else "",
            "InstitutionName": self.institution_name,
            "InstitutionalDepartmentName": self.institution_department,
        }
        named = {keyword: value for keyword, value in found.items() if value}
        twice = sorted(named.keys() & self.set.keys())
        if twice:
            raise ValueError(f"more than one rule for {', '.join(twice)}")
        return {**named, **self.set}

    @cached_property
    def tags(self) -> frozenset[int]:
        """Of all attributes that may be corrected, and so must be read."""
        keywords = {*self.always, *self.set_if_empty, *self.prefix, *self.remove, *self.from_worklist}
        keywords.add("IssuerOfPatientID")
        return frozenset(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)
