"""Reads the index as a caller: whose statements they are decides what they find, never how they are written.

Statements hold the names of parameters (`archive.access`), and get what the caller may see when they run. So all
callers share them, and what is kept of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, Executable, Row, select

from archive.access import ACCOUNT, FACILITIES, GRANTED, LINK, array_of, granted
from archive.awaited import Awaited
from archive.database import Prepared, Stop, fetch
from archive.models import Facility
from archive.records import Scope
from archive.row_security import Context


class Short(NamedTuple):
    """Connections for questions that no thread is to wait for, in both roles as the engines of a `Reader`."""

    all: Awaited
    limited: Awaited


class Reader:
    """Runs reading statements for callers."""

    def __init__(self, engine: Engine, limited: Engine | None = None, short: Short | None = None) -> None:
        """`limited` acts as the role of `archive.row_security`; without it, the predicate alone decides."""
        self._engine = engine
        self._limited = limited
        self._short = short
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def fetch(
        self,
        scope: Scope,
        statement: Executable,
        parameters: Mapping[str, object] | None = None,
        *,
        stop: Stop | None = None,
        too_slow: str = "",
    ) -> Sequence[Row[Any]]:
        """All rows of a statement as this caller sees them; see `archive.database.fetch`."""
        given = {**self.parameters(scope), **(parameters or {})}
        context = self._context(scope)
        return fetch(self._for(context), statement, given, stop=stop, too_slow=too_slow, context=context)

    def fetch_anybody(
        self,
        statement: Executable,
        parameters: Mapping[str, object] | None = None,
        *,
        stop: Stop | None = None,
        too_slow: str = "",
    ) -> Sequence[Row[Any]]:
        """All rows whoever asks: for what is only a hint where to look, and never given out."""
        return fetch(self._engine, statement, parameters, stop=stop, too_slow=too_slow)

    def granted(self, scope: Scope) -> dict[str, object]:
        """The studies that others let this caller see now, for statements that are given them (`access.visible_named`).

        What goes through many studies compares each with all of these, unless PostgreSQL has them when it plans.
        """
        if scope.facilities is None:
            return {}
        named = select(array_of(granted(scope.copying).subquery().c.study_id))
        return {GRANTED: fetch(self._engine, named, self.parameters(scope))[0][0]}

    def fetch_prepared(
        self, scope: Scope, statement: Prepared, parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]]:
        """The same of a statement that goes straight to the driver, and looks things up by their names alone."""
        context = self._planned(scope)
        return statement.fetch(self._for(context), {**self.parameters(scope), **parameters}, context)

    async def fetch_awaited(
        self, scope: Scope, statement: Prepared, parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]] | None:
        """The same for the event loop, which must not wait; None if `fetch_prepared` is to be asked, in a thread."""
        numbers = self._numbers
        if self._short is None or any(code not in numbers for code in scope.facilities or ()):
            return None
        context = self._planned(scope)
        short = self._short.all if context is None else self._short.limited
        return await statement.fetch_awaited(short, {**self.parameters(scope), **parameters}, context)

    def parameters(self, scope: Scope) -> dict[str, object]:
        """What the predicate of a statement asks for; nothing for who sees all. Raises `IndexUnavailable`."""
        if scope.facilities is None:
            return {}
        return {FACILITIES: self._facilities(scope.facilities), ACCOUNT: scope.account, LINK: scope.link}

    def _for(self, context: Context | None) -> Engine:
        return self._engine if context is None or self._limited is None else self._limited

    def _planned(self, scope: Scope) -> Context | None:
        context = self._context(scope)
        return None if context is None else context._replace(planned=True)

    def _context(self, scope: Scope) -> Context | None:
        if scope.facilities is None or self._limited is None:
            return None
        return Context(tuple(self._facilities(scope.facilities)), scope.account, scope.link, scope.copying)

    def _facilities(self, codes: Iterable[str]) -> list[int]:
        """The rows of these facilities. They never change, so each is asked for once; unknown ones again each time."""
        wanted = sorted(codes)
        if any(code not in self._numbers for code in wanted):
            rows = fetch(self._engine, select(Facility.code, Facility.id).where(Facility.code.in_(wanted)))
            with self._lock:
                self._numbers = {**self._numbers, **{row.code: row.id for row in rows}}
        numbers = self._numbers
        return sorted(numbers[code] for code in wanted if code in numbers)
