"""De-identifies a dataset without its pixel data (PS3.15 E.1.1).

What the table names is treated by the table. What it does not name stays only if it can be judged: UIDs are replaced,
dates are moved or emptied, names and free text are removed, and so is what the data dictionary does not know. Text that
stays and has a name, number, date or UID of the object in it is emptied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from archive.deidentify.private import is_safe
from archive.deidentify.project import Patient, Project
from archive.deidentify.table import BASIC_PROFILE, Action, Option, action_of
from archive.deidentify.words import cleaned, folded

_NUMBERS: Final = frozenset(("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"))
_BYTES: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_DUMMIES: Final[dict[str, Any]] = {
    "AE": "REMOVED",
    "AS": "000Y",
    "CS": "REMOVED",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "TM": "000000",
    "UI": "2.25.0",
    "UR": "urn:removed",
}
_TEXT: Final = frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE"))
_FREE_TEXT: Final = frozenset(("ST", "LT", "UT", "UR", "PN"))
"""VRs in which a person writes what they like: nothing of them stays that the table does not know."""
_NAMES_OF_OTHERS: Final = frozenset(("CodeMeaning", "LongCodeValue", "URNCodeValue"))
_IDENTIFYING: Final = frozenset(
    (
        "PatientID",
        "OtherPatientIDs",
        "AccessionNumber",
        "AdmissionID",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "MedicalRecordLocator",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "ServiceEpisodeID",
        "RequestedProcedureID",
        "StudyID",
    )
)
_STANDARD_SCHEMES: Final = frozenset(
    ("DCM", "SCT", "SRT", "SNM3", "99SDM", "LN", "UCUM", "FMA", "RADLEX", "I10", "I9C", "ICD10")
)
_OLDEST: Final = 89
_SHORT: Final = 4
"""Words up to this length are common codes, too."""


class Deidentifier:
    """Changes datasets of one patient for one project."""

    def __init__(self, project: Project, patient: Patient, options: frozenset[Option]) -> None:
        self._project = project
        self._patient = patient
        self._options = options
        self._identifying: frozenset[str] = frozenset()

    def apply(self, dataset: Dataset) -> None:
        """De-identify a dataset in place. Nothing of it stays that could not be read."""
        self._identifying = frozenset(_identifying(dataset))
        self._dataset(dataset)
        self._describe(dataset)

    def _describe(self, dataset: Dataset) -> None:
        """Say who the patient is now, and what was done (PS3.3 C.7.1.1, PS3.15 E.1.1)."""
        dataset.PatientID = self._patient.pseudonym
        dataset.PatientName = self._patient.pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "PS3.15 Annex E"
        codes = []
        for code, meaning in (BASIC_PROFILE, *(option.value for option in Option if option in self._options)):
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
            codes.append(item)
        dataset.DeidentificationMethodCodeSequence = Sequence(codes)
        dated = Option.DATES in self._options
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if dated else "REMOVED"

    def _dataset(self, dataset: Dataset) -> None:
        kept_private = self._safe_private(dataset)
        for tag in list(dataset.keys()):
            if tag.is_private:
                if tag not in kept_private:
                    del dataset[tag]
                continue
            try:
                kept = tag.element != 0 and self._element(dataset, tag)
            except Exception:
                # Of what cannot be read, nobody can say that it is harmless.
                kept = False
            if not kept:
                del dataset[tag]

    def _element(self, dataset: Dataset, tag: BaseTag) -> bool:
        """Treat an element; whether it stays."""
        vr = _vr(dataset, tag)
        if not vr:
            return False
        action = action_of(int(tag), self._options) or self._action_by_vr(dataset, tag, vr)
        if action is Action.REMOVE:
            return False
        if action is Action.EMPTY:
            dataset[tag] = DataElement(tag, vr, Sequence() if vr == "SQ" else None)
            return True
        if action is Action.DUMMY:
            dataset[tag] = DataElement(tag, vr, self._dummy(tag, vr))
            return True
        if action is Action.UID:
            if vr == "UI":
                return self._each(dataset, tag, vr, self._project.uid)
            return self._descend(dataset, tag)
        if vr == "SQ":
            return self._descend(dataset, tag)
        if action is Action.CLEAN:
            return self._clean(dataset, tag, vr)
        return self._scrubbed(dataset, tag, vr)

    def _action_by_vr(self, dataset: Dataset, tag: BaseTag, vr: str) -> Action:
        """For attributes that the table does not have."""
        if vr in _FREE_TEXT or vr == "UN":
            return Action.REMOVE
        if vr == "UI":
            return Action.UID
        if vr in ("DA", "DT"):
            return Action.CLEAN if Option.DATES in self._options else Action.EMPTY
        keyword = keyword_for_tag(tag)
        if keyword in _NAMES_OF_OTHERS and str(dataset.get("CodingSchemeDesignator", "")) not in _STANDARD_SCHEMES:
            return Action.CLEAN if keyword == "CodeMeaning" else Action.REMOVE
        return Action.DESCEND if vr == "SQ" else Action.KEEP

    def _descend(self, dataset: Dataset, tag: BaseTag) -> bool:
        for item in dataset[tag].value:
            self._dataset(item)
        return True

    def _each(self, dataset: Dataset, tag: BaseTag, vr: str, change: Callable[[str], str]) -> bool:
        """Change each value; an element all of whose values were given up is empty."""
        values = [change(value) for value in _texts(dataset, tag)]
        dataset[tag] = DataElement(tag, vr, [*values] if any(values) else None)
        return True

    def _clean(self, dataset: Dataset, tag: BaseTag, vr: str) -> bool:
        if vr in ("DA", "DT"):
            return self._each(dataset, tag, vr, self._patient.moved)
        if vr == "TM" or vr in _NUMBERS:
            return True
        if vr in _BYTES:
            return False
        text = " ".join(_texts(dataset, tag))
        limit = {"CS": 16, "SH": 16, "LO": 64, "AE": 16}.get(vr, 1024)
        dataset[tag] = DataElement(tag, vr, cleaned(text, self._identifying)[:limit].strip() or None)
        return True

    def _scrubbed(self, dataset: Dataset, tag: BaseTag, vr: str) -> bool:
        """Keep an element, unless its text has something in it that tells who the patient is."""
        if keyword_for_tag(tag) == "PatientAge":
            return self._each(dataset, tag, vr, _age)
        if vr in _TEXT or vr in ("CS", "AS"):
            text = folded(" ".join(_texts(dataset, tag))).lower()
            if any(word in text for word in self._identifying if vr in _TEXT or len(word) > _SHORT):
                dataset[tag] = DataElement(tag, vr, None)
        elif vr == "TM" and Option.DATES not in self._options:
            dataset[tag] = DataElement(tag, vr, None)
        return True

    def _dummy(self, tag: BaseTag, vr: str) -> Any:
        if vr == "SQ":
            return Sequence([_removed_text() if keyword_for_tag(tag) == "ContentSequence" else Dataset()])
        if vr in _NUMBERS:
            return 0
        if vr in _BYTES:
            return b"\0\0"
        return _DUMMIES.get(vr, "REMOVED")

    def _safe_private(self, dataset: Dataset) -> set[BaseTag]:
        """Private elements that stay, with the elements that name their creators."""
        kept: set[BaseTag] = set()
        if Option.PRIVATE not in self._options:
            return kept
        for tag in list(dataset.keys()):
            if not tag.is_private or tag.element < 0x1000:
                continue
            creator_tag = Tag(tag.group, tag.element >> 8)
            try:
                creator = " ".join(_texts(dataset, creator_tag))
                vr = _vr(dataset, tag) or private_dictionary_VR(tag, creator)
                safe = is_safe(tag.group, creator, tag.element & 0xFF, vr)
            except Exception:
                safe = False
            if safe:
                kept |= {tag, creator_tag}
        return kept


def _vr(dataset: Dataset, tag: BaseTag) -> str:
    """The VR of an element; empty if nobody can know it."""
    element = dataset.get_item(tag)
    if element is not None and element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        known = dictionary_VR(tag)
    except KeyError:
        return ""
    if known not in ("US or SS", "US or OW", "US or SS or OW", "OB or OW"):
        return "UN" if element is not None and element.VR == "UN" and isinstance(dataset[tag].value, bytes) else known
    return str(dataset[tag].VR).split(" or ")[0]


def _texts(dataset: Dataset, tag: BaseTag) -> list[str]:
    """The values of an element as text, whatever they are."""
    if tag not in dataset:
        return []
    element = dataset[tag]
    value = element.value
    if value is None or isinstance(element, RawDataElement):
        return []
    if isinstance(value, bytes):
        return [value.decode("latin-1")]
    values = value if isinstance(value, list) or (element.VM > 1 and not isinstance(value, str)) else [value]
    return [str(each) for each in values]


def _identifying(dataset: Dataset) -> Iterator[str]:
    """Words, folded and in small letters, that tell who the patient is or who has cared for them; dates and UIDs."""
    for tag in list(dataset.keys()):
        try:
            vr = _vr(dataset, tag)
            if vr == "SQ":
                for item in dataset[tag].value:
                    yield from _identifying(item)
            elif vr == "PN" or keyword_for_tag(tag) in _IDENTIFYING:
                for text in _texts(dataset, tag):
                    for word in re.split(r"[\s^=,;\\/]+", folded(text).lower()):
                        if len(word) > 2:
                            yield word
            elif vr in ("DA", "DT", "UI"):
                words = (text.strip(" \0")[: 8 if vr != "UI" else None] for text in _texts(dataset, tag))
                yield from (word for word in words if len(word) >= 8 and not word.startswith("1.2.840.10008."))
        except Exception:  # noqa: S112  what cannot be read does not stay either
            continue


def _age(value: str) -> str:
    """Ages beyond 89 years are few enough to be found: they are all 90."""
    match = re.fullmatch(r"(\d{3})([DWMY])", value.strip(" \0"))
    if match is None:
        return ""
    years = int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
    return "090Y" if years > _OLDEST else value.strip(" \0")


def _removed_text() -> Dataset:
    """A content item in the place of those of a report (PS3.3 C.17.3)."""
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "REMOVED"
    item.ConceptNameCodeSequence = Sequence([name])
    return item
