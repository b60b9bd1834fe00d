"""What to look at when the log is reviewed: simple rules, each of which may have a good reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.people.caller import Where
from config.audit import AuditSettings

_MINE: Final = "(CAST(:codes AS text[]) IS NULL OR home && CAST(:codes AS text[]) OR owners && CAST(:codes AS text[]))"
_SINCE: Final = "recorded_at >= now() - make_interval(days => :days)"

_FAILED: Final = f"""
SELECT name, array_agg(DISTINCT address), count(*), max(recorded_at) FROM audit_record
 WHERE action = 'sign_in' AND outcome = 'denied' AND {_SINCE} AND {_MINE} AND name <> ''
 GROUP BY name ORDER BY count(*) DESC, max(recorded_at) DESC LIMIT 50
"""
_REFUSED: Final = f"""
SELECT name, array_agg(DISTINCT address), count(*), max(recorded_at) FROM audit_record
 WHERE action NOT IN ('sign_in', 'audit') AND outcome = 'denied' AND {_SINCE} AND {_MINE}
 GROUP BY name ORDER BY count(*) DESC, max(recorded_at) DESC LIMIT 50
"""
# Patients, not images: who reads a worklist through sees as many of those as there are.
_MASS: Final = f"""
SELECT name, array_agg(DISTINCT address), count(DISTINCT (issuer_of_patient_id, patient_id)), max(recorded_at), late
  FROM (SELECT *, date_trunc('hour', recorded_at) AS hour,
               NOT (CAST(recorded_at AT TIME ZONE 'Asia/Ho_Chi_Minh' AS time) >= CAST(:begin AS time)
                AND CAST(recorded_at AT TIME ZONE 'Asia/Ho_Chi_Minh' AS time) < CAST(:finish AS time)) AS late
          FROM audit_record
         WHERE action IN ('view', 'copy', 'export') AND outcome = 'success' AND kind <> 'system' AND patient_id <> ''
           AND {_SINCE} AND {_MINE}) AS looks
 GROUP BY name, hour, late
HAVING count(DISTINCT (issuer_of_patient_id, patient_id)) > CASE WHEN late THEN :few ELSE :many END
 ORDER BY 4 DESC LIMIT 50
"""
_BREAK_GLASS: Final = f"""
SELECT name, ARRAY[address], 1, recorded_at, false, purpose FROM audit_record
 WHERE action = 'break_glass' AND {_SINCE} AND {_MINE} ORDER BY recorded_at DESC LIMIT 50
"""


@dataclass(frozen=True, slots=True)
class Conspicuous:
    """Somebody to ask about something."""

    name: str
    addresses: list[str]
    count: int
    last: datetime
    late: bool = False
    """Outside of working hours."""
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What is conspicuous in the last days."""

    failed_sign_ins: list[Conspicuous]
    refused: list[Conspicuous]
    mass_access: list[Conspicuous]
    """Many patients within an hour; `count` is of patients."""
    break_glass: list[Conspicuous]


def review(engine: Engine, settings: AuditSettings, days: int, facilities: Where = None) -> Review:
    """Look through the last days. Raises `IndexUnavailable`."""
    begin, _, finish = settings.working_hours.partition("-")
    given: dict[str, Any] = {"days": days, "codes": None if facilities is None else sorted(facilities)}
    mass = {"begin": begin, "finish": finish, "many": settings.mass_studies, "few": settings.mass_studies // 10}
    return Review(
        [Conspicuous(*row) for row in _rows(engine, _FAILED, given)],
        [Conspicuous(*row) for row in _rows(engine, _REFUSED, given)],
        [Conspicuous(*row) for row in _rows(engine, _MASS, {**given, **mass})],
        [Conspicuous(*row) for row in _rows(engine, _BREAK_GLASS, given)],
    )


def _rows(engine: Engine, statement: str, given: Mapping[str, Any]) -> list[list[Any]]:
    return [list(row) for row in fetch(engine, text(statement), given)]
