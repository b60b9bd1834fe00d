"""Reads the change feed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.errors import Forgotten
from archive.reading import Reader
from archive.records import EVERYTHING, Scope
from archive.rejection.causes import SHOWN
from config.feed import ChangeKind

WINDOW: Final = 20_000
"""How many changes one reading looks through at most for those that are wanted."""
KINDS: Final[dict[ChangeKind, str]] = {
    "stored": "An instance was stored for the first time",
    "replaced": "A new version of an instance is shown instead of the former one",
    "hidden": "An instance that was shown is not any more: it was rejected",
    "shown": "An instance that was hidden is shown again",
    "corrected": "What the archive says of an instance was corrected, by a change of settings",
    "complete": "No object of the study came for the time in the settings; if more come, it is told again",
}

_STATE: Final = text("SELECT last, forgotten FROM feed_cursor")
# What is hidden now is told of as hidden and not otherwise, also if it was shown when its change happened.
_READ: Final = text("""
SELECT sequence, told AS kind, at, code AS facility, change.study_instance_uid, change.series_instance_uid,
       change.sop_instance_uid, change.sop_class_uid
  FROM (SELECT change.*, facility.code,
               CASE WHEN change.kind = 'visibility' THEN
                        CASE WHEN before & :hiding = 0 AND after & :hiding <> 0 THEN 'hidden'
                             WHEN before & :hiding <> 0 AND after & :hiding = 0 THEN 'shown' END
                    WHEN after & :hiding = 0 THEN change.kind END AS told
          FROM change JOIN facility ON facility.id = facility_id
         WHERE sequence > :since AND sequence <= :until) AS change
  LEFT JOIN instance ON instance.id = change.instance_id
  LEFT JOIN study ON study.id = change.study_id
 WHERE told IS NOT NULL
   AND (told = 'hidden'
        OR change.instance_id IS NOT NULL AND instance.hidden & :hiding = 0
        OR change.instance_id IS NULL AND (study.instance_count > 0 OR :hiding <> :clinical AND study.hidden_count > 0))
   AND (CAST(:kinds AS text[]) IS NULL OR told = ANY(CAST(:kinds AS text[])))
   AND (CAST(:facilities AS text[]) IS NULL OR code = ANY(CAST(:facilities AS text[])))
   AND (CAST(:scope AS text[]) IS NULL OR code = ANY(CAST(:scope AS text[])))
 ORDER BY sequence LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change, as the view of the reader has it. UIDs and nothing else: no value of a patient."""

    sequence: int
    kind: ChangeKind
    at: datetime
    facility: str
    """Owner of the study."""
    study_instance_uid: str
    series_instance_uid: str | None
    sop_instance_uid: str | None
    sop_class_uid: str | None

    def to_json(self) -> dict[str, Any]:
        """For the feed and for webhooks; what does not apply is left out."""
        found = {
            "sequence": self.sequence,
            "kind": self.kind,
            "at": self.at,
            "facility": self.facility,
            "study": self.study_instance_uid,
            "series": self.series_instance_uid,
            "instance": self.sop_instance_uid,
            "sopClass": self.sop_class_uid,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes somebody wants; empty means all."""

    kinds: Collection[ChangeKind] = ()
    facilities: Collection[str] = ()
    scope: Scope = EVERYTHING


@dataclass(frozen=True, slots=True)
class State:
    """Which changes the feed has."""

    latest: int = 0
    forgotten: int = 0
    """The first one kept is the next."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some changes in order."""

    changes: list[ChangeRecord]
    next: int
    """From here to go on: everything up to this number was looked at."""
    latest: int


class Feed:
    """The change feed, for readers."""

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    def state(self) -> State:
        """Raises `IndexUnavailable`."""
        rows = fetch(self._engine, _STATE)
        return State(rows[0].last, rows[0].forgotten) if rows else State()

    def read(self, since: int | None, wanted: Wanted, most: int, until: int | None = None) -> Page:
        """Changes with higher numbers than `since`, from the first one kept if None.

        Raises `Forgotten` if some of them are not kept any more or `since` was never reached, and `IndexUnavailable`.
        """
        state = self.state()
        since = self.check(since, state)
        end = min(since + WINDOW, state.latest if until is None else until)
        given = {**_parameters(wanted), "since": since, "until": end, "most": most}
        rows = self._reader.fetch(wanted.scope, _READ, given)
        # What was deleted while we read was deleted from the beginning.
        self.check(since, self.state())
        changes = [ChangeRecord(**row._mapping) for row in rows]
        return Page(changes, changes[-1].sequence if len(changes) == most else end, state.latest)

    def check(self, since: int | None, state: State) -> int:
        """Where a reader begins. Raises `Forgotten`."""
        if since is None:
            return state.forgotten
        if since < state.forgotten:
            raise Forgotten(
                f"changes up to {state.forgotten} are not kept any more: compare by QIDO-RS, and go on without since"
            )
        if since > state.latest:
            raise Forgotten(
                f"the feed has only come to {state.latest}: its database was restored. Compare by QIDO-RS, and go on "
                "without since"
            )
        return since


def _parameters(wanted: Wanted) -> dict[str, Any]:
    shown = SHOWN[wanted.scope.view]
    return {
        "hiding": 0xFF & ~int(shown),
        "clinical": 0xFF,
        "kinds": sorted(wanted.kinds) or None,
        "facilities": sorted(wanted.facilities) or None,
        "scope": None if wanted.scope.facilities is None else sorted(wanted.scope.facilities),
    }
