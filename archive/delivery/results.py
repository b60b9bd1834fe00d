"""What somebody without a viewer wants to see of a study at once: its reports and the images that matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pydicom.dataset import Dataset

from archive.errors import CannotParse, NotFound
from archive.metadata import read_bulkdata
from archive.records import DicomJSON, Level, Query, Scope, SearchResult, StoredInstance
from archive.retrieve import read_header
from archive.standard.report_text import Line, report_lines
from storage.base import ObjectStore

MOST_IMAGES: Final = 12
_KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
_REPORTS: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34, 35, 70, 73))
_DOCUMENT: Final = "00420011"
_STUDY: Final = 0x0020000D
_LONGEST_REPORT: Final = 4 << 20

Search = Callable[[Query, Scope], SearchResult]
Locate = Callable[[str, str | None, str | None, Scope], list[StoredInstance]]


@dataclass(frozen=True, slots=True)
class Report:
    """A report; `lines` are None for one that is a PDF."""

    instance: StoredInstance
    title: str
    date: str
    lines: list[Line] | None


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study as its patient sees it."""

    study: DicomJSON
    owner: str
    reports: list[Report]
    images: list[StoredInstance]


class Results:
    """Reads what `StudyResults` needs; everything under the scope of whoever asks."""

    def __init__(self, search: Search, locate: Locate, store: ObjectStore) -> None:
        self._search = search
        self._locate = locate
        self._store = store

    def of(self, scope: Scope) -> list[StudyResults]:
        """All studies of a scope, the latest first. Meant for a link, which has few. Raises `Unavailable`."""
        found = self._search(Query(Level.STUDY), scope)
        return [self._of_study(study, owner, scope) for study, owner in zip(found.matches, found.owners, strict=True)]

    def of_study(self, scope: Scope, study: str) -> StudyResults:
        """One study. Raises `NotFound`, `Unavailable`."""
        found = self._search(Query(Level.STUDY, {_STUDY: study}), scope)
        if len(found.matches) != 1:
            raise NotFound("no such study")
        return self._of_study(found.matches[0], found.owners[0], scope)

    def document(self, report: Report) -> bytes:
        """The PDF of a report that is one. Raises `Unavailable`."""
        # The value is padded to an even length.
        return read_bulkdata(self._store, report.instance, [_DOCUMENT]).value.rstrip(b"\0")

    def pdf(self, scope: Scope, study: str, instance: str) -> bytes:
        """An encapsulated PDF. Raises `NotFound`, `Unavailable`."""
        for inst in self._locate(study, None, None, scope):
            if inst.sop_instance_uid == instance and inst.sop_class_uid == _PDF:
                return self.document(Report(inst, "", "", None))
        raise NotFound("no such report")

    def _of_study(self, study: DicomJSON, owner: str, scope: Scope) -> StudyResults:
        found = self._locate(study["0020000D"]["Value"][0], None, None, scope)
        reports = [report for inst in found if (report := self._report(inst)) is not None]
        return StudyResults(study, owner, reports[::-1], self._images(found))

    def _report(self, inst: StoredInstance) -> Report | None:
        if inst.sop_class_uid == _PDF:
            header = read_header(self._store, inst)
            return Report(
                inst, _first(header, "DocumentTitle", "SeriesDescription"), _first(header, "ContentDate"), None
            )
        if inst.sop_class_uid not in _REPORTS or inst.object.size > _LONGEST_REPORT:
            return None
        document = self._whole(inst)
        if document is None:
            return None
        lines = report_lines(document)
        title = lines[0].name if lines else ""
        return Report(inst, title, _first(document, "ContentDate"), lines[1:]) if lines[1:] else None

    def _images(self, found: Sequence[StoredInstance]) -> list[StoredInstance]:
        """What the doctors marked as key images; else the middle of each series."""
        named = {uid for inst in found if inst.sop_class_uid == _KEY_OBJECTS for uid in self._marked(inst)}
        marked = [inst for inst in found if inst.sop_instance_uid in named and _is_image(inst)]
        if marked:
            return marked[:MOST_IMAGES]
        series = [list(group) for _, group in groupby(found, lambda inst: inst.series_instance_uid)]
        shown = [[inst for inst in each if _is_image(inst)] for each in series]
        return [each[len(each) // 2] for each in shown if each][:MOST_IMAGES]

    def _marked(self, inst: StoredInstance) -> set[str]:
        document = self._whole(inst) if inst.object.size <= _LONGEST_REPORT else None
        if document is None:
            return set()
        return {
            str(reference.get("ReferencedSOPInstanceUID") or "")
            for item in document.get("ContentSequence") or ()
            if str(item.get("ValueType") or "") == "IMAGE"
            for reference in item.get("ReferencedSOPSequence") or ()
        }

    def _whole(self, inst: StoredInstance) -> Dataset | None:
        """A document without pixels; None for one that cannot be read, which is no reason to show nothing else."""
        try:
            return read_header(self._store, inst)
        except CannotParse:
            return None


def _is_image(inst: StoredInstance) -> bool:
    return inst.object.frame_table is not None and bool(inst.rows)


def _first(dataset: Dataset, *keywords: str) -> str:
    return next((text for keyword in keywords if (text := str(dataset.get(keyword) or "").strip())), "")
