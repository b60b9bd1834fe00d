"""Turns a scanned dataset into the records of the index.

Nothing here decides what is stored: the bytes are stored as they came. A value that cannot be read leaves its column
empty and the object findable by the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final

from archive import attributes
from archive.correction.misfits import misfits
from archive.correction.record import Corrections
from archive.correction.rules import character_sets, complaints, unicode_of
from archive.errors import SOPClassMismatch
from archive.records import (
    DicomJSON,
    InstanceRecord,
    Parents,
    PatientRecord,
    SeriesRecord,
    Source,
    StudyRecord,
)
from archive.standard.frames import frame_table
from archive.standard.json_model import sequence_json
from archive.standard.scan import Element, Read, Scan, scan_head
from archive.standard.text import UTF_8, decode, fold, parse_date, parse_int, parse_time
from archive.standard.uids import check_uid
from archive.standard.walk import RawSequence

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
ISSUER_OF_PATIENT_ID: Final = 0x00100021
PATIENT_ID: Final = 0x00100020
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
INSTANCE_NUMBER: Final = 0x00200013
SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100

LONGEST_INDEXED_SEQUENCE: Final = 1 << 14
"""Bytes of a sequence as encoded; a longer one is not in the index."""
LONGEST_INDEXED_TEXT: Final = 1024
"""Bytes; a longer value is cut in the index (never in the object): a B-tree row holds 2,700 bytes, of two values."""

MOST_BITS: Final = 64
"""Bits of a sample (PS3.5 8.1.1, 8.2); more is not believed, and a column would not hold it."""

_SOP_UIDS: Final = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID})
_BINARY_VRS: Final = frozenset({"US", "UL", "SS", "SL"})
_NUMBER_VRS: Final = frozenset({"US", "UL", "SS", "SL", "IS"})


@dataclass(frozen=True, slots=True)
class Description:
    """What one object says about itself, as far as the index wants to know."""

    WANTED: ClassVar[frozenset[int]] = frozenset(attributes.STORED) | {
        SPECIFIC_CHARACTER_SET,
        SAMPLES_PER_PIXEL,
        PHOTOMETRIC_INTERPRETATION,
        NUMBER_OF_FRAMES,
    }

    issuer: str
    patient_identity: str
    study_instance_uid: str
    series_instance_uid: str
    instance: InstanceRecord
    frame_table: bytes | None
    warnings: tuple[str, ...]
    values: Values
    patient_id: str

    def parents(self) -> Parents:
        """The records of patient, study and series."""
        return Parents(self._patient(), self._study(), self._series())

    def _patient(self) -> PatientRecord:
        values = self.values
        return PatientRecord(
            issuer=self.issuer,
            identity=self.patient_identity,
            patient_id=self.patient_id,
            name=values.text("PatientName"),
            name_fold=fold_name(values.text("PatientName")),
            birth_date=parse_date(values.text("PatientBirthDate")),
            sex=values.first("PatientSex")[:16],
            attributes=values.json(attributes.PATIENT),
        )

    def _study(self) -> StudyRecord:
        values = self.values
        return StudyRecord(
            study_instance_uid=self.study_instance_uid,
            study_date=parse_date(values.text("StudyDate")),
            study_time=parse_time(values.text("StudyTime")),
            accession_number=values.first("AccessionNumber"),
            study_id=values.first("StudyID"),
            study_description=values.text("StudyDescription"),
            referring_physician_fold=fold_name(values.text("ReferringPhysicianName")),
            attributes=values.json(attributes.STUDY),
        )

    def _series(self) -> SeriesRecord:
        values = self.values
        return SeriesRecord(
            series_instance_uid=self.series_instance_uid,
            modality=values.first("Modality"),
            series_number=parse_int(values.text("SeriesNumber")),
            series_description=values.text("SeriesDescription"),
            body_part_examined=values.first("BodyPartExamined"),
            performed_date=parse_date(values.text("PerformedProcedureStepStartDate")),
            performed_time=parse_time(values.text("PerformedProcedureStepStartTime")),
            attributes=values.json(attributes.SERIES),
        )


class Values:
    """The values of a scan as text, decoded when asked for."""

    def __init__(
        self,
        elements: Mapping[int, Element],
        character_sets: list[str],
        corrections: Corrections | None = None,
        sequences: Mapping[int, RawSequence] | None = None,
    ) -> None:
        self._elements = elements
        self._sequences = sequences or {}
        self._character_sets = character_sets
        self._corrected = {change.tag: change.value or "" for change in corrections.changes} if corrections else {}
        self._unicode = unicode_of(corrections, elements) if corrections and corrections.character_set else None

    def of(self, tag: int) -> str:
        """The corrected value of an element as text, ``""`` if absent; several values stay joined by backslashes."""
        if tag in self._corrected:
            return self._corrected[tag]
        element = self._elements.get(tag)
        if element is None or not element.value:
            return ""
        if element.vr in _BINARY_VRS:
            return str(_binary(element))
        return decode(element.value, element.vr, self._character_sets)

    def number(self, tag: int) -> int | None:
        """The corrected value of an element as a number; None if it has none."""
        element = self._elements.get(tag)
        if element is not None and element.value and element.vr in _BINARY_VRS and tag not in self._corrected:
            return _binary(element)
        text = self.of(tag)
        return parse_int(text) if text else None

    def uid(self, tag: int) -> str:
        """A UID without padding. Nothing inside is dropped: that would make another UID of it."""
        element = self._elements.get(tag)
        value = element.value if element is not None else b""
        return bytes(value).rstrip(b"\0 ").lstrip(b" ").decode("ascii", "backslashreplace")

    def text(self, keyword: str) -> str:
        """The value by keyword, cut to what an index row can hold."""
        return cut(self.of(_TAGS[keyword]))

    def first(self, keyword: str) -> str:
        """The first of the values by keyword."""
        return self.text(keyword).split("\\", 1)[0].strip()

    def json(self, wanted: list[attributes.Attribute]) -> DicomJSON:
        """Those of the attributes that have a value, in the DICOM JSON model."""
        found: DicomJSON = {}
        for attribute in wanted:
            if attribute.vr == "SQ":
                if attribute.tag in self._sequences and (items := self._items(self._sequences[attribute.tag])):
                    found[attribute.key] = {"vr": "SQ", "Value": items}
                continue
            if attribute.tag not in self._elements and attribute.tag not in self._corrected:
                continue
            text = self.of(attribute.tag)
            if text:
                found[attribute.key] = {"vr": attribute.vr, "Value": json_values(text, attribute.vr)}
        return found

    def _items(self, raw: RawSequence) -> list[DicomJSON]:
        if len(raw.data) > LONGEST_INDEXED_SEQUENCE:
            return []
        if self._unicode is not None:
            return sequence_json(self._unicode.rewrite_items(raw), [UTF_8])
        return sequence_json(raw, self._character_sets)


def _binary(element: Element) -> int:
    return int.from_bytes(element.value[: 2 if element.vr[1] == "S" else 4], "little")


def cut(text: str, longest: int = LONGEST_INDEXED_TEXT) -> str:
    """The text, or the beginning of it that has at most so many bytes."""
    if len(text) * 4 <= longest:
        return text
    data = text.encode()
    return text if len(data) <= longest else data[:longest].decode(errors="ignore")


def fold_name(name: str) -> str:
    """A person name for search: each component group folded (PS3.5 6.2.1.1)."""
    return cut("=".join(fold(group) for group in name.split("=")).rstrip("="))


def _identifier(text: str) -> str:
    """An identifier for the index; one too long keeps its identity by its hash."""
    text = text.strip()
    short = cut(text)
    return text if short == text else f"{cut(text, LONGEST_INDEXED_TEXT - 65)} {sha256(text.encode()).hexdigest()}"


def json_values(text: str, vr: str) -> list[Any]:
    """The ``Value`` array of an attribute from its text (PS3.18 F.2.2)."""
    if vr in ("LT", "ST", "UT"):
        return [text]
    return [_json_value(part, vr) for part in text.split("\\")]


def _json_value(part: str, vr: str) -> Any:
    part = part.strip()
    if not part:
        return None
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), part.split("="), strict=False)
        return {name: group for name, group in groups if group}
    if vr in _NUMBER_VRS:
        number = parse_int(part)
        return part if number is None else number
    if vr == "DS":
        try:
            number_of_any_kind = float(part)
        except ValueError:
            return part
        # JSON has no NaN and no infinity.
        return number_of_any_kind if abs(number_of_any_kind) < 1e308 else part
    return part


def describe(
    scanned: Scan,
    source: Source,
    corrections: Corrections | None,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    read: Read,
) -> Description:
    """Describe a scanned dataset that was announced under these SOP UIDs, with its corrections.

    Raises `SOPClassMismatch` if it is another object than announced, `InvalidUID` if it cannot be placed in a study
    and series.
    """
    terms = character_sets(scanned.elements, corrections)
    values = Values(scanned.elements, terms, corrections, scanned.sequences)
    _check_announced(values, sop_class_uid, sop_instance_uid)
    study = check_uid(values.uid(STUDY_INSTANCE_UID), "StudyInstanceUID")
    series = check_uid(values.uid(SERIES_INSTANCE_UID), "SeriesInstanceUID")
    patient_id = _identifier(values.of(PATIENT_ID))
    rows, columns = _positive(values.number(ROWS)), _positive(values.number(COLUMNS))
    frames = _positive(values.number(NUMBER_OF_FRAMES)) or 1
    bits_allocated = _positive(values.number(BITS_ALLOCATED))
    table = None
    if scanned.pixel is not None:
        found = frame_table(
            scanned,
            rows=rows or 0,
            columns=columns or 0,
            samples_per_pixel=_positive(values.number(SAMPLES_PER_PIXEL)) or 1,
            bits_allocated=bits_allocated or 0,
            number_of_frames=parse_int(values.of(NUMBER_OF_FRAMES), bits=32),
            photometric_interpretation=values.of(PHOTOMETRIC_INTERPRETATION),
            transfer_syntax_uid=transfer_syntax_uid,
            read=read,
        )
        table = found.to_bytes() if found is not None else None
    return Description(
        issuer=_identifier(values.of(ISSUER_OF_PATIENT_ID)) or source.issuer_of_patient_id,
        # Without an ID, nothing says that two studies are of one person. No PatientID starts with a space.
        patient_identity=patient_id or f" study {study}",
        patient_id=patient_id,
        study_instance_uid=study,
        series_instance_uid=series,
        instance=InstanceRecord(
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=sop_class_uid,
            instance_number=values.number(INSTANCE_NUMBER),
            rows=rows,
            columns=columns,
            bits_allocated=bits_allocated if bits_allocated and bits_allocated <= MOST_BITS else None,
            number_of_frames=frames,
            attributes=values.json(attributes.OF_DOCUMENTS) or None,
        ),
        frame_table=table,
        warnings=(*scanned.warnings, *misfits(scanned.elements, terms), *complaints(corrections)),
        values=values,
    )


def sop_uids(head: bytes, transfer_syntax_uid: str) -> tuple[str, str]:
    """SOP Class and Instance UID from the first bytes of a dataset, ``""`` where not found there.

    For senders that announce nothing (Part 10 without MediaStorageSOP UIDs); both elements stand near the start.
    """
    values = Values(scan_head(head, transfer_syntax_uid, _SOP_UIDS), [])
    return values.of(SOP_CLASS_UID), values.of(SOP_INSTANCE_UID)


def _check_announced(values: Values, sop_class_uid: str, sop_instance_uid: str) -> None:
    for tag, announced, what in (
        (SOP_CLASS_UID, sop_class_uid, "SOPClassUID"),
        (SOP_INSTANCE_UID, sop_instance_uid, "SOPInstanceUID"),
    ):
        found = check_uid(values.uid(tag), what)
        if found != announced:
            raise SOPClassMismatch(f"{what} is {found} in the dataset and {announced} in its announcement")


def _positive(number: int | None) -> int | None:
    return number if number is not None and 0 < number < 1 << 31 else None


_TAGS: Final = {attribute.keyword: attribute.tag for attribute in attributes.KNOWN.values()}
