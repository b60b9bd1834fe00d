"""The rows of studies, series, instances and stored objects, as ingest would have written them."""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from pydicom.uid import JPEGLSLossless

from archive.demo.generated.copying import moment, text
from archive.demo.generated.examinations import EXAMINATIONS, MANUFACTURERS, Examination, Images
from archive.demo.generated.places import PLACES
from archive.demo.generated.visits import DAY, OFFSET, Visits
from archive.demo.province import NAMESPACE
from archive.description import fold_name
from archive.keys import BLOCK_SIZE

STUDY_COLUMNS: Final = """id, study_instance_uid, patient_id, facility_id, study_date, study_time, accession_number,
    study_id, study_description, referring_physician_fold, attributes, modalities_in_study, sop_classes_in_study,
    series_count, instance_count, byte_count, created_at, updated_at"""
SERIES_COLUMNS: Final = """id, study_id, series_instance_uid, modality, series_number, series_description,
    body_part_examined, performed_date, performed_time, attributes, instance_count, created_at"""
INSTANCE_COLUMNS: Final = """id, series_id, sop_instance_uid, sop_class_uid, instance_number, rows, columns,
    bits_allocated, number_of_frames, created_at"""
OBJECT_COLUMNS: Final = """id, instance_id, version, current, key, size, digest, transfer_syntax_uid, dataset_offset,
    header_length, frame_table, facility_id, transport, calling_ae_title, address, received_at"""
DATASET_OFFSET: Final = 412
_HEADER: Final = 1180
"""Bytes of a dataset before its pixel data."""
_MOST_FRAMES: Final = 1 << 20
_STUDY_BITS, _SERIES_BITS = 28, 20
REFERRERS: Final = (
    "BS. VŨ THỊ LAN", "BSCKI. NGÔ HOÀNG SƠN", "BS. TRẦN QUỐC VIỆT", "BSCKII. LÊ THỊ HẠNH", "BS. ĐẶNG MINH TRÍ",
    "BS. PHAN VĂN TƯ", "THS.BS. HỒ NGỌC ÁNH", "YS. NGUYỄN VĂN RẠNG",
)  # fmt: skip
_REFERRER_FOLDS: Final = tuple(fold_name(name) for name in REFERRERS)


class Uids:
    """UIDs below 2.25 (PS3.5 B.2), different for every seed: the number of a study, a series in it, an image in it."""

    def __init__(self, seed: int) -> None:
        root = uuid.uuid5(NAMESPACE, f"generated province/{seed}").int
        self._root = (root >> 64 << 64) | (0b10 << 62)

    def study(self, study: int) -> str:
        return f"2.25.{self._root | study << _STUDY_BITS}"

    def series(self, study: int, series: int) -> str:
        return f"2.25.{self._root | study << _STUDY_BITS | series << _SERIES_BITS}"

    def instance(self, study: int, series: int, instance: int) -> str:
        return f"2.25.{self._root | study << _STUDY_BITS | series << _SERIES_BITS | instance}"


class Made(NamedTuple):
    """A series as it was made."""

    images: Images
    number: int
    size: int
    """Bytes of each object."""


class StudyPlan(NamedTuple):
    """All that the rows of one study say."""

    id: int
    uid: str
    patient: int
    facility: int
    place: int
    examination: Examination
    second: int
    arrived: int
    accession: str
    age: int
    """Days."""
    referrer: int
    series: tuple[Made, ...]
    facilities: list[int]
    """Of all places."""

    @property
    def images(self) -> int:
        return sum(made.number for made in self.series)

    @property
    def ends(self) -> int:
        """When the last image was here."""
        return self.arrived + self.images // 8 + 12 * len(self.series)


class Imaging:
    """Plans studies and writes their rows."""

    def __init__(self, uids: Uids, facilities: list[int], scale: float, rng: np.random.Generator) -> None:
        """`scale` is what share of the usual images a series has."""
        self.uids = uids
        self._facilities = facilities
        self._scale = scale
        self._rng = rng
        self._accessions: dict[tuple[int, int], int] = {}
        self._series_id = 0
        self._instance_id = 0

    def plan(
        self, visits: Visits, first: int, uids: list[str], patients: list[int], born: list[int]
    ) -> list[StudyPlan]:
        count = len(visits)
        rng = self._rng
        chances, spreads = rng.random((count, 5)).tolist(), rng.gamma(6, 1 / 6, (count, 5)).tolist()
        referrers = rng.integers(0, len(REFERRERS), count).tolist()
        columns = (visits.place, visits.examination, visits.second, visits.arrived)
        plans = []
        for at, (place, kind, second, arrived) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            examination = EXAMINATIONS[kind]
            day = second // DAY
            plans.append(
                StudyPlan(
                    id=first + at,
                    uid=uids[at],
                    patient=patients[at],
                    facility=self._facilities[place],
                    place=place,
                    examination=examination,
                    second=second,
                    arrived=arrived,
                    accession=self._accession(place, day),
                    age=day - born[at],
                    referrer=referrers[at],
                    series=self._series_of(examination, chances[at], spreads[at]),
                    facilities=self._facilities,
                )
            )
        return plans

    def _accession(self, place: int, day: int) -> str:
        """Numbered by facility and day."""
        key = (place, day)
        if len(self._accessions) > 4096:
            self._accessions = {each: last for each, last in self._accessions.items() if each[1] >= day - 2}
        number = self._accessions[key] = self._accessions.get(key, 0) + 1
        return f"{PLACES[place].code[2:]}{datetime.fromtimestamp(day * DAY, UTC):%y%m%d}{number:04d}"

    def _series_of(self, examination: Examination, chances: list[float], spreads: list[float]) -> tuple[Made, ...]:
        made = []
        for number, images in enumerate(examination.series):
            if number and chances[number] >= images.chance:
                continue
            usual = 1 if images.mean == 1 else max(1.0, images.mean * spreads[number])
            count = max(1, round(usual * self._scale)) if usual > 1 else 1
            # Fewer objects are larger ones, so that studies are as large as they would be.
            made.append(Made(images, count, int(images.size * (0.7 + 0.6 * chances[number - 1]) * usual / count)))
        return tuple(made)

    # -- rows --------------------------------------------------------------------------------------------------------

    def study_rows(self, plans: list[StudyPlan]) -> Iterator[tuple[str, ...]]:
        for plan in plans:
            moment_of = datetime.fromtimestamp(plan.second, UTC)
            date, time = moment_of.strftime("%Y%m%d"), moment_of.strftime("%H%M%S")
            kind = plan.examination
            yield (
                str(plan.id),
                plan.uid,
                str(plan.patient),
                str(plan.facility),
                date,
                time,
                plan.accession,
                plan.accession[-8:],
                kind.description,
                _REFERRER_FOLDS[plan.referrer],
                text(_study_attributes(plan, date, time)),
                f"{{{kind.modality}}}",
                f"{{{kind.sop_class_uid}}}",
                str(len(plan.series)),
                str(plan.images),
                str(sum(made.number * frame_table(made.images, made.size)[1] for made in plan.series)),
                moment(plan.arrived - OFFSET),
                moment(plan.ends - OFFSET),
            )

    def child_rows(self, plans: list[StudyPlan], *, instances: bool) -> dict[str, tuple[str, list[tuple[str, ...]]]]:
        """Rows of series and, if asked for, of instances and stored objects."""
        tables: dict[str, tuple[str, list[tuple[str, ...]]]] = {"series": (SERIES_COLUMNS, [])}
        if instances:
            tables |= {"instance": (INSTANCE_COLUMNS, []), "stored_object": (OBJECT_COLUMNS, [])}
        for plan in plans:
            moment_of = datetime.fromtimestamp(plan.second, UTC)
            date, time = moment_of.strftime("%Y%m%d"), moment_of.strftime("%H%M%S")
            created = moment(plan.arrived - OFFSET)
            for number, made in enumerate(plan.series, start=1):
                self._series_id += 1
                uid = self.uids.series(plan.id, number)
                tables["series"][1].append(
                    (
                        str(self._series_id),
                        str(plan.id),
                        uid,
                        plan.examination.modality,
                        str(number),
                        made.images.description,
                        plan.examination.body_part,
                        date,
                        time,
                        text(_series_attributes(plan, made.images, uid, number, date, time)),
                        str(made.number),
                        created,
                    )
                )
                if instances:
                    self._instances(tables, plan, number, made)
        return tables

    def _instances(
        self, tables: dict[str, tuple[str, list[tuple[str, ...]]]], plan: StudyPlan, series: int, made: Made
    ) -> None:
        images, kind = made.images, plan.examination
        frames, size, offset = frame_table(images, made.size)
        station, address = station_of(plan.place, kind.modality), f"10.{20 + plan.place}.{series}.11"
        day = f"{datetime.fromtimestamp(plan.arrived - OFFSET, UTC):%Y/%m/%d}"
        shape = (str(images.rows), str(images.columns), str(images.bits), str(images.frames))
        for number in range(1, made.number + 1):
            self._instance_id += 1
            identifier = str(self._instance_id)
            at = moment(plan.arrived - OFFSET + number // 8)
            uid = self.uids.instance(plan.id, series, number)
            tables["instance"][1].append(
                (identifier, str(self._series_id), uid, kind.sop_class_uid, str(number), *shape, at)
            )
            block, sequence = divmod(self._instance_id, BLOCK_SIZE)
            tables["stored_object"][1].append(
                (
                    *(identifier, identifier, "1", "t", f"{day}/{block:016x}/{sequence:03x}", str(size)),
                    "\\\\x" + hashlib.sha256(uid.encode()).hexdigest(),
                    *(str(JPEGLSLossless), str(DATASET_OFFSET), str(offset), "\\\\x" + frames.hex()),
                    *(str(plan.facility), "dimse", station, address, at),
                )
            )


def station_of(place: int, modality: str) -> str:
    """AE title of the device."""
    return f"{PLACES[place].code}_{modality}"


def frame_table(images: Images, size: int) -> tuple[bytes, int, int]:
    """The table of encapsulated frames (see `archive.standard.frames`), bytes of the file, and of the header."""
    each = max(64, (size - DATASET_OFFSET - _HEADER) // images.frames // 2 * 2)
    start = _HEADER + 12 + 8 + 4 * (images.frames if images.frames > 1 else 0)
    table = struct.pack("<BBQI", 1, ord("I"), start, images.frames) + struct.pack("<I", each) * images.frames
    return table, DATASET_OFFSET + start + each * images.frames + 8, _HEADER


def _element(tag: str, vr: str, value: Any) -> str:
    return f'"{tag}":{{"vr":"{vr}","Value":[{value}]}}'


def _study_attributes(plan: StudyPlan, date: str, time: str) -> str:
    found = (
        _element("0020000D", "UI", f'"{plan.uid}"'),
        _element("00080020", "DA", f'"{date}"'),
        _element("00080030", "TM", f'"{time}"'),
        _element("00080050", "SH", f'"{plan.accession}"'),
        _element("00200010", "SH", f'"{plan.accession[-8:]}"'),
        _element("00081030", "LO", f'"{plan.examination.description}"'),
        _element("00080090", "PN", f'{{"Alphabetic":"{REFERRERS[plan.referrer]}"}}'),
        _element("00101010", "AS", f'"{age_string(plan.age)}"'),
        _element("00080080", "LO", f'"{PLACES[plan.place].name}"'),
    )
    return "{" + ",".join(found) + "}"


def _series_attributes(plan: StudyPlan, images: Images, uid: str, number: int, date: str, time: str) -> str:
    maker, model = MANUFACTURERS[plan.examination.modality]
    found = (
        _element("0020000E", "UI", f'"{uid}"'),
        _element("00080060", "CS", f'"{plan.examination.modality}"'),
        _element("00200011", "IS", number),
        _element("0008103E", "LO", f'"{images.description}"'),
        _element("00180015", "CS", f'"{plan.examination.body_part}"'),
        _element("00400244", "DA", f'"{date}"'),
        _element("00400245", "TM", f'"{time}"'),
        _element("00080021", "DA", f'"{date}"'),
        _element("00080031", "TM", f'"{time}"'),
        _element("00080070", "LO", f'"{maker}"'),
        _element("00081090", "LO", f'"{model}"'),
        _element("00081010", "SH", f'"{station_of(plan.place, plan.examination.modality)}"'),
    )
    return "{" + ",".join(found) + "}"


def age_string(days: int) -> str:
    """Age (VR AS, PS3.5 6.2)."""
    if days < 60:
        return f"{max(days, 0):03d}D"
    return f"{days // 30:03d}M" if days < 730 else f"{int(days / 365.25):03d}Y"
