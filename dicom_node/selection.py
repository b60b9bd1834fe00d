"""Which instances an identifier of C-GET or C-MOVE asks for (PS3.4 C.4.2.1.4.1, C.4.2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from archive.attributes import KNOWN
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.records import Level, Query, Scope, StoredInstance
from dicom_node.models import QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS, Model

_ISSUER: Final = 0x00100021
_STUDY, _SERIES, _IMAGE = (f"{UNIQUE_KEYS[level]:08X}" for level in (Level.STUDY, Level.SERIES, Level.IMAGE))


def select(
    archive: Archive, model: Model, keys: Mapping[int, str], *, relational: bool, scope: Scope
) -> list[StoredInstance]:
    """The instances, in order of study, series and instance number; none if nothing matches.

    Only unique keys count (C.4.2.2.1); of the level asked for, all but the patient's may be a list of UIDs.
    Raises `InvalidQuery`, `IndexUnavailable`.
    """
    level = model.level(keys.get(QUERY_RETRIEVE_LEVEL, ""))
    if not relational:
        model.check_keys_above(level, keys)
    own = keys.get(UNIQUE_KEYS[level], "").strip("\0 ")
    if not own or "*" in own or "?" in own or (level is Level.PATIENT and "\\" in own):
        raise InvalidQuery(f"{KNOWN[UNIQUE_KEYS[level]].keyword} is required at {level} level")
    wanted = {
        UNIQUE_KEYS[each]: keys.get(UNIQUE_KEYS[each], "") for each in UNIQUE_KEYS if each in _down_to(model, level)
    }
    if Level.PATIENT in model.levels and keys.get(_ISSUER):
        wanted[_ISSUER] = keys[_ISSUER]
    query = Query(Level.STUDY if level is Level.PATIENT else level, wanted)
    found: list[StoredInstance] = []
    for (study, series), images in _places(archive, query, scope).items():
        try:
            located = archive.locate(study, series, scope=scope)
        except NotFound:
            continue  # deleted since the search
        found += [inst for inst in located if images is None or inst.sop_instance_uid in images]
    return found


def _down_to(model: Model, level: Level) -> tuple[Level, ...]:
    return model.levels[: model.levels.index(level) + 1]


def _places(archive: Archive, query: Query, scope: Scope) -> dict[tuple[str, str | None], set[str] | None]:
    """Study and series of the matches, and which instances of them; None for all."""
    places: dict[tuple[str, str | None], set[str] | None] = {}
    # However many: what is named by UIDs or one patient has an end.
    for match in archive.browse(query, scope, all_of_them=True):
        study = match[_STUDY]["Value"][0]
        series = None if query.level is Level.STUDY else match[_SERIES]["Value"][0]
        images = places.setdefault((study, series), set() if query.level is Level.IMAGE else None)
        if images is not None:
            images.add(match[_IMAGE]["Value"][0])
    return places
