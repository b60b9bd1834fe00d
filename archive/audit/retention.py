"""Takes away what is over: whole closed segments, so that all others can still be verified.

The row of the segment stays, and the anchors that closed it: they prove how many records there were, and that these and
no others are gone. The database itself refuses it for segments whose last record is younger than a year.
"""

from __future__ import annotations

from typing import Final

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.index_session import Connection
from archive.people.caller import SYSTEM
from config.audit import AuditSettings

_OVER: Final = """
SELECT id, keeping, records, last_at FROM audit_segment
 WHERE expired_at IS NULL AND closed_at IS NOT NULL AND anchored = -1
   AND last_at < now() - make_interval(days => CASE keeping WHEN 'access' THEN %(access)s ELSE %(security)s END)
   AND CASE keeping WHEN 'access' THEN %(access)s ELSE %(security)s END > 0
 ORDER BY id LIMIT 1
"""
_EXPIRE: Final = "UPDATE audit_segment SET expired_at = clock_timestamp() WHERE id = %s AND expired_at IS NULL"
_DELETE: Final = "DELETE FROM audit_record WHERE segment_id = %s"


def expire(trail: Trail, settings: AuditSettings) -> int:
    """Delete one segment whose time is over; give how many records that were. Recorded before it is done.

    Raises `IndexUnavailable`.
    """
    given = {"access": settings.access_keep_days, "security": settings.security_keep_days}
    row = trail.session.run(lambda connection: connection.execute(_OVER, given).fetchone())
    if row is None:
        return 0
    number, keeping, records, last_at = row
    detail = {"segment": number, "keeping": keeping, "records": records, "last": last_at.isoformat()}
    trail.record(AuditEvent(Action.AUDIT, SYSTEM, detail={"what": "expired", **detail}))

    def work(connection: Connection) -> None:
        with connection.transaction():
            if connection.execute(_EXPIRE, (number,)).rowcount:
                connection.execute(_DELETE, (number,))

    trail.session.run(work)
    return int(records)
