"""Rejection notes as people see them: which there are, what each hides; made and undone without a modality.

To reject is to store a note, to undo is to store a note that rejects the note: so what people decide is itself in the
archive, is sent on to where notes are sent, and is still known when the index had to be made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import change, fetch
from archive.documents import store
from archive.errors import InvalidQuery, NotFound
from archive.reading import Reader
from archive.receiving import Receiving
from archive.records import EVERYTHING, Receipt, Scope
from archive.rejection import sql
from archive.rejection.causes import BY_CODE, NOTES, Hidden
from archive.rejection.compose import Reason, Rejected, compose

_LONGEST: Final = 1024
_UNDO: Final = "113001"
"""The title of notes that undo: by it, nothing is said against the patient's images."""

_NOTE: Final = """
SELECT note.sop_instance_uid AS uid, note.study_instance_uid AS study, note.series_instance_uid AS series, note.code,
       note.description AS why, note.received_at AS received, note.active, note.permitted, facility.code AS facility,
       note_sender.calling_ae_title AS sender, note_sender.address AS address,
       count(reference.note_id) AS named, count(instance.id) AS here,
       count(instance.id) FILTER (
           WHERE note.active AND (note.anywhere OR note.facility_id = home.facility_id)) AS hidden
  FROM rejection_note AS note JOIN facility ON facility.id = note.facility_id
  JOIN note_sender ON note_sender.id = note.id
  LEFT JOIN rejection_reference AS reference ON reference.note_id = note.id AND NOT reference.stale
  LEFT JOIN study AS home ON home.study_instance_uid = reference.study_instance_uid AND home.quarantine = ''
  LEFT JOIN series ON series.study_id = home.id AND series.series_instance_uid = reference.series_instance_uid
  LEFT JOIN instance ON instance.series_id = series.id AND instance.sop_instance_uid = reference.sop_instance_uid
 WHERE note.cause <> 0
"""
# Of whoever sent the note: it may name the images of others, who are to learn of it from their own counts alone.
_MINE: Final = " AND (CAST(:scope AS text[]) IS NULL OR facility.code = ANY(CAST(:scope AS text[])))"
_GROUPED: Final = (
    " GROUP BY note.id, facility.id, note_sender.calling_ae_title, note_sender.address"
    " ORDER BY note.received_at DESC, note.id DESC"
)
_LIST: Final = text(
    f"{_NOTE} AND (CAST(:study AS text) IS NULL OR note.study_instance_uid = :study){_MINE}{_GROUPED}"
    " LIMIT :limit OFFSET :offset"
)
_SHOW: Final = text(f"{_NOTE} AND note.sop_instance_uid = :uid{_MINE}{_GROUPED}")
_NAMED: Final = text("""
SELECT reference.study_instance_uid AS study, reference.series_instance_uid AS series,
       reference.sop_instance_uid AS instance, instance.hidden AS hidden
  FROM rejection_note AS note JOIN rejection_reference AS reference ON reference.note_id = note.id
  LEFT JOIN study ON study.study_instance_uid = reference.study_instance_uid AND study.quarantine = ''
  LEFT JOIN series ON series.study_id = study.id AND series.series_instance_uid = reference.series_instance_uid
  LEFT JOIN instance ON instance.series_id = series.id AND instance.sop_instance_uid = reference.sop_instance_uid
 WHERE note.sop_instance_uid = :uid AND NOT reference.stale ORDER BY 1, 2, 3
""")
_ACTIONS: Final = text("SELECT at, action, who, why, instances FROM hiding_action WHERE subject = :subject ORDER BY id")
_HOME: Final = text("""
SELECT patient.attributes || study.attributes, patient.issuer, facility.code
  FROM study JOIN patient ON patient.id = study.patient_id JOIN facility ON facility.id = study.facility_id
 WHERE study_instance_uid = :study AND quarantine = ''
   AND (CAST(:scope AS text[]) IS NULL OR facility.code = ANY(CAST(:scope AS text[])))
""")
_INSTANCES: Final = text(f"""
SELECT series_instance_uid, sop_class_uid, sop_instance_uid, rows IS NOT NULL
  FROM study JOIN series ON series.study_id = study.id JOIN instance ON instance.series_id = series.id
 WHERE study_instance_uid = :study AND quarantine = '' AND (hidden & {NOTES:d} <> 0) = :notes
   AND (CAST(:series AS text) IS NULL OR series_instance_uid = :series)
   AND (CAST(:instances AS text[]) IS NULL OR sop_instance_uid = ANY(:instances))
 ORDER BY series.id, instance.id
""")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejection note."""

    uid: str
    study: str
    series: str
    code: str
    why: str
    received: datetime
    active: bool
    """Whether it hides what it names. If not, it was undone, or was not permitted."""
    permitted: bool
    facility: str
    sender: str
    address: str
    named: int
    here: int
    """How many of the named instances the archive has."""
    hidden: int
    """How many of them it hides."""

    @property
    def meaning(self) -> str:
        """The document title in words."""
        return BY_CODE[self.code].meaning


@dataclass(frozen=True, slots=True)
class Details:
    """What a note names, with the causes that hide each (None: it is not here); and what was done about it."""

    note: Rejection
    instances: list[tuple[str, str, str, Hidden | None]]
    actions: list[Mapping[str, Any]]


class Rejections:
    """Reads the notes of an archive, and stores others."""

    def __init__(self, engine: Engine, reader: Reader, begin: Callable[..., Receiving], ae_title: str) -> None:
        self._engine = engine
        self._reader = reader
        self._begin = begin
        self._ae_title = ae_title

    def notes(
        self, study: str | None = None, *, limit: int = 100, offset: int = 0, scope: Scope = EVERYTHING
    ) -> list[Rejection]:
        """Notes, the latest first, of one study or of all. Raises `IndexUnavailable`."""
        given = {"study": study, "limit": limit, "offset": offset, "scope": _codes(scope)}
        rows = self._reader.fetch(scope, _LIST, given)
        return [Rejection(**row._mapping) for row in rows]

    def show(self, uid: str, scope: Scope = EVERYTHING) -> Details:
        """One note. Raises `NotFound`, `IndexUnavailable`."""
        rows = self._reader.fetch(scope, _SHOW, {"uid": uid, "scope": _codes(scope)})
        if not rows:
            raise NotFound("no such rejection note")
        named: list[tuple[Any, ...]] = [tuple(row) for row in self._reader.fetch(scope, _NAMED, {"uid": uid})]
        actions = self._reader.fetch(scope, _ACTIONS, {"subject": uid})
        return Details(
            Rejection(**rows[0]._mapping),
            [(row[0], row[1], row[2], None if row[3] is None else Hidden(row[3])) for row in named],
            [dict(row._mapping) for row in actions],
        )

    def reject(
        self,
        study: str,
        *,
        code: str,
        who: str,
        why: str,
        series: str | None = None,
        instances: Sequence[str] | None = None,
        scope: Scope = EVERYTHING,
    ) -> Receipt:
        """Reject a study, a series of it, or some instances; the receipt is that of the note.

        Raises `InvalidQuery` for a code that is no title of a rejection note, `NotFound`, and what ingest raises.
        """
        if code not in BY_CODE:
            raise InvalidQuery(f"code is one of {', '.join(BY_CODE)}")
        if not self._reader.fetch(scope, _HOME, {"study": study, "scope": _codes(scope)}):
            raise NotFound("no such study, or not all of these instances are in it")
        wanted = None if instances is None else list(instances)
        found = self._instances(study, series, wanted, notes=False)
        if not found or (wanted is not None and {each.sop_instance_uid for each in found} != set(wanted)):
            raise NotFound("no such study, or not all of these instances are in it")
        receipt = self._store(study, found, Reason(BY_CODE[code], who, why))
        self._record("rejected", receipt.sop_instance_uid, who, why, len(found))
        return receipt

    def undo(self, uid: str, *, who: str, why: str, scope: Scope = EVERYTHING) -> Receipt:
        """Show again what a note hides, by a note that rejects it; the receipt is that of the new note.

        Raises `NotFound` if there is no such note or it does not hold, and what ingest raises.
        """
        found = self.show(uid, scope).note
        if not found.active:
            raise NotFound("this rejection note hides nothing now")
        note = self._instances(found.study, found.series, [uid], notes=True)
        receipt = self._store(found.study, note, Reason(BY_CODE[_UNDO], who, why))
        self._record("undone", uid, who, why, found.hidden)
        return receipt

    def _instances(self, study: str, series: str | None, uids: list[str] | None, *, notes: bool) -> list[Rejected]:
        given = {"study": study, "series": series, "instances": uids, "notes": notes}
        rows: list[tuple[Any, ...]] = [tuple(row) for row in fetch(self._engine, _INSTANCES, given)]
        return [Rejected(*row) for row in rows]

    def _store(self, study: str, rejected: Sequence[Rejected], reason: Reason) -> Receipt:
        if max(len(reason.who), len(reason.why)) > _LONGEST:
            raise InvalidQuery(f"who and why have at most {_LONGEST} characters")
        home: tuple[Any, ...] = tuple(fetch(self._engine, _HOME, {"study": study, "scope": None})[0])
        attributes, issuer, facility = home
        document = compose(study, attributes, rejected, reason)
        return store(self._begin, document, facility, issuer, self._ae_title)

    def _record(self, action: str, subject: str, who: str, why: str, instances: int) -> None:
        said = {"action": action, "subject": subject, "who": who, "why": why, "instances": instances}
        change(self._engine, _RECORD, said)


def _codes(scope: Scope) -> list[str] | None:
    return None if scope.facilities is None else sorted(scope.facilities)


_RECORD: Final = text(sql.RECORD.replace("%(", ":").replace(")s", "") + " RETURNING id")
