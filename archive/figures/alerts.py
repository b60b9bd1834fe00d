"""What somebody should look at. Each is raised and cleared by how things are: nobody has to say that it was seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.figures.queues import Facilities, MessageQueue
from archive.figures.state import MINE, State, mine
from archive.figures.watch import Length, Watch
from archive.routing.routing import Routing
from config import clock
from config.settings import Settings

AlertKind = Literal[
    "silent", "never_heard", "device_never_heard", "sender_never_heard", "sender_silent",
    "queue", "growing", "messages", "messages_failed", "backlog", "behind", "disk",
]  # fmt: skip
Level = Literal["warning", "critical"]

_SOON: Final = 30
"""Days until the disk is full from which on that is critical."""
_WEEK: Final = timedelta(days=7)
"""With what a backlog is compared: the same day of the week, for few read on Sundays."""
_BACKLOG: Final = text(f"""
SELECT facility.code,
       count(*) FILTER (WHERE final_at IS NULL AND first_image_at >= :earliest) AS unread,
       min(first_image_at) FILTER (WHERE final_at IS NULL AND first_image_at >= :earliest) AS oldest,
       count(*) FILTER (WHERE first_image_at < :then AND first_image_at >= :earliest_then
                          AND (final_at IS NULL OR final_at >= :then)) AS before
  FROM study_fact JOIN facility ON facility.id = facility_id
 WHERE (final_at IS NULL OR final_at >= :then) AND first_image_at >= :earliest_then AND {MINE}
 GROUP BY facility.code
""")
# The oldest of what each has still to do; without its row nobody has begun. What is due later is not late.
_BEHIND: Final = text("""
SELECT 'figures' AS what, least(
         (SELECT received_at FROM stored_object, feed_cursor
           WHERE stored_object.id > feed_cursor.position ORDER BY stored_object.id LIMIT 1),
         (SELECT at FROM change, figure_cursor
           WHERE change.sequence > figure_cursor.position ORDER BY change.sequence LIMIT 1),
         (SELECT min(due_at) FROM figure_dirty WHERE due_at <= now())) AS oldest
UNION ALL
SELECT 'routing', (SELECT received_at FROM stored_object, route_cursor
                    WHERE stored_object.id > route_cursor.position ORDER BY stored_object.id LIMIT 1)
UNION ALL
SELECT 'audit', (SELECT received_at FROM stored_object, audit_cursor
                  WHERE stored_object.id > audit_cursor.position ORDER BY stored_object.id LIMIT 1)
""")


@dataclass(frozen=True, slots=True)
class Alert:
    """What somebody should look at."""

    kind: AlertKind
    level: Level
    subject: str
    """Code of the facility, AE title of device or destination, name of the queue or sender, what is behind; empty for
    the whole."""
    since: datetime | None = None
    value: float | None = None
    """Hours of silence, waiting or delay; days until full; studies, images or messages, how many there are."""
    text: str = ""
    """Name of the facility, or why it failed."""
    before: float | None = None
    """Of what grows, how many there were before."""
    of: str = ""
    """Of a queue, its kind: ``forward`` or `MessageQueue.kind`."""


class Alerts:
    """Finds them. See `archive.figures.figures.Figures`."""

    def __init__(self, engine: Engine, settings: Settings, routing: Routing, state: State, watch: Watch) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = settings.figures
        self._routing = routing
        self._state = state
        self._watch = watch
        self._peers = settings.peer_book()

    def listed(self, facilities: Facilities = None, now: datetime | None = None) -> list[Alert]:
        """The worst first. Raises `IndexUnavailable`."""
        at = now or datetime.now(UTC)
        messages = self._state.messages(facilities)
        found = [
            *self._who_is_silent(at, facilities, messages),
            *self._backlog(at, facilities),
            *self._messages(at, messages),
            *self._growing(at, facilities, messages),
        ]
        if facilities is None:
            found += [*self._forwarding(at), *self._behind(at), *self._disk()]
        return sorted(found, key=lambda each: (each.level != "critical", each.kind, each.subject))

    def _who_is_silent(self, at: datetime, facilities: Facilities, messages: Iterable[MessageQueue]) -> Iterator[Alert]:
        """Facilities, then devices of those that send, then senders of HL7."""
        since = self._watch.since()
        limit = at - timedelta(hours=self._limits.never_heard_hours)
        heard = set()
        for each in self._state.facilities(facilities):
            if each.received_at is not None:
                heard.add(each.code)
                if each.silent:
                    yield Alert(
                        "silent", "critical", each.code, each.received_at, hours(at, each.received_at), each.name
                    )
            elif (listed := since.get(("facility", each.code))) is not None and listed < limit:
                yield Alert("never_heard", "warning", each.code, listed, hours(at, listed), each.name)
        for device in self._state.devices(facilities):
            listed = since.get(("device", device.ae_title))
            if device.listed and device.received_at is None and device.facility in heard and listed and listed < limit:
                told = device.description or device.facility
                yield Alert("device_never_heard", "warning", device.ae_title, listed, hours(at, listed), told)
        quiet = at - timedelta(hours=self._limits.silent_hours)
        for queue in messages:
            if queue.kind != "hl7_in" or not queue.listed:
                continue
            listed = since.get(("sender", queue.name))
            if queue.last_at is not None and queue.last_at < quiet:
                yield Alert("sender_silent", "warning", queue.name, queue.last_at, hours(at, queue.last_at))
            elif queue.last_at is None and listed is not None and listed < limit:
                yield Alert("sender_never_heard", "warning", queue.name, listed, hours(at, listed))

    def _backlog(self, at: datetime, facilities: Facilities) -> Iterator[Alert]:
        days = timedelta(days=self._limits.backlog_days)
        times = {"earliest": at - days, "then": at - _WEEK, "earliest_then": at - _WEEK - days}
        for row in fetch(self._engine, _BACKLOG, {**times, **mine(facilities)}):
            grown = row.unread > row.before * (1 + self._limits.backlog_growth)
            if row.unread >= self._limits.backlog_least and grown:
                yield Alert("backlog", "warning", row.code, row.oldest, float(row.unread), before=float(row.before))

    def _messages(self, at: datetime, messages: Iterable[MessageQueue]) -> Iterator[Alert]:
        limit = timedelta(hours=self._limits.queue_hours)
        for queue in messages:
            late = queue.oldest is not None and at - queue.oldest > limit
            if queue.waiting and (queue.failing or late):
                level: Level = "critical" if late else "warning"
                told = hours(at, queue.oldest)
                yield Alert("messages", level, queue.name, queue.oldest, told, queue.error, of=queue.kind)
            if queue.failed_lately:
                count = float(queue.failed_lately)
                yield Alert("messages_failed", "warning", queue.name, None, count, queue.error, of=queue.kind)

    def _growing(self, at: datetime, facilities: Facilities, messages: Iterable[MessageQueue]) -> Iterator[Alert]:
        """Longer in the middle of the stretch than at its beginning, and longer now than then: no single burst."""
        earlier = self._watch.earlier(at)
        now = [Length(queue.kind, queue.name, queue.waiting) for queue in messages]
        if facilities is None:
            now += [Length("forward", queue.ae_title, queue.waiting) for queue in self._routing.queues()]
        for kind, name, waiting in now:
            before = earlier.get((kind, name))
            if before is None or waiting - before.first < self._limits.queue_growth:
                continue
            if before.first < before.half < waiting:
                since = at - timedelta(hours=self._limits.growth_hours)
                yield Alert("growing", "warning", name, since, float(waiting), before=float(before.first), of=kind)

    def _forwarding(self, at: datetime) -> Iterator[Alert]:
        limit = timedelta(hours=self._limits.queue_hours)
        for queue in self._routing.queues():
            if queue.failed or (queue.oldest is not None and at - queue.oldest > limit):
                level: Level = "critical" if queue.failures or queue.failed else "warning"
                told = hours(at, queue.oldest)
                yield Alert("queue", level, queue.ae_title, queue.oldest, told, queue.error, of="forward")

    def _behind(self, at: datetime) -> Iterator[Alert]:
        limit = timedelta(hours=self._limits.behind_hours)
        for row in fetch(self._engine, _BEHIND):
            if row.what == "routing" and not self._settings.routes:
                continue
            if row.oldest is not None and at - row.oldest > limit:
                yield Alert("behind", "critical", row.what, row.oldest, hours(at, row.oldest))

    def _disk(self) -> Iterator[Alert]:
        found = self._state.forecast()
        if found.full_early is None:
            return
        left = (found.full_early - clock.today()).days
        if left <= self._limits.forecast_days:
            yield Alert("disk", "critical" if left < _SOON else "warning", "", None, float(left))


def hours(at: datetime, since: datetime | None) -> Any:
    """How long ago."""
    return None if since is None else round((at - since).total_seconds() / 3600, 1)
