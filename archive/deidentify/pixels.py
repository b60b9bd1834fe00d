"""Whether pixels may show who the patient is (PS3.15 E.3.1). They are not cleaned: what may show it is refused."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

_BURNED_IN: Final = frozenset(
    ("US", "IVUS", "XA", "RF", "ES", "XC", "GM", "OP", "OPT", "OT", "SC", "DOC", "ECG", "HD", "TG")
)
"""Modalities of which images often have text in their pixels."""
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_VIDEO: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.77.1.{which}" for which in ("1", "1.1", "2", "2.1", "4", "4.1", "5.1", "5.2", "5.4")
)
_DOCUMENTS: Final = "1.2.840.10008.5.1.4.1.1.104"


def refusal(dataset: Dataset, sop_class_uid: str, *, has_pixels: bool, checked: bool = False) -> str:
    """Why an object may not be given out, in a sentence without patient data; empty if it may.

    `checked`: a person has looked at the pixels of what makes no claim, and found nothing.
    """
    if sop_class_uid == _DOCUMENTS or sop_class_uid.startswith(f"{_DOCUMENTS}."):
        return "an encapsulated document: what stands in it cannot be cleaned"
    if not has_pixels:
        return ""
    if _code(dataset, "BurnedInAnnotation") == "YES":
        return "Burned In Annotation is YES: the pixels say who the patient is"
    if _code(dataset, "RecognizableVisualFeatures") == "YES":
        return "Recognizable Visual Features is YES: the patient can be recognised"
    if checked or _code(dataset, "BurnedInAnnotation") == "NO":
        return ""
    if sop_class_uid == _SECONDARY_CAPTURE or sop_class_uid.startswith(f"{_SECONDARY_CAPTURE}."):
        return "a secondary capture that does not say whether text is burned in"
    if sop_class_uid in _VIDEO:
        return "a photograph or video that does not say whether text is burned in"
    modality = _code(dataset, "Modality")
    if modality in _BURNED_IN:
        return f"an image of modality {modality} that does not say whether text is burned in"
    return ""


def _code(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip(" \0").upper()
