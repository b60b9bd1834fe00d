"""Searches for the studies of one person, whose patient IDs differ from hospital to hospital.

A PatientID alone does not do that: the same digits are somebody else at the next hospital.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.records import Scope

RELATED: Final = "relatedto"
PARAMETER: Final[dict[str, Any]] = {
    "name": RELATED,
    "in": "query",
    "description": "Study Instance UIDs: studies of the persons whose studies these are, whatever their patient IDs. "
    "Not together with StudyInstanceUID.",
    "schema": {"type": "array", "items": {"type": "string"}},
    "explode": False,
}
_MOST: Final = 20
_STUDY: Final = frozenset(("studyinstanceuid", "0020000d"))


def of_persons(archive: Archive, scope: Scope, items: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The parameters of a search, with the studies that `relatedto` stands for in its place.

    A study that the caller may not see stands for itself alone, and so finds nothing.

    Raises
    ------
    InvalidQuery
        Too many studies, or StudyInstanceUID is given as well.
    """
    given = [value for name, value in items if name.lower() == RELATED]
    if not given:
        return list(items)
    rest = [(name, value) for name, value in items if name.lower() != RELATED]
    if any(name.lower() in _STUDY for name, _ in rest):
        raise InvalidQuery(f"StudyInstanceUID and {RELATED} are not understood together")
    studies = [uid.strip() for value in given for uid in value.split(",") if uid.strip()]
    if not 0 < len(studies) <= _MOST:
        raise InvalidQuery(f"{RELATED} names one to {_MOST} studies")
    found = dict.fromkeys(uid for study in studies for uid in _same_person(archive, scope, study))
    return [*rest, ("StudyInstanceUID", ",".join(found))]


def _same_person(archive: Archive, scope: Scope, study: str) -> list[str]:
    try:
        return archive.reviews.studies_of(scope, study)
    except NotFound:
        return [study]
