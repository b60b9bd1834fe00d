"""Plain records that pass between the parts of the archive. No SQL, no bytes of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, Literal

from archive.correction.record import Corrections
from archive.rejection.causes import NOT_HIDDEN, Hidden, View, hidden_note
from archive.rejection.note import Note
from config.coercion import Coercion

DicomJSON = dict[str, dict[str, Any]]
"""Attributes in the DICOM JSON model (PS3.18 F.2): ``{"00100020": {"vr": "LO", "Value": ["123"]}}``."""

Transport = Literal["dimse", "stow", "import"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object comes from. `facility` is the facility code of the peer, not what the object claims."""

    facility: str
    issuer_of_patient_id: str
    """Issuer given to a PatientID that carries none."""
    transport: Transport
    calling_ae_title: str = ""
    called_ae_title: str = ""
    address: str = ""
    user: str = ""
    """Who uses the sender, as far as that was proved (PS3.7 D.3.3.7)."""
    default_character_set: str | None = None
    """What objects are in that declare nothing."""
    actual_character_set: str | None = None
    """What objects are in whatever they declare."""
    coercion: Coercion | None = None
    """What to correct in its objects."""
    quarantined: bool = False
    """Nobody vouches for the sender: what it sends is kept, and hidden until it is released."""
    self_made: bool = False
    """The archive made the object itself."""

    @property
    def told_by_file(self) -> bool:
        """Whether `archive.adopt` finds in an object's file whose it is; not by which link and when it came."""
        return self.transport == "dimse"

    @property
    def quarantine(self) -> str:
        """Under which name its objects are kept apart from all others; empty if they are not."""
        return f"{self.calling_ae_title}@{self.address}" if self.quarantined else ""


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """A patient as one issuer knows them. `identity` is unique under `issuer`."""

    issuer: str
    identity: str
    patient_id: str
    name: str
    name_fold: str
    birth_date: date | None
    sex: str
    attributes: DicomJSON


@dataclass(frozen=True, slots=True)
class StudyRecord:
    study_instance_uid: str
    study_date: date | None
    study_time: time | None
    accession_number: str
    study_id: str
    study_description: str
    referring_physician_fold: str
    attributes: DicomJSON


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    body_part_examined: str
    performed_date: date | None
    performed_time: time | None
    attributes: DicomJSON


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    number_of_frames: int
    attributes: DicomJSON | None = None
    """What a report, presentation state or segmentation says of itself; None for most images, which have none of it."""


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """The stored bytes of one version of an instance. Offsets count from the start of the dataset, not of the file."""

    key: str
    size: int
    """Bytes of the Part 10 file."""
    digest: bytes
    """SHA-256 of the dataset as received, without the file meta information."""
    transfer_syntax_uid: str
    dataset_offset: int
    """Where the dataset starts in the file: behind preamble and file meta information."""
    header_length: int
    """Bytes of the dataset before pixel data; all of it when there is none."""
    trailer_offset: int | None
    """Where elements behind the pixel data start, None when there are none."""
    frame_table: bytes | None
    """See `archive.standard.frames.FrameTable`; None when there is no pixel data or frames cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Parents:
    """What an object says about its patient, study and series."""

    patient: PatientRecord
    study: StudyRecord
    series: SeriesRecord


@dataclass(frozen=True, slots=True)
class Arrival:
    """Everything the index needs to know about one received object.

    `parents` is a function because describing them costs more than all the rest, and is needed only for the first
    object of a series.
    """

    source: Source
    issuer: str
    patient_identity: str
    study_instance_uid: str
    series_instance_uid: str
    instance: InstanceRecord
    object: ObjectRecord
    block: int
    """The key block that `object.key` comes from."""
    received_at: datetime
    parents: Callable[[], Parents]
    warnings: tuple[str, ...] = ()
    corrections: Corrections | None = None
    """What of the above differs from what the object says, and what else is to be given otherwise."""
    note: Note | None = None
    """What it says if it is a rejection note."""

    @property
    def hidden(self) -> Hidden:
        """The causes that the object brings with it."""
        if self.note is None and not self.source.quarantined:
            return NOT_HIDDEN
        return (Hidden.QUARANTINE if self.source.quarantined else Hidden(0)) | (
            hidden_note(self.note.title.cause) if self.note is not None else Hidden(0)
        )


class Outcome(StrEnum):
    """What became of a received object. Each of these is a success for the sender."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same bytes were stored before."""
    NEW_VERSION = "new_version"
    """Other bytes under a stored SOP Instance UID: kept, and shown from now on."""
    HELD_VERSION = "held_version"
    """Other bytes under a SOP Instance UID that another facility sent first: kept, the first stays shown."""
    REPAIRED = "repaired"
    """The same bytes were stored before, but the store had lost them."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The archive's word that an object is durable and indexed."""

    outcome: Outcome
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    size: int
    warnings: tuple[str, ...] = ()
    unmet: str = ""
    """What it asked for and did not get, although it is stored: a note that may not reject what it names."""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A stored instance as retrieval sees it: names, and where its bytes are."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    number_of_frames: int
    rows: int | None
    columns: int | None
    version: int
    object: ObjectRecord
    received_at: datetime
    corrections: Corrections | None = None
    """What is to be given otherwise than it is stored."""


class Level(StrEnum):
    """Query/Retrieve Level (PS3.4 C.6)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Nested:
    """Keys within an item of a sequence (PS3.4 C.2.2.2.6); sequences may hold further ones."""

    keys: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, Nested] = field(default_factory=dict)


NameMatching = Literal["folded", "exact", "words"]
"""How person names match. ``folded``: without regard to accents, case and ``^``. ``exact``: letter by letter.
``words``: folded, each word on the beginning of any part of the name, in any order."""


@dataclass(frozen=True, slots=True)
class Order:
    """An attribute that matches are ordered by, from its smallest value or from its largest."""

    tag: int
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A query as C-FIND and QIDO-RS both express it.

    `keys` maps tags to matching values as text, in the syntax of PS3.4 C.2.2.2 (``*`` and ``?`` wildcards,
    ``-`` ranges, ``\\`` between the UIDs of a list). An empty value matches everything.
    """

    level: Level
    keys: dict[int, str] = field(default_factory=dict)
    include: frozenset[int] | Literal["all"] = frozenset()
    """Attributes to return beside the default ones of the level."""
    fuzzy: bool = False
    """Person names match by ``words``, whatever `names` says."""
    names: NameMatching = "folded"
    sequences: dict[int, Nested] = field(default_factory=dict)
    """Sequence keys: what one item must have. They are returned if their tag is in `keys`, too, with an empty value."""
    combined: bool = False
    """Ranges of a date and of its time are one range, from a moment to a moment (C.2.2.2.5)."""
    limit: int | None = None
    offset: int = 0
    order: tuple[Order, ...] = ()
    """The order of a page, see `archive.ordering`; the default one when empty."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which studies: those of these facilities (of every facility when None), what was shared, what of the hidden."""

    facilities: frozenset[str] | None = None
    view: View = View.CLINICAL
    account: int | None = None
    """Whose own grants count beside those of the facilities."""
    link: int | None = None
    copying: bool = False
    """Only grants count that allow copies."""

    @property
    def shape(self) -> Scope:
        """What a statement depends on; all else are parameters."""
        return Scope(None if self.facilities is None else frozenset(), self.view, copying=self.copying)


EVERYTHING = Scope()
"""All that is shown to those who treat patients."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of matches. `total` counts all matches; `truncated` says that the cap cut the page."""

    matches: list[DicomJSON]
    total: int
    truncated: bool
    more: bool = False
    """There are more than `total`; how many is not counted."""
    owners: list[str] = field(default_factory=list)
    """Facility code of the owner of each match's study; empty at patient level."""
