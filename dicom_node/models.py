"""Query/Retrieve information models: their SOP classes, levels and unique keys (PS3.4 C.3, C.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from archive.attributes import KNOWN
from archive.errors import InvalidQuery
from archive.records import Level

UNIQUE_KEYS: Final = {
    Level.PATIENT: 0x00100020,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}
QUERY_RETRIEVE_LEVEL: Final = 0x00080052


@dataclass(frozen=True, slots=True)
class Model:
    """An information model and the levels it knows, from the top."""

    name: str
    levels: tuple[Level, ...]

    def level(self, text: str) -> Level:
        """The level that an identifier names (PS3.4 C.4.1.1.3.1). Raises `InvalidQuery`."""
        found = next((level for level in self.levels if level == text.strip("\0 ").upper()), None)
        if found is None:
            known = ", ".join(self.levels)
            raise InvalidQuery(f"QueryRetrieveLevel must be one of {known}")
        return found

    def check_keys_above(self, level: Level, keys: Mapping[int, str]) -> None:
        """Check that each level above is fixed by one unique key (PS3.4 C.4.1.2.1). Raises `InvalidQuery`."""
        for above in self.levels[: self.levels.index(level)]:
            tag = UNIQUE_KEYS[above]
            value = keys.get(tag, "").strip("\0 ")
            if not value or any(character in value for character in "*?\\"):
                raise InvalidQuery(f"{KNOWN[tag].keyword} with a single value is required at {level} level")


_PATIENT_ROOT: Final = Model("Patient Root", (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE))
_STUDY_ROOT: Final = Model("Study Root", (Level.STUDY, Level.SERIES, Level.IMAGE))
_PATIENT_STUDY_ONLY: Final = Model("Patient/Study Only (retired)", (Level.PATIENT, Level.STUDY))


def _classes(service: int) -> dict[str, Model]:
    models = (_PATIENT_ROOT, _STUDY_ROOT, _PATIENT_STUDY_ONLY)
    return {f"1.2.840.10008.5.1.4.1.2.{number}.{service}": model for number, model in enumerate(models, 1)}


FIND: Final = _classes(1)
"""SOP classes of C-FIND."""
MOVE: Final = _classes(2)
"""SOP classes of C-MOVE."""
GET: Final = _classes(3)
"""SOP classes of C-GET."""

MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
"""PS3.4 K.5."""
PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step (PS3.4 F.7): N-CREATE and N-SET."""
PERFORMED_STEP_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"
"""Modality Performed Procedure Step Retrieve (PS3.4 F.8): N-GET."""
