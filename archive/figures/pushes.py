"""Indicators for other systems (LGSP, IOC): made when a period has ended, kept, and sent until they are taken.

The body of a request is made once: whatever dies when, the receiver gets the same under the same key, and may get it
twice. What changes later is told of again by the next requests, as many periods back as the settings say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Engine, text

from archive.database import change, fetch
from archive.figures.files import described
from archive.figures.periods import begins, shifted
from archive.figures.question import Answer, By, Measure, Question
from archive.index_session import Connection, IndexSession
from config import clock
from config.figures import FigurePush

MOST_BEHIND: Final = 100
"""Periods that are made up for after a standstill."""
_LAST: Final = text("SELECT max(until) AS until FROM figure_pushed WHERE name = :name")
_READY: Final = text("SELECT 1 FROM figure_cursor WHERE swept_at IS NOT NULL")
_ADD: Final = text("""
INSERT INTO figure_pushed (name, until, body) VALUES (:name, :until, :body) ON CONFLICT DO NOTHING RETURNING id
""")
# The lock ends with the process that has it.
_TAKE: Final = """
SELECT id, until, body, tries, made_at FROM figure_pushed
 WHERE name = %(name)s AND state = 'waiting' AND due_at <= now() ORDER BY until LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_TAKEN: Final = """
UPDATE figure_pushed SET state = 'taken', tries = tries + 1, status = %(status)s, error = '', ended_at = now()
 WHERE id = %(id)s
"""
_FAILED: Final = """
UPDATE figure_pushed SET tries = tries + 1, status = %(status)s, error = %(error)s,
       due_at = now() + make_interval(secs => %(wait)s),
       state = CASE WHEN %(give_up)s THEN 'given_up' ELSE 'waiting' END,
       ended_at = CASE WHEN %(give_up)s THEN now() END
 WHERE id = %(id)s
"""
_LISTED: Final = text("""
SELECT id, name, until, state, tries, status, error, made_at, due_at, ended_at FROM figure_pushed
 WHERE CAST(:name AS text) IS NULL OR name = :name ORDER BY id DESC LIMIT :most
""")
_RETRY: Final = text("""
UPDATE figure_pushed SET state = 'waiting', due_at = now(), made_at = now(), ended_at = NULL
 WHERE name = :name AND state <> 'taken' RETURNING id
""")
_LONGEST_ERROR: Final = 300
_LONGEST_WAIT: Final = 3600.0
_FIRST_WAIT: Final = 10.0
_BY: Final = {
    "hour": By.HOUR,
    "day": By.DAY,
    "week": By.WEEK,
    "month": By.MONTH,
    "quarter": By.QUARTER,
    "year": By.YEAR,
}


@dataclass(frozen=True, slots=True)
class Pushed:
    """A request, in the log of deliveries."""

    id: int
    name: str
    until: datetime
    state: str
    tries: int
    status: int | None
    error: str
    made_at: datetime
    due_at: datetime
    ended_at: datetime | None


Post = Callable[[str, bytes], int]
"""Sends a body under a key; gives the status. Raises `CannotPost`."""


class CannotPost(Exception):
    """There was no answer; the message says why."""


class Pushes:
    """What is pushed. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, ask: Callable[[Question], Answer]) -> None:
        self._engine = engine
        self._ask = ask

    def make_due(self, push: FigurePush, now: datetime | None = None) -> int:
        """Make the requests of periods that have ended; give how many. The first one is of the last period."""
        if not fetch(self._engine, _READY):
            return 0
        end = begins(push.every, (now or clock.now()) - timedelta(minutes=push.after_minutes))
        last = fetch(self._engine, _LAST, {"name": push.name})[0].until
        wanted = [end]
        while last is not None and len(wanted) < MOST_BEHIND and shifted(push.every, wanted[0], -1) > last:
            wanted.insert(0, shifted(push.every, wanted[0], -1))
        made = 0
        for until in wanted:
            if last is None or until > last:
                made += len(
                    change(self._engine, _ADD, {"name": push.name, "until": until, "body": self.body(push, until)})
                )
        return made

    def body(self, push: FigurePush, until: datetime) -> bytes:
        """What a request says. Raises `InvalidQuery`."""
        question = Question(
            measures=tuple(Measure(name) for name in push.measures),
            by=(_BY[push.every], *(By(name) for name in push.by)),
            since=shifted(push.every, until, -push.periods),
            until=until,
            public=push.public,
        )
        told = described(question, self._ask(question))
        return orjson.dumps({"push": push.name, "key": key_of(push.name, until), **told})

    def deliver(self, session: IndexSession, push: FigurePush, post: Post) -> bool | None:
        """Send what is due, one request; give whether it was taken, None if nothing is due."""

        def work(connection: Connection) -> bool | None:
            with connection.transaction():
                row = connection.execute(_TAKE, {"name": push.name}).fetchone()
                return None if row is None else _deliver(connection, push, post, *row)

        return session.run(work)

    def listed(self, name: str | None = None, most: int = 200) -> list[Pushed]:
        """The log of deliveries, the latest first."""
        return [Pushed(**row._mapping) for row in fetch(self._engine, _LISTED, {"name": name, "most": most})]

    def retry(self, name: str) -> int:
        """Send again what was not taken, also what was given up; give how many."""
        return len(change(self._engine, _RETRY, {"name": name}))


def key_of(name: str, until: datetime) -> str:
    """By which a receiver knows a request that comes twice."""
    return f"{name}.{until:%Y%m%dT%H}"


def _deliver(
    connection: Connection,
    push: FigurePush,
    post: Post,
    number: int,
    until: datetime,
    body: Any,
    tries: int,
    made: datetime,
) -> bool:
    status: int | None = None
    try:
        status = post(key_of(push.name, until), bytes(body))
        error = "" if 200 <= status < 300 else f"answered with status {status}"
    except CannotPost as failure:
        error = str(failure)
    if not error:
        connection.execute(_TAKEN, {"id": number, "status": status})
        return True
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries, 20))
    give_up = datetime.now(UTC) + timedelta(seconds=wait) > made + timedelta(days=push.give_up_days)
    given = {"id": number, "status": status, "error": error[:_LONGEST_ERROR], "wait": wait, "give_up": give_up}
    connection.execute(_FAILED, given)
    return False
