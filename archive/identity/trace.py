"""Writes what was done to persons, and reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from archive.identity import sql
from archive.identity.book import Moved
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
    given = {
        "action": act.action,
        "person": person,
        "other": other,
        "kind": act.caller.kind.value,
        "caller": act.caller.name,
        "account": act.caller.account,
        "reason": act.reason,
        "detail": Jsonb({"moved": [each.to_json() for each in moved], **detail}),
        "undoes": undoes,
        "ticket": act.ticket,
    }
    (number,) = connection.execute(sql.ADD_EVENT, given).fetchone() or (0,)
    return Done(number, person)
