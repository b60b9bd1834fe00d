"""Makes rejection notes: Key Object Selection documents (PS3.3 A.35.4, C.17.6; PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive import documents
from archive.documents import code, observer, reference, template
from archive.records import DicomJSON
from archive.rejection.causes import KEY_OBJECT_SELECTION, Title
from config.clock import VIETNAM


@dataclass(frozen=True, slots=True)
class Rejected:
    """An instance to be rejected."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and who says so."""

    title: Title
    who: str
    why: str


def compose(study: str, attributes: DicomJSON, rejected: Sequence[Rejected], reason: Reason) -> Dataset:
    """The note that rejects these instances of one study; `attributes` are those of its patient and study."""
    document = documents.begun(study, attributes)
    document.SOPClassUID, document.SOPInstanceUID = KEY_OBJECT_SELECTION, generate_uid(prefix=None)
    document.SeriesInstanceUID = generate_uid(prefix=None)
    now = datetime.now(VIETNAM)
    document.ContentDate, document.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    document.Modality, document.SeriesNumber, document.InstanceNumber = "KO", 1, 1
    document.SeriesDescription = reason.title.meaning
    document.ReferencedPerformedProcedureStepSequence = []
    document.ReferencedRequestSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = [_evidence(study, rejected)]
    document.ValueType, document.ContinuityOfContent = "CONTAINER", "SEPARATE"
    document.ConceptNameCodeSequence = [code(reason.title.code, reason.title.meaning)]
    document.ContentTemplateSequence = [template("2010")]
    document.ContentSequence = [*observer(reason.who), *_described(reason.why), *map(_item, rejected)]
    return document


def _evidence(study: str, rejected: Sequence[Rejected]) -> Dataset:
    """PS3.3 C.17.2.1: study, series, instances."""
    by_series: dict[str, list[Dataset]] = {}
    for each in rejected:
        by_series.setdefault(each.series_instance_uid, []).append(reference(each.sop_class_uid, each.sop_instance_uid))
    item = Dataset()
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study, []
    for uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = uid, references
        item.ReferencedSeriesSequence.append(series)
    return item


def _item(each: Rejected) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE" if each.is_image else "COMPOSITE"
    item.ReferencedSOPSequence = [reference(each.sop_class_uid, each.sop_instance_uid)]
    return item


def _described(why: str) -> Iterable[Dataset]:
    if why:
        item = Dataset()
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", why[:1024]
        item.ConceptNameCodeSequence = [code("113012", "Key Object Description")]
        yield item
