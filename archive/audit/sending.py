"""Sends the trail on, record by record, to an audit record repository.

How far each segment was sent is a column of the segment, moved when its messages are on their way. The records of a
segment are numbered in the order of their commits, so none can appear behind the cursor. Whatever dies when, none is
left out; some come twice, and each names its record. One process sends a segment at a time.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, Final

from archive.audit.events import Action
from archive.audit.message import audit_message
from archive.audit.search import AuditEntry
from archive.audit.syslog import Collector, CollectorAway, framed, here
from archive.background import Background
from archive.index_session import Connection, IndexSession
from config.audit import SyslogSettings
from config.logs import fields
from config.settings import DatabaseSettings

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 200
INTERVAL: Final = 2.0
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 300.0

# Open segments, and closed ones that are not sent to their end.
_NEXT: Final = """
SELECT id FROM audit_segment
 WHERE (closed_at IS NULL OR sent < records) AND expired_at IS NULL
   AND EXISTS (SELECT FROM audit_record WHERE segment_id = id AND sequence > sent)
 ORDER BY id LIMIT 10
"""
# No lock of the row: whoever writes to the segment, or closes it, must not wait for a repository that hangs.
_TAKE: Final = "SELECT pg_try_advisory_xact_lock(%s, %s)"
_LOCKS: Final = 5425
_SENT: Final = "SELECT sent FROM audit_segment WHERE id = %s"
_RECORDS: Final = """
SELECT segment_id, sequence, recorded_at, action, outcome, kind, name, address, home, studies, owners, patient_id,
       purpose, detail
  FROM audit_record WHERE segment_id = %s AND sequence > %s ORDER BY sequence LIMIT %s
"""
_MOVE: Final = "UPDATE audit_segment SET sent = %s WHERE id = %s"


class Sender(Background):
    """A thread that sends as long as the ``with`` block lives."""

    def __init__(
        self, database: DatabaseSettings, settings: SyslogSettings, source: str, interval: float = INTERVAL
    ) -> None:
        super().__init__("audit messages", self._step)
        self._session = IndexSession(database, "pacs audit messages")
        self._collector = Collector(settings)
        self._settings = settings
        self._source = source
        self._interval = interval
        self._pause = _FIRST_PAUSE

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(exc_type, exc, tb)
        self._collector.close()
        self._session.close()

    def _step(self) -> float:
        try:
            sent = send_some(self._session, self._collector, self._settings, self._source)
        except CollectorAway as error:
            pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
            facts = fields(host=self._settings.host, error=str(error), again_in=pause)
            log.warning("the audit record repository takes nothing", extra=facts)
            return pause
        self._pause = _FIRST_PAUSE
        return 0.0 if sent else self._interval


def send_some(session: IndexSession, collector: Collector, settings: SyslogSettings, source: str) -> int:
    """Send some records of one segment; give how many were looked at.

    Raises `CollectorAway`, `IndexUnavailable`; then the same are sent again.
    """

    def work(connection: Connection) -> int:
        with connection.transaction():
            segment = _take(connection)
            if segment is None:
                return 0
            (sent,) = connection.execute(_SENT, (segment,)).fetchone() or (0,)
            rows = connection.execute(_RECORDS, (segment, sent, MOST_AT_ONCE)).fetchall()
            if not rows:
                return 0
            entries = [AuditEntry(*list[Any](values)) for values in rows]
            wanted = [entry for entry in entries if settings.searches or entry.action != Action.SEARCH]
            if wanted:
                collector.send([_framed(entry, source) for entry in wanted])
            connection.execute(_MOVE, (entries[-1].number, segment))
            return len(entries)

    return session.run(work)


def _take(connection: Connection) -> int | None:
    """A segment with something to send that no other process is sending."""
    for (segment,) in connection.execute(_NEXT).fetchall():
        (taken,) = connection.execute(_TAKE, (_LOCKS, segment % (1 << 31))).fetchone() or (False,)
        if taken:
            return int(segment)
    return None


def _framed(entry: AuditEntry, source: str) -> bytes:
    host, process = here()
    return framed(audit_message(entry, source), entry.recorded_at, host, "pacs", process)
