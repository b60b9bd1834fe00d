"""How far each webhook has come: for who delivers, and for operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from psycopg.rows import class_row
from sqlalchemy import Engine, text

from archive.database import change, fetch
from archive.errors import NotFound
from archive.index_session import Connection, IndexSession
from config.feed import Webhook

WebhookState = Literal["idle", "busy", "failing", "paused", "disabled", "unlisted"]

_LONGEST_ERROR: Final = 300
_BEGIN: Final = """
INSERT INTO webhook_cursor (name, position)
SELECT name, coalesce((SELECT last FROM feed_cursor), 0) FROM unnest(%s::text[]) AS given (name) ORDER BY name
ON CONFLICT DO NOTHING
"""
# One process at a time, and nobody waits for the dead: they hold no lock.
_CLAIM: Final = """
UPDATE webhook_cursor SET holder = %(me)s
 WHERE name = %(name)s AND NOT paused AND (retry_at IS NULL OR retry_at <= now())
   AND position < (SELECT last FROM feed_cursor)
   AND (holder IS NULL OR holder = %(me)s
        OR holder NOT IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                           WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
RETURNING name, position, until, failures, lost
"""
# Whoever was taken for dead and was not moves nothing back.
_MINE: Final = " WHERE name = %(name)s AND position = %(position)s AND holder = %(me)s"
_PIN: Final = f"UPDATE webhook_cursor SET until = %(until)s {_MINE}"
_PASS: Final = f"UPDATE webhook_cursor SET position = %(to)s, until = NULL, holder = NULL {_MINE}"
_TAKEN: Final = f"""
UPDATE webhook_cursor SET position = %(to)s, until = NULL, holder = NULL, failures = 0, retry_at = NULL, error = '',
                          delivered_at = now() {_MINE}
"""
_FAILED: Final = f"""
UPDATE webhook_cursor SET holder = NULL, failures = failures + 1, error = %(error)s, failed_at = now(),
                          retry_at = now() + make_interval(secs => %(wait)s) {_MINE}
"""
_LOST: Final = """
UPDATE webhook_cursor AS hook
   SET lost = lost + forgotten - hook.position, position = forgotten, until = NULL, holder = NULL
  FROM feed_cursor
 WHERE name = %(name)s AND hook.position = %(position)s AND holder = %(me)s AND forgotten > hook.position
"""
_LIST: Final = text("""
SELECT name, webhook_cursor.position, last, paused, holder IS NOT NULL AS held, failures, retry_at, error, failed_at,
       delivered_at, lost,
       (SELECT at FROM change WHERE sequence > webhook_cursor.position ORDER BY sequence LIMIT 1) AS oldest
  FROM webhook_cursor, feed_cursor ORDER BY name
""")
_PAUSE: Final = text("UPDATE webhook_cursor SET paused = :paused WHERE name = :name RETURNING name")
_RETRY: Final = text("UPDATE webhook_cursor SET retry_at = NULL WHERE name = :name RETURNING name")
_SKIP: Final = text("""
UPDATE webhook_cursor SET position = last, until = NULL, failures = 0, retry_at = NULL, error = ''
  FROM feed_cursor WHERE name = :name RETURNING name
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be delivered by who got it."""

    name: str
    position: int
    until: int | None
    """Where the batch that was tried before ends."""
    failures: int
    lost: int


class Cursors:
    """The cursors of webhooks, for the process of this session. All methods raise `IndexUnavailable`."""

    def __init__(self, session: IndexSession) -> None:
        self._session = session

    def begin(self, names: Sequence[str]) -> None:
        """Webhooks that are new get what changes from now on."""
        self._session.run(lambda connection: connection.execute(_BEGIN, (list(names),)))

    def claim(self, name: str) -> Claim | None:
        """Take a webhook if there is something for it now and nobody else is at it."""

        def work(connection: Connection) -> Claim | None:
            with connection.cursor(row_factory=class_row(Claim)) as cursor:
                return cursor.execute(_CLAIM, {"name": name, "me": self._session.writer}).fetchone()

        return self._session.run(work)

    def pin(self, claim: Claim, until: int) -> None:
        """Whoever tries again sends the same batch."""
        self._do(_PIN, claim, until=until)

    def passed(self, claim: Claim, to: int) -> None:
        """Nothing up to there is wanted."""
        self._do(_PASS, claim, to=to)

    def taken(self, claim: Claim, to: int) -> None:
        """The receiver has taken all up to there."""
        self._do(_TAKEN, claim, to=to)

    def failed(self, claim: Claim, error: str, wait: float) -> None:
        """To be tried again after some seconds."""
        self._do(_FAILED, claim, error=error[:_LONGEST_ERROR], wait=wait)

    def lose(self, claim: Claim) -> None:
        """Go on with the oldest change that is kept."""
        self._do(_LOST, claim)

    def _do(self, statement: str, claim: Claim, **values: Any) -> None:
        given = {**values, "name": claim.name, "position": claim.position, "me": self._session.writer}
        self._session.run(lambda connection: connection.execute(statement, given).rowcount)


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """How a webhook stands."""

    name: str
    state: WebhookState
    waiting: int
    """Changes that it has not looked at yet, wanted or not."""
    failures: int
    retry_at: datetime | None
    error: str
    delivered_at: datetime | None
    lost: int
    oldest: datetime | None
    """When the oldest of what waits came into the feed."""


class Webhooks:
    """The webhooks, for operators. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, webhooks: Sequence[Webhook]) -> None:
        self._engine = engine
        self._enabled = {webhook.name: webhook.enabled for webhook in webhooks}

    def list(self) -> list[WebhookStatus]:
        """All that the archive knows, also those that are not in the settings any more."""
        return [self._status(row) for row in fetch(self._engine, _LIST)]

    def pause(self, name: str, *, paused: bool) -> None:
        """Deliver nothing more, or go on. Raises `NotFound`."""
        self._change(_PAUSE, name, paused=paused)

    def retry(self, name: str) -> None:
        """Try again now. Raises `NotFound`."""
        self._change(_RETRY, name)

    def skip(self, name: str) -> None:
        """Deliver nothing of what waits. Raises `NotFound`."""
        self._change(_SKIP, name)

    def _change(self, statement: Any, name: str, **values: object) -> None:
        if not change(self._engine, statement, {**values, "name": name}, repeatable=True):
            raise NotFound(f"there is no webhook {name}; it comes to be when the web service starts")

    def _status(self, row: Any) -> WebhookStatus:
        state: WebhookState = "idle"
        if row.name not in self._enabled:
            state = "unlisted"
        elif not self._enabled[row.name]:
            state = "disabled"
        elif row.paused:
            state = "paused"
        elif row.failures:
            state = "failing"
        elif row.held:
            state = "busy"
        return WebhookStatus(
            name=row.name,
            state=state,
            waiting=row.last - row.position,
            failures=row.failures,
            retry_at=row.retry_at,
            error=row.error,
            delivered_at=row.delivered_at,
            lost=row.lost,
            oldest=row.oldest,
        )
