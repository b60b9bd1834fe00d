"""Questions about an index as people and programs ask them, drawn from what is in it, the same ones for each seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import psycopg

LIMIT: Final = 100
"""Matches that a page of a search asks for."""


@dataclass(frozen=True)
class Question:
    """A search of a kind: its level and keys, as QIDO-RS names them."""

    kind: str
    level: str
    keys: dict[str, str]
    limit: int = LIMIT
    offset: int = 0
    options: dict[str, str] = field(default_factory=dict)
    """What only QIDO-RS has. With any, or an offset, it is not asked by C-FIND."""
    cut: bool = False
    """By C-FIND it would be answered with more than anybody reads, and A700 behind the last that may be given: as by
    a workstation whose list is full, it is cancelled after a page of answers."""


class Drawn(NamedTuple):
    """A study of the index, one of its series and one of that one's instances."""

    name: str
    fold: str
    patient_id: str
    born: date | None
    sex: str
    accession: str
    day: date
    modality: str
    description: str
    study: str
    series: str
    instance: str


_STUDIES: Final = """
SELECT p.name, p.name_fold, p.patient_id, p.birth_date, p.sex, s.accession_number, s.study_date, e.modality,
       s.study_description, s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid
  FROM unnest(%s::bigint[]) WITH ORDINALITY AS chosen (id, turn)
  JOIN study s USING (id) JOIN patient p ON p.id = s.patient_id JOIN facility f ON f.id = s.facility_id
  CROSS JOIN LATERAL (SELECT id, modality, series_instance_uid FROM series
                       WHERE study_id = s.id AND instance_count > 0 ORDER BY id DESC LIMIT 1) e
  CROSS JOIN LATERAL (SELECT sop_instance_uid FROM instance WHERE series_id = e.id AND hidden = 0 LIMIT 1) i
 WHERE s.quarantine = '' AND s.study_date IS NOT NULL AND p.name_fold <> '' AND p.patient_id <> ''
   AND s.accession_number <> '' AND (%s::text IS NULL OR f.code = %s)
 ORDER BY turn LIMIT %s
"""


def studies(connection: psycopg.Connection[Any], seed: int, count: int, facility: str | None) -> list[Drawn]:
    """So many studies of the index, of one facility or of all."""
    found = connection.execute("SELECT min(id), max(id) FROM study").fetchone()
    if found is None or found[0] is None:
        raise SystemExit("there is no study in this index: python -m archive.demo.generated fills one")
    chance = random.Random(seed)
    chosen = [chance.randint(*found) for _ in range(count * 40)]
    return [Drawn(*row) for row in connection.execute(_STUDIES, (chosen, facility, facility, count))]


Value = Callable[[Drawn], str]


@dataclass(frozen=True)
class _Kind:
    """How a question of a kind is made of what was drawn."""

    level: str
    keys: dict[str, Value] = field(default_factory=dict)
    limit: int = LIMIT
    deepest: int = 0
    """Where the page begins at most; at half of it at least."""
    options: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def _prefix(one: Drawn) -> str:
    """All of the name but the end of the given name: what is typed to find somebody."""
    words = re.split(r"[ ^=]+", one.fold)
    return " ".join((*words[:-1], words[-1][:2])) + "*"


def _family(one: Drawn) -> str:
    return one.fold.split()[0] + "*"


def _family_and_next(one: Drawn) -> str:
    return " ".join(one.fold.split()[:2]) + "*"


def _accents(one: Drawn) -> str:
    return " ".join(re.split(r"[ ^]+", one.name.partition("=")[0].strip())) + "*"


def _words(one: Drawn) -> str:
    words = one.fold.split()
    return f"{words[-1]} {words[0]}".lower()


def _born(one: Drawn) -> str:
    return f"{one.born:%Y%m%d}" if one.born else "19700101"


def _word_within(one: Drawn) -> str:
    return f"*{(one.description.split() or ['X'])[-1]}*"


def _days(count: int) -> Value:
    return lambda one: f"{one.day - timedelta(count - 1):%Y%m%d}-{one.day:%Y%m%d}"


def _id(one: Drawn) -> str:
    return one.patient_id


def _modality(one: Drawn) -> str:
    return one.modality


def _study(one: Drawn) -> str:
    return one.study


def _series(one: Drawn) -> str:
    return one.series


def _instance(one: Drawn) -> str:
    return one.instance


_BROAD: Final[dict[str, Value]] = {
    "PatientName": _family,
    "StudyDate": _days(365),
    "ModalitiesInStudy": _modality,
    "PatientSex": lambda one: one.sex,
}
_KINDS: Final = {
    "name prefix": _Kind("STUDY", {"PatientName": _prefix}, cut=True),
    "name prefix, family name only": _Kind("STUDY", {"PatientName": _family}, cut=True),
    "name with accents": _Kind("STUDY", {"PatientName": _accents}, cut=True),
    "name, any words": _Kind("STUDY", {"PatientName": _words}, options={"fuzzymatching": "true"}),
    "PatientID": _Kind("STUDY", {"PatientID": _id}),
    "PatientID prefix": _Kind("STUDY", {"PatientID": lambda one: one.patient_id[:-2] + "*"}, cut=True),
    "AccessionNumber": _Kind("STUDY", {"AccessionNumber": lambda one: one.accession}),
    "day + modality": _Kind("STUDY", {"StudyDate": _days(1), "ModalitiesInStudy": _modality}, cut=True),
    "week + modality": _Kind("STUDY", {"StudyDate": _days(7), "ModalitiesInStudy": _modality}, cut=True),
    "90 days + modality": _Kind("STUDY", {"StudyDate": _days(90), "ModalitiesInStudy": _modality}, cut=True),
    "name + 30 days + modality": _Kind(
        "STUDY", {"PatientName": _family_and_next, "StudyDate": _days(30), "ModalitiesInStudy": _modality}, cut=True
    ),
    "family name + year + modality + sex": _Kind("STUDY", _BROAD, cut=True),
    "birth date": _Kind("STUDY", {"PatientBirthDate": _born}, cut=True),
    "birth date + 30 days": _Kind("STUDY", {"PatientBirthDate": _born, "StudyDate": _days(30)}),
    "description + 30 days": _Kind("STUDY", {"StudyDescription": _word_within, "StudyDate": _days(30)}, cut=True),
    "StudyInstanceUID": _Kind("STUDY", {"StudyInstanceUID": _study}),
    "newest page": _Kind("STUDY", limit=50, cut=True),
    "page at 500 to 1,000": _Kind("STUDY", limit=50, deepest=1_000),
    "page at 25,000 to 50,000": _Kind("STUDY", limit=50, deepest=50_000),
    "series of a study": _Kind("SERIES", {"StudyInstanceUID": _study}),
    "SeriesInstanceUID alone": _Kind("SERIES", {"SeriesInstanceUID": _series}),
    "series: day + modality": _Kind("SERIES", {"StudyDate": _days(1), "Modality": _modality}, cut=True),
    "instances of a series": _Kind("IMAGE", {"StudyInstanceUID": _study, "SeriesInstanceUID": _series}, 5000),
    "instances of a study": _Kind("IMAGE", {"StudyInstanceUID": _study}, 5000),
    "SOPInstanceUID alone": _Kind("IMAGE", {"SOPInstanceUID": _instance}),
    "instances: PatientID + modality": _Kind("IMAGE", {"PatientID": _id, "Modality": _modality}, cut=True),
}
KINDS: Final = tuple(_KINDS)


def draw(from_these: Sequence[Drawn], seed: int, kinds: Sequence[str]) -> dict[str, list[Question]]:
    """One question of each kind for each of the studies."""
    chance = random.Random(seed)
    return {kind: [_question(kind, _KINDS[kind], one, chance) for one in from_these] for kind in kinds}


def _question(name: str, kind: _Kind, one: Drawn, chance: random.Random) -> Question:
    keys = {keyword: value(one) for keyword, value in kind.keys.items()}
    offset = chance.randint(kind.deepest // 2, kind.deepest) if kind.deepest else 0
    return Question(name, kind.level, keys, kind.limit, offset, kind.options, kind.cut)
