"""Queues of messages both ways: HL7 by partner, webhooks, pushes of figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.feed.webhooks import Webhooks
from config.settings import Settings

Facilities = frozenset[str] | None
"""Codes of those that the caller may count; None for all."""

_PUSHED: Final = text("""
SELECT name, count(*) FILTER (WHERE state = 'waiting') AS waiting,
       coalesce(bool_or(state = 'waiting' AND tries > 0), false) AS failing,
       min(made_at) FILTER (WHERE state = 'waiting') AS oldest,
       coalesce(max(error) FILTER (WHERE state = 'waiting'), '') AS error,
       count(*) FILTER (WHERE state = 'given_up') AS failed,
       count(*) FILTER (WHERE state = 'given_up' AND ended_at > :recently) AS failed_lately,
       max(ended_at) FILTER (WHERE state = 'taken') AS last_at
  FROM figure_pushed GROUP BY name ORDER BY name
""")
# Both come from partial indexes: the log has a year of messages, of which few are open or failed.
_HL7: Final = text("""
WITH open AS (
    SELECT direction, peer AS name, count(*) AS waiting, min(received_at) AS oldest
      FROM hl7_message WHERE state IN ('received', 'waiting') GROUP BY 1, 2
), troubled AS (
    SELECT direction, peer AS name, count(*) AS failed, count(*) FILTER (WHERE done_at > :recently) AS failed_lately
      FROM hl7_message WHERE state IN ('refused', 'set_aside') GROUP BY 1, 2
)
SELECT direction, name, coalesce(waiting, 0) AS waiting, oldest, coalesce(failed, 0) AS failed,
       coalesce(failed_lately, 0) AS failed_lately, coalesce(failures, 0) AS failures,
       coalesce(paused, false) AS paused, coalesce(error, '') AS error, last_at
  FROM hl7_peer FULL JOIN open USING (direction, name) FULL JOIN troubled USING (direction, name)
 ORDER BY 1, 2
""")


@dataclass(frozen=True, slots=True)
class MessageQueue:
    """A queue of HL7 messages, of changes (webhooks) or of figures that are pushed."""

    name: str
    kind: Literal["hl7_in", "hl7_out", "webhook", "push"]
    waiting: int
    failing: bool
    """What was tried last did not get through."""
    oldest: datetime | None
    """When the oldest one that waits came into the queue."""
    error: str
    failed: int = 0
    """Refused, set aside or given up."""
    failed_lately: int = 0
    """Of these, those within the hours of the settings."""
    last_at: datetime | None = None
    """When a message last came or got through."""
    paused: bool = False
    listed: bool = True
    """Whether the settings have it, and have it enabled."""
    facilities: tuple[str, ...] = ()
    """Whose messages they are; empty for those of all."""


class Queues:
    """Reads them. Methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._webhooks = Webhooks(engine, settings.webhooks)

    def listed(self, facilities: Facilities = None) -> list[MessageQueue]:
        """Of these facilities alone, or all."""
        hooks = [
            MessageQueue(
                *(each.name, "webhook", each.waiting, each.failures > 0, each.oldest, each.error),
                last_at=each.delivered_at,
                paused=each.state == "paused",
            )
            for each in self._webhooks.list()
        ]
        found = [*self._hl7(), *hooks, *self._pushed()]
        return [
            each for each in found if facilities is None or (each.facilities and facilities.issuperset(each.facilities))
        ]

    def _pushed(self) -> list[MessageQueue]:
        return [
            MessageQueue(
                *(row.name, "push", row.waiting, row.failing, row.oldest, row.error),
                *(row.failed, row.failed_lately, row.last_at),
            )
            for row in fetch(self._engine, _PUSHED, self._recently())
        ]

    def _hl7(self) -> list[MessageQueue]:
        """All partners of the settings, and those that the log has besides and something waits for."""
        listed: dict[tuple[str, str], tuple[str, ...]]
        listed = {("in", each.name): (each.facility,) for each in self._settings.hl7.senders}
        listed |= {("out", each.name): each.facilities for each in self._settings.hl7.receivers if each.enabled}
        rows = {(row.direction, row.name): row for row in fetch(self._engine, _HL7, self._recently())}
        found = []
        for key in sorted({*listed, *(key for key, row in rows.items() if row.waiting)}):
            kind: Literal["hl7_in", "hl7_out"] = "hl7_in" if key[0] == "in" else "hl7_out"
            row = rows.get(key)
            if row is None:
                found.append(MessageQueue(key[1], kind, 0, False, None, "", facilities=listed[key]))
                continue
            found.append(
                MessageQueue(
                    *(key[1], kind, row.waiting, row.failures > 0, row.oldest, row.error),
                    *(row.failed, row.failed_lately, row.last_at, row.paused),
                    listed=key in listed,
                    facilities=listed.get(key, ()),
                )
            )
        return found

    def _recently(self) -> dict[str, datetime]:
        return {"recently": datetime.now(UTC) - timedelta(hours=self._settings.figures.failed_hours)}
