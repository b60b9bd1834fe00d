"""Counts tries to sign in under a name, and locks it after several. Names of nobody are counted like all others.

A try is counted before it is looked at, in one statement. So a thousand at the same moment are no more than one after
the other, and a process that dies in between has counted.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import Engine, and_, case, delete, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from archive.database import change, fetch
from archive.people.models import SignInAttempts as Row
from config.access import AccessSettings

_FORGOTTEN: Final = func.make_interval(0, 0, 0, 1)
"""A day after the last of them, tries are no longer in a row."""


class Attempts:
    """Tries under each name."""

    def __init__(self, engine: Engine, settings: AccessSettings) -> None:
        self._engine = engine
        self._settings = settings

    def charge(self, name: str) -> bool:
        """Count one more try; False if the name is locked, and the try must not be looked at."""
        now = func.clock_timestamp()
        locked = now + func.make_interval(0, 0, 0, 0, 0, 0, self._settings.lock_minutes * 60)
        over = or_(Row.locked_until.is_not(None), Row.last_at < now - _FORGOTTEN)
        count = case((over, 1), else_=Row.count + 1)
        first = literal(1) >= self._settings.tries
        statement = insert(Row).values(name=_digest(name), count=1, locked_until=case((first, locked), else_=null()))
        statement = statement.on_conflict_do_update(
            index_elements=[Row.name],
            set_={
                "count": count,
                "last_at": now,
                "locked_until": case((count >= self._settings.tries, locked), else_=null()),
            },
            where=or_(Row.locked_until.is_(None), Row.locked_until <= now),
        )
        return bool(change(self._engine, statement.returning(Row.count)))

    def return_one(self, name: str) -> None:
        """The try was right, but is only half of what is needed: it counts neither for nor against."""
        fewer = func.greatest(Row.count - 1, 0)
        still = case((fewer >= self._settings.tries, Row.locked_until), else_=null())
        values = {"count": fewer, "locked_until": still}
        change(self._engine, update(Row).where(Row.name == _digest(name)).values(values))

    def forgive(self, name: str) -> bool:
        """Forget all tries: somebody is in, or an administrator unlocks. Gives whether there were any."""
        return bool(change(self._engine, delete(Row).where(Row.name == _digest(name)).returning(Row.count)))

    def locked(self, names: list[str]) -> set[str]:
        """Which of these names are locked now."""
        digests = {_digest(name): name for name in names}
        held = and_(Row.name.in_(list(digests)), Row.locked_until > func.clock_timestamp())
        return {digests[bytes(row.name)] for row in fetch(self._engine, select(Row.name).where(held))}

    def tidy(self) -> None:
        """Delete what no longer counts."""
        now = func.clock_timestamp()
        free = or_(Row.locked_until.is_(None), Row.locked_until < now)
        change(self._engine, delete(Row).where(Row.last_at < now - _FORGOTTEN, free))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
