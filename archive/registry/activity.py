"""What was heard of peers lately: objects today, the last one, and refusals at the door."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.figures.state import midnight
from config import clock

_HOURS: Final = 24
_FRESH: Final = 60.0
"""Seconds for which the count of today's objects is good: of a busy province it is a million rows to read."""
_MARGIN: Final = timedelta(hours=1)
"""Ids are given out about in the order in which objects come; none is later than its neighbours by more than this."""
_HEARD: Final = text("""
SELECT calling_ae_title, max(received_at) AS received_at FROM figure_source
 WHERE calling_ae_title = ANY(:titles) GROUP BY 1
""")
_LAST_ID: Final = text("SELECT coalesce(max(id), 0) FROM stored_object")
_FROM: Final = text("SELECT id, received_at FROM stored_object WHERE id >= :id ORDER BY id LIMIT 1")
_TODAY: Final = text("""
SELECT calling_ae_title, count(*) AS objects, max(received_at) AS received_at
  FROM stored_object WHERE id >= :first AND received_at >= :midnight GROUP BY 1
""")
_REFUSED: Final = text("""
SELECT name, count(*) AS times, max(recorded_at) AS last_at,
       (array_agg(detail ->> 'why' ORDER BY recorded_at DESC))[1] AS why,
       (array_agg(address ORDER BY recorded_at DESC))[1] AS address
  FROM audit_record
 WHERE name = ANY(:titles) AND recorded_at >= :since AND action = 'sign_in' AND outcome = 'denied' AND kind = 'peer'
 GROUP BY name
""")


_STRANGERS: Final = text("""
SELECT name, max(recorded_at) AS last_at, (array_agg(address ORDER BY recorded_at DESC))[1] AS address
  FROM audit_record
 WHERE recorded_at >= :since AND action = 'sign_in' AND outcome = 'denied' AND kind = 'peer'
   AND detail ->> 'why' = 'CALLING_AE_TITLE' AND name <> ''
 GROUP BY name ORDER BY last_at DESC LIMIT 50
""")


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who called and is not listed."""

    ae_title: str
    address: str
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Activity:
    """What was heard of one AE title."""

    received_at: datetime | None = None
    """When its last object came."""
    objects_today: int = 0
    refused: int = 0
    """Records of refused associations within a day; those with the same reason within some minutes are one."""
    refused_at: datetime | None = None
    refused_why: str = ""
    """The name of the reason, see `dicom_node.negotiation.Rejection`."""
    refused_from: str = ""


class Activities:
    """Used by all threads of a process. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._counted = float("-inf")
        self._today: dict[str, tuple[int, datetime]] = {}

    def of(self, titles: Sequence[str]) -> dict[str, Activity]:
        """What was heard of these AE titles."""
        given = {"titles": list(titles), "since": datetime.now(UTC) - timedelta(hours=_HOURS)}
        heard = {row.calling_ae_title: row.received_at for row in fetch(self._engine, _HEARD, given)}
        refused = {row.name: row for row in fetch(self._engine, _REFUSED, given)}
        today = self._objects_today()
        found = {}
        for title in titles:
            count, last = today.get(title, (0, None))
            known = Activity(max((each for each in (heard.get(title), last) if each), default=None), count)
            if (row := refused.get(title)) is not None:
                known = replace(
                    known,
                    refused=row.times,
                    refused_at=row.last_at,
                    refused_why=row.why or "",
                    refused_from=row.address,
                )
            found[title] = known
        return found

    def strangers(self) -> list[Stranger]:
        """Who was refused within a day because nobody of that AE title was listed, the latest first."""
        since = datetime.now(UTC) - timedelta(hours=_HOURS)
        return [
            Stranger(row.name, row.address, row.last_at) for row in fetch(self._engine, _STRANGERS, {"since": since})
        ]

    def _objects_today(self) -> dict[str, tuple[int, datetime]]:
        """How many objects came today by AE title, and when the last did."""
        with self._lock:
            if time.monotonic() - self._counted > _FRESH:
                begin = midnight(clock.today())
                rows = fetch(self._engine, _TODAY, {"first": self._first_since(begin - _MARGIN), "midnight": begin})
                self._today = {row.calling_ae_title: (row.objects, row.received_at) for row in rows}
                self._counted = time.monotonic()
            return self._today

    def _first_since(self, moment: datetime) -> int:
        """The id of the first object that came then or later: there is no index of when objects came."""
        low, high = 0, int(fetch(self._engine, _LAST_ID)[0][0]) + 1
        while low < high:
            middle = (low + high) // 2
            row = next(iter(fetch(self._engine, _FROM, {"id": middle})), None)
            if row is not None and row.received_at < moment:
                low = int(row.id) + 1
            else:
                high = middle
        return low
