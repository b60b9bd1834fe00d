"""Writes what was done to persons, and reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archive.identity import sql
from archive.identity.place import Moved
from archive.index_session import Connection
from archive.people.caller import Caller


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did: its number in the trace, and the person it is about."""

    event: int
    person: int


@dataclass(frozen=True, slots=True)
class Event:
    """One act, as it is shown."""

    id: int
    at: datetime
    action: str
    person: int
    other_person: int | None
    caller: str
    reason: str
    detail: dict[str, Any]
    undoes: int | None
    undone_by: int | None


@dataclass(frozen=True, slots=True)
class Act:
    """What is written of an act beside what moved."""

    action: str
    caller: Caller
    reason: str
    ticket: str


def write(
    connection: Connection,
    act: Act,
    person: int,
    moved: Sequence[Moved],
    *,
    other: int | None = None,
    undoes: int | None = None,
    **detail: Any,
) -> Done:
    """Add to the trace, in the transaction that does it."""
    entry = _entry(act, person, moved, other, undoes, detail)
    (row,) = connection.execute(sql.ADD_EVENTS, {"rows": json.dumps([entry])}).fetchall()
    return Done(int(row[0]), person)


def write_all(connection: Connection, acts: Sequence[tuple[Act, int, Sequence[Moved], int | None]]) -> None:
    """The same of several acts: each with the person it is about, what moved, and the other person."""
    rows = [_entry(act, person, moved, other, None, {}) for act, person, moved, other in acts]
    if rows:
        connection.execute(sql.ADD_EVENTS, {"rows": json.dumps(rows)})


def _entry(
    act: Act, person: int, moved: Sequence[Moved], other: int | None, undoes: int | None, detail: dict[str, Any]
) -> dict[str, Any]:
    return {
        "action": act.action,
        "person_id": person,
        "other_person_id": other,
        "caller_kind": act.caller.kind.value,
        "caller": act.caller.name,
        "account_id": act.caller.account,
        "reason": act.reason,
        "detail": {"moved": [each.to_json() for each in moved], **detail},
        "undoes": undoes,
        "ticket": act.ticket,
    }
