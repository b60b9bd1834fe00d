"""What hospitals let each other see: referrals, grants, and looks that are on record in the audit trail."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from archive.audit.chain import COLUMNS, Entry, chained, genesis
from archive.demo.generated.copying import NULL, moment
from archive.demo.generated.images import StudyPlan
from archive.demo.generated.places import PLACES, REGISTER_OF
from archive.demo.generated.visits import DAY, OFFSET, Visits
from archive.demo.province import NAMESPACE

GRANT_COLUMNS: Final = "id, study_id, facility_id, kind, sharing_id, purpose, granted_at, expires_at"
SHARING_COLUMNS: Final = "id, ticket, kind, facility_id, purpose, opened_by_name, opened_at, expires_at"
MEMBER_COLUMNS: Final = "id, sharing_id, facility_id"
SHARED_COLUMNS: Final = "sharing_id, study_id, added_by_name, added_at"
RECORD_COLUMNS: Final = ", ".join(("segment_id", "sequence", "hash", *COLUMNS))
WRITER: Final = 990_099
"""No process holds this lock; the segments are closed."""
OPEN_SEGMENT: Final = "INSERT INTO audit_segment (id, keeping, writer, opened_at) VALUES (%s, 'access', %s, %s)"
CLOSE_SEGMENT: Final = "UPDATE audit_segment SET closed_at = %s, last_at = %s, records = %s, head = %s WHERE id = %s"
_REMEMBERED: Final = 120 * DAY
_LOOKED_AT: Final = 0.55
_OPEN_DAYS: Final = 30
Tables = dict[str, tuple[str, list[tuple[str, ...]]]]
Statement = tuple[str, tuple[Any, ...]]


class _Before(NamedTuple):
    """The examination before, of the same person."""

    study: int
    uid: str
    place: int
    arrived: int
    issuer: str
    patient_id: str


class Exchange:
    """Remembers where people were examined within the last months, and writes what follows of it."""

    def __init__(self, first_segment: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._segment = first_segment - 1
        self._before: dict[int, _Before] = {}
        self._grants = self._sharings = 0

    def rows(
        self, plans: list[StudyPlan], visits: Visits, ids: list[tuple[str, str]]
    ) -> tuple[Tables, list[Statement], list[Statement]]:
        """Rows by table, and what is to be done before and after they are written."""
        tables: Tables = {
            "sharing": (SHARING_COLUMNS, []),
            "sharing_member": (MEMBER_COLUMNS, []),
            "sharing_study": (SHARED_COLUMNS, []),
            "access_grant": (GRANT_COLUMNS, []),
        }
        looks: list[Entry] = []
        draws = self._rng.random(len(plans)).tolist()
        columns = zip(plans, visits.person.tolist(), visits.sent_by.tolist(), ids, draws, strict=True)
        for plan, person, sent_by, (issuer, patient_id), draw in columns:
            before = self._before.get(person)
            self._before[person] = _Before(plan.id, plan.uid, plan.place, plan.arrived, issuer, patient_id)
            if before is None or plan.arrived - before.arrived > _REMEMBERED or _same(before.place, plan.place):
                continue
            self._grant(tables, plan, before, referred=sent_by == before.place)
            if draw < _LOOKED_AT:
                looks.append(_look(plan, before, draw))
        self._forget(plans[-1].arrived)
        return tables, *self._record(tables, sorted(looks, key=lambda look: look.recorded_at))

    def _forget(self, now: int) -> None:
        if len(self._before) > 60_000:
            self._before = {
                person: before for person, before in self._before.items() if now - before.arrived < _REMEMBERED
            }

    def _grant(self, tables: Tables, plan: StudyPlan, before: _Before, *, referred: bool) -> None:
        at, until = moment(plan.arrived - OFFSET), moment(plan.arrived - OFFSET + _OPEN_DAYS * DAY)
        sharing = NULL
        if referred:
            self._sharings += 1
            sharing = str(self._sharings)
            ticket = str(uuid.uuid5(NAMESPACE, f"sharing/{plan.uid}"))
            sender, owner = f"BS. {PLACES[before.place].name}", str(plan.facilities[before.place])
            tables["sharing"][1].append((sharing, ticket, "referral", owner, "Chuyển tuyến", sender, at, until))
            tables["sharing_member"][1].append((sharing, sharing, str(plan.facility)))
            tables["sharing_study"][1].append((sharing, str(before.study), sender, at))
        self._grants += 1
        kind = ("referral", sharing, "Chuyển tuyến") if referred else ("care", NULL, "")
        tables["access_grant"][1].append((str(self._grants), str(before.study), str(plan.facility), *kind, at, until))

    def _record(self, tables: Tables, looks: list[Entry]) -> tuple[list[Statement], list[Statement]]:
        """A segment of the audit trail with these records."""
        if not looks:
            return [], []
        self._segment += 1
        head = genesis(self._segment)
        rows: list[tuple[str, ...]] = []
        for sequence, look in enumerate(looks, start=1):
            head = chained(head, self._segment, sequence, look)
            rows.append((str(self._segment), str(sequence), "\\\\x" + head.hex(), *_columns(look)))
        tables["audit_record"] = (RECORD_COLUMNS, rows)
        last = looks[-1].recorded_at
        opened = (self._segment, WRITER, looks[0].recorded_at)
        return [(OPEN_SEGMENT, opened)], [(CLOSE_SEGMENT, (last, last, len(looks), head, self._segment))]


def _same(one: int, other: int) -> bool:
    """Whether two facilities share a register of patients: then nothing is to be granted."""
    return bool(REGISTER_OF[one] == REGISTER_OF[other])


def _look(plan: StudyPlan, before: _Before, draw: float) -> Entry:
    doctor = int(draw * 7919) % PLACES[plan.place].readers + 1
    return Entry(
        recorded_at=datetime.fromtimestamp(plan.arrived - OFFSET - int(draw * 3000), UTC),
        action="view",
        outcome="success",
        kind="account",
        name=f"bs.{PLACES[plan.place].code}.{doctor}",
        account_id=None,
        address=f"10.{20 + plan.place}.9.{10 + doctor}",
        home=[PLACES[plan.place].code],
        studies=[before.uid],
        owners=[PLACES[before.place].code],
        patient_id=before.patient_id,
        issuer_of_patient_id=before.issuer,
        purpose="Khám chữa bệnh",
        detail={},
    )


def _columns(look: Entry) -> tuple[str, ...]:
    found = []
    for name in COLUMNS:
        value = getattr(look, name)
        if value is None:
            found.append(NULL)
        elif isinstance(value, datetime):
            found.append(value.isoformat())
        elif isinstance(value, list):
            found.append(f"{{{','.join(value)}}}")
        else:
            found.append(orjson.dumps(value).decode() if isinstance(value, dict) else value)
    return tuple(found)
