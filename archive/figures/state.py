"""How things stand now: live counters, backlog, storage, devices and queues."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.figures.forecast import Forecast, forecast
from archive.figures.queues import Facilities, MessageQueue, Queues
from archive.routing.routing import QueueState, Routing
from config import clock
from config.peers import PeerBook
from config.settings import Settings

MINE: Final = "(CAST(:facilities AS text[]) IS NULL OR facility.code = ANY(:facilities))"
"""Whether ``facility`` is one of those that are counted; see `mine`."""
_NOW: Final = text(f"""
SELECT (SELECT coalesce(sum(studies), 0) FROM study_sum JOIN facility ON facility.id = facility_id
         WHERE cube = 1 AND day = :today AND {MINE})::bigint AS studies_today,
       arrived.*, reports.*, unread.*, looked.*
  FROM (SELECT count(*) AS arrived_today, coalesce(sum(instances), 0)::bigint AS images_today,
               coalesce(sum(bytes), 0)::bigint AS bytes_today, count(DISTINCT person_id) AS patients_today,
               count(*) FILTER (WHERE first_image_at >= now() - interval '1 hour') AS arrived_last_hour,
               count(DISTINCT facility_id) AS facilities_today
          FROM study_fact JOIN facility ON facility.id = facility_id
         WHERE first_image_at >= :midnight AND {MINE}) AS arrived,
       (SELECT count(*) AS reported_today FROM study_fact JOIN facility ON facility.id = facility_id
         WHERE final_at >= :midnight AND {MINE}) AS reports,
       (SELECT count(*) AS unread, min(first_image_at) AS oldest_unread
          FROM study_fact JOIN facility ON facility.id = facility_id
         WHERE final_at IS NULL AND first_image_at >= :backlog AND {MINE}) AS unread,
       (SELECT count(*) AS cross_views_today FROM study_look JOIN study_fact USING (study_id)
          JOIN facility ON facility.id = study_fact.facility_id WHERE looked_at >= :today AND {MINE}) AS looked
""")
_LAST_IMAGE: Final = text(f"""
SELECT facility.code, facility.name, facility.district, last.received_at FROM facility
  CROSS JOIN LATERAL (SELECT max(received_at) AS received_at FROM figure_source
                       WHERE figure_source.facility_id = facility.id) AS last
 WHERE {MINE} ORDER BY facility.code
""")
_DEVICES: Final = text(f"""
SELECT facility.code, calling_ae_title, received_at FROM figure_source JOIN facility ON facility.id = facility_id
 WHERE {MINE} ORDER BY 1, 2
""")
# Backlog at the end of a day: what had come, without what had been read. All in one pass over those that matter.
_BACKLOG: Final = text(f"""
SELECT day::date AS day, count(study_id) AS unread
  FROM generate_series(CAST(:since AS timestamptz), CAST(:until AS timestamptz), interval '1 day') AS day
  LEFT JOIN (SELECT study_id, first_image_at, final_at FROM study_fact JOIN facility ON facility.id = facility_id
              WHERE (final_at IS NULL OR final_at >= CAST(:since AS timestamptz))
                AND first_image_at >= CAST(:earliest AS timestamptz) AND {MINE}) AS open
    ON first_image_at < day + interval '1 day' AND first_image_at >= day - make_interval(days => :days)
   AND (final_at IS NULL OR final_at >= day + interval '1 day')
 GROUP BY day ORDER BY day
""")


@dataclass(frozen=True, slots=True)
class Now:
    """Live counters; of the facilities that were asked about. "Today" is that of the hospitals."""

    as_of: datetime
    studies_today: int
    """Whose date is today."""
    arrived_today: int
    """Whose first image came today."""
    arrived_last_hour: int
    images_today: int
    bytes_today: int
    patients_today: int
    facilities_today: int
    """How many facilities have sent something today."""
    reported_today: int
    unread: int
    """The backlog: without a signed report, and arrived within the days of the settings."""
    oldest_unread: datetime | None
    cross_views_today: int


@dataclass(frozen=True, slots=True)
class FacilityState:
    """When a facility was last heard of."""

    code: str
    name: str
    district: str
    received_at: datetime | None
    """When its last image came; None if none ever has."""
    silent: bool
    """For longer than the settings say, though it has sent before."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device, PACS or gateway that sends, or is listed as a peer that may."""

    ae_title: str
    facility: str
    description: str
    received_at: datetime | None
    listed: bool


@dataclass(frozen=True, slots=True)
class Gateways:
    """Who sends, and what waits to be sent on."""

    facilities: list[FacilityState]
    devices: list[Device]
    forwarding: list[QueueState] = field(default_factory=list)
    """Empty for who may not see the whole province."""
    messages: list[MessageQueue] = field(default_factory=list)
    """Of some facilities, only those that are theirs alone."""


class State:
    """See `archive.figures.figures.Figures`."""

    def __init__(self, engine: Engine, settings: Settings, routing: Routing, peers: PeerBook) -> None:
        self._engine = engine
        self._settings = settings
        self._routing = routing
        self._queues = Queues(engine, settings)
        self._peers = peers

    def now(self, facilities: Facilities = None) -> Now:
        """Live counters. Raises `IndexUnavailable`."""
        today = clock.today()
        at = datetime.now(UTC)
        given = {
            "today": today,
            "midnight": midnight(today),
            "backlog": at - timedelta(days=self._settings.figures.backlog_days),
            **mine(facilities),
        }
        (row,) = fetch(self._engine, _NOW, given)
        return Now(as_of=at, **row._mapping)

    def backlog(self, since: date, until: date, facilities: Facilities = None) -> list[tuple[date, int]]:
        """Studies without a signed report at the end of each day of [since, until]. Raises `IndexUnavailable`."""
        days = self._settings.figures.backlog_days
        first, last = midnight(since), min(midnight(until), datetime.now(UTC))
        given = {
            "since": first,
            "until": last,
            "earliest": first - timedelta(days=days),
            "days": days,
            **mine(facilities),
        }
        rows = fetch(self._engine, _BACKLOG, given)
        return [(since + timedelta(days=number), row.unread) for number, row in enumerate(rows)]

    def forecast(self) -> Forecast:
        """Storage used, and until when it lasts. Raises `IndexUnavailable`."""
        return forecast(self._engine, self._free_bytes(), self._settings.figures.capacity_bytes)

    def _free_bytes(self) -> int | None:
        if self._settings.storage.backend != "filesystem":
            return None
        try:
            free = shutil.disk_usage(self._settings.objects_dir).free
        except OSError:
            return None
        return max(0, free - self._settings.storage.minimum_free_bytes)

    def gateways(self, facilities: Facilities = None) -> Gateways:
        """Who was heard of when, and queues. Raises `IndexUnavailable`."""
        queues = self._routing.queues() if facilities is None else []
        return Gateways(self.facilities(facilities), self.devices(facilities), queues, self.messages(facilities))

    def devices(self, facilities: Facilities = None) -> list[Device]:
        """Those that have sent, and peers that may. Raises `IndexUnavailable`."""
        heard = fetch(self._engine, _DEVICES, mine(facilities))
        found = {(row.code, row.calling_ae_title): row.received_at for row in heard}
        listed = {
            (peer.facility, peer.ae_title): peer
            for peer in self._peers.listed
            if peer.may("store") and (facilities is None or peer.facility in facilities)
        }
        return [
            Device(
                ae_title=key[1],
                facility=key[0],
                description=listed[key].description if key in listed else "",
                received_at=found.get(key),
                listed=key in listed,
            )
            for key in sorted({*found, *listed})
        ]

    def messages(self, facilities: Facilities = None) -> list[MessageQueue]:
        """Queues of messages: HL7 by partner, webhooks, pushes. Raises `IndexUnavailable`."""
        return self._queues.listed(facilities)

    def facilities(self, facilities: Facilities = None) -> list[FacilityState]:
        """When each facility was last heard of. Raises `IndexUnavailable`."""
        limit = datetime.now(UTC) - timedelta(hours=self._settings.figures.silent_hours)
        return [
            FacilityState(
                row.code,
                row.name,
                row.district,
                row.received_at,
                silent=row.received_at is not None and row.received_at < limit,
            )
            for row in fetch(self._engine, _LAST_IMAGE, mine(facilities))
            if row.code in self._peers.facilities and (row.code != "UNKNOWN" or row.received_at)
        ]


def midnight(day: date) -> datetime:
    """The beginning of a day in the hospitals."""
    return datetime.combine(day, time(), clock.VIETNAM)


def mine(facilities: Facilities) -> dict[str, Any]:
    """The parameter of `MINE`."""
    codes: Sequence[str] | None = None if facilities is None else sorted(facilities)
    return {"facilities": codes}
