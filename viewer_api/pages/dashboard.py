"""The dashboard at ``/dashboard``: what the province's imaging does, on a wall, a desk or a phone.

Everything is in tables made here; the script draws charts of them and keeps the live numbers up to date. The address
holds the stretch of time and what it is narrowed down to, never a patient.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import ArchiveError
from archive.figures.alerts import Alert
from archive.figures.question import By, Measure
from archive.figures.state import Gateways
from archive.people.roles import Right
from config import clock
from viewer_api.audited import who
from viewer_api.charts import script_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.dashboard_numbers import NOTHING, Numbers
from viewer_api.pages.dashboard_panels import Panel, Panels, Tile, body_part, modality_name
from viewer_api.pages.dashboard_wanted import NARROWING, RANGES, Wanted, read
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.pages.study_rows import facility_name

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.STATISTICS)])

LIVE_SECONDS: Final = 5.0
"""Between two events."""
_EVENTS: Final = 24
"""Of one stream; then the browser asks again, and is asked again who it is."""
_CHOICES: Final = (By.FACILITY, By.MODALITY, By.DISTRICT, By.CARE_LEVEL)
"""What can be chosen from a list; the rest comes by clicking."""
_DEVICES: Final = 40
_STATIONS: Final = 5
"""Silent stations that are told one by one."""
Facilities = frozenset[str] | None


class Choice(NamedTuple):
    """What the page can be narrowed down by."""

    name: str
    label: str
    value: str
    options: list[tuple[str, str]]


class Narrowed(NamedTuple):
    """What it is narrowed down to."""

    label: str
    value: str
    without: str
    """Where it is seen without."""


class Line(NamedTuple):
    """A facility, device or queue, and when it was heard of."""

    name: str
    place: str
    moment: str
    ago: str
    state: str
    """``good``, ``warning`` or ``critical``."""
    word: str
    """The state as a word."""


class Queue(NamedTuple):
    """A queue, and how it stands."""

    name: str
    kind: str
    waiting: str
    oldest: str
    failed: str
    last: str
    state: str
    word: str


class Notice(NamedTuple):
    """An alert as text."""

    level: str
    text: str
    advice: str
    """What to do."""
    kind: str


@router.get("/dashboard")
def dashboard(request: Request, archive: ArchiveDep) -> Response:
    """All panels."""
    text = texts(language_of(request))
    facilities = known_caller(request).rights[Right.STATISTICS]
    wanted = read(request.query_params, clock.today())
    archive.looks.note(AuditEvent(Action.SEARCH, who(request), detail={"what": "dashboard"}), about="dashboard")
    stands = archive.figures.recent.gateways(facilities)
    panels = Panels(archive, wanted, facilities, text, partial(facility_name, archive))
    return page(
        request,
        "dashboard.html",
        wanted=wanted,
        ranges=[(name, text(f"dash_range_{name}"), wanted.over(name, clock.today()).address()) for name in RANGES],
        last=wanted.until - timedelta(days=1),
        choices=_choices(archive, wanted, facilities, text),
        narrowed=_narrowed(archive, wanted, text),
        live=_live_tiles(archive, facilities, text),
        tiles=panels.tiles(),
        panels=_panels(panels, facilities),
        notices=_notices(archive, facilities, text),
        lines=_lines(stands, text),
        devices=_devices(archive, stands, text),
        queues=_queues(stands, text),
        printed=f"{clock.now():%H:%M %d/%m/%Y}",
        chart_script=script_of(archive.settings.viewer_dir),
        wall_address=_with_wall(wanted, wall=not wanted.wall),
        plain_address=wanted.address(),
    )


@router.get("/dashboard/live")
async def live(request: Request, archive: ArchiveDep) -> Response:
    """Live counters as server-sent events, for some minutes; the browser then asks again."""
    text = texts(language_of(request))
    facilities = known_caller(request).rights[Right.STATISTICS]
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(request, archive, facilities, text), headers=headers, media_type="text/event-stream"
    )


async def _events(request: Request, archive: Archive, facilities: Facilities, text: Texts) -> AsyncIterator[bytes]:
    yield b"retry: 3000\n\n"
    listeners = request.app.state.listeners
    for _ in range(_EVENTS):
        try:
            tiles = await run_sync(_live_tiles, archive, facilities, text)
        except ArchiveError:
            return
        body = {"at": f"{clock.now():%H:%M:%S}", "tiles": [asdict(tile) for tile in tiles]}
        yield b"data: " + orjson.dumps(body) + b"\n\n"
        for _ in range(int(LIVE_SECONDS * 2)):
            if listeners.stopping or await request.is_disconnected():
                return
            await anyio.sleep(0.5)


def _panels(panels: Panels, facilities: Facilities) -> list[Panel]:
    made = [
        panels.trend(),
        panels.facilities(),
        panels.heat(),
        panels.modalities(),
        panels.turnaround(),
        panels.backlog(),
        panels.filmless(),
        panels.districts(),
        panels.repeated(),
        panels.body_parts(),
    ]
    return [*made, panels.storage()] if facilities is None else made


def _live_tiles(archive: Archive, facilities: Facilities, text: Texts) -> list[Tile]:
    numbers, now = Numbers(text), archive.figures.recent.now(facilities)
    values: tuple[tuple[str, Any, str], ...] = (
        ("studies_today", now.studies_today, ""),
        ("arrived_last_hour", now.arrived_last_hour, ""),
        ("reported_today", now.reported_today, ""),
        ("unread_now", now.unread, text("dash_oldest", ago=numbers.ago(now.oldest_unread)) if now.unread else ""),
        ("images_today", now.images_today, numbers.size(now.bytes_today)),
        ("patients_today", now.patients_today, ""),
        ("facilities_today", now.facilities_today, ""),
        ("cross_views_today", now.cross_views_today, ""),
    )
    return [Tile(name, text(f"dash_{name}"), numbers.count(value), note) for name, value, note in values]


def _choices(archive: Archive, wanted: Wanted, facilities: Facilities, text: Texts) -> list[Choice]:
    """Lists of what there is: facilities by name, the rest by what was counted."""
    places = [each for each in archive.peers.facilities.values() if facilities is None or each.code in facilities]
    found: dict[By, list[tuple[str, str]]] = {
        By.FACILITY: sorted(((each.code, each.name) for each in places), key=lambda each: each[1]),
        By.DISTRICT: [(name, name) for name in sorted({each.district for each in places if each.district})],
        By.CARE_LEVEL: [
            (level, text(f"dash_level_{level}"))
            for level in ("specialised", "basic", "primary")
            if any(each.care_level == level for each in places)
        ],
        By.MODALITY: [
            (str(row[0]), modality_name(str(row[0]), text))
            for row in archive.figures.recent.ask(
                wanted.widened(By.MODALITY).question(facilities, (Measure.STUDIES,), (By.MODALITY,))
            ).rows
            if row[0]
        ],
    }
    return [
        Choice(name.value, text(f"dash_by_{name.value}"), wanted.where.get(name, ""), found[name]) for name in _CHOICES
    ]


def _narrowed(archive: Archive, wanted: Wanted, text: Texts) -> list[Narrowed]:
    shown = []
    for name in NARROWING:
        if (value := wanted.where.get(name)) is None:
            continue
        known = facility_name(archive, value) if name is By.FACILITY else value
        if name is By.CARE_LEVEL:
            known = text.get(f"dash_level_{value}") or value
        elif name is By.BODY_PART:
            known = body_part(value, text)
        elif name is By.MODALITY:
            known = modality_name(value, text)
        shown.append(Narrowed(text(f"dash_by_{name.value}"), known, wanted.widened(name).address()))
    return shown


def _with_wall(wanted: Wanted, *, wall: bool) -> str:
    return Wanted(wanted.since, wanted.until, wanted.range, wanted.where, wall).address()


# -- how things stand ------------------------------------------------------------------------------------------------


def _notices(archive: Archive, facilities: Facilities, text: Texts) -> list[Notice]:
    """Alerts as text; of many stations that are silent, for some have no patient every day, one line tells."""
    numbers, places = Numbers(text), archive.peers.facilities
    shown: list[Alert] = []
    stations: dict[str, list[Alert]] = {"silent": [], "never_heard": []}
    for alert in archive.figures.recent.alerts(facilities):
        place = places.get(alert.subject)
        small = alert.kind in stations and place is not None and place.care_level == "primary"
        (stations[alert.kind] if small else shown).append(alert)
    told = []
    for kind, found in stations.items():
        if len(found) <= _STATIONS:
            shown += found
        else:
            said = text(f"dash_stations_{kind}", count=numbers.count(len(found)))
            told.append(Notice("warning", said, text(f"dash_do_{kind}"), kind))
    return [_notice(alert, archive, text, numbers) for alert in shown] + told


def _notice(alert: Alert, archive: Archive, text: Texts, numbers: Numbers) -> Notice:
    name = alert.subject
    if alert.kind in ("silent", "never_heard", "backlog"):
        name = facility_name(archive, name)
    elif alert.kind == "behind":
        name = text(f"dash_part_{name}")
    if alert.of:
        name = text(f"dash_queue_{alert.of}", name=name)
    hours = alert.value if alert.value is None else alert.value * 60
    values = {
        "name": name,
        "time": numbers.minutes(hours),
        "count": numbers.count(alert.value),
        "before": numbers.count(alert.before),
        "span": numbers.minutes(archive.settings.figures.growth_hours * 60),
    }
    said = text(f"dash_alert_{alert.kind}", **values)
    if alert.text and alert.kind in ("queue", "messages", "messages_failed", "device_never_heard"):
        said = f"{said} ({alert.text})"
    return Notice(alert.level, said, text(f"dash_do_{alert.kind}"), alert.kind)


def _lines(stands: Gateways, text: Texts) -> list[Line]:
    """Facilities, those first of which nothing was heard for long."""
    numbers = Numbers(text)
    lines = []
    for each in stands.facilities:
        state = "critical" if each.silent else "good" if each.received_at else "warning"
        moment, ago = numbers.moment(each.received_at), numbers.ago(each.received_at)
        lines.append(Line(each.name, each.district, moment, ago, state, text(f"dash_state_{state}")))
    return sorted(lines, key=lambda line: (line.state == "good", line.state == "warning", line.name))


def _devices(archive: Archive, stands: Gateways, text: Texts) -> list[Line]:
    """Gateways and devices, those first that have sent."""
    numbers = Numbers(text)
    lines = [
        Line(
            each.ae_title,
            each.description or facility_name(archive, each.facility),
            numbers.moment(each.received_at),
            numbers.ago(each.received_at),
            "good" if each.received_at else "warning",
            text("dash_state_good" if each.received_at else "dash_state_warning"),
        )
        for each in sorted(stands.devices, key=lambda each: (each.received_at is None, each.ae_title))
        if each.listed
    ]
    return lines[:_DEVICES]


def _queues(stands: Gateways, text: Texts) -> list[Queue]:
    """Where images are sent on to, then HL7 by partner, webhooks and pushes."""
    numbers = Numbers(text)
    forwarding = [
        Queue(
            queue.ae_title,
            text("dash_kind_forward"),
            numbers.count(queue.waiting),
            numbers.ago(queue.oldest) if queue.waiting else NOTHING,
            numbers.count(queue.failed),
            numbers.moment(queue.sent_at),
            *_queue_state(text, failed=queue.failed, failing=queue.failures > 0, paused=queue.state == "paused"),
        )
        for queue in stands.forwarding
    ]
    messages = [
        Queue(
            each.name,
            text(f"dash_kind_{each.kind}"),
            numbers.count(each.waiting),
            numbers.ago(each.oldest) if each.waiting else NOTHING,
            numbers.count(each.failed),
            numbers.moment(each.last_at),
            *_queue_state(text, failed=each.failed_lately, failing=each.failing, paused=each.paused),
        )
        for each in stands.messages
    ]
    return [*forwarding, *messages]


def _queue_state(text: Texts, *, failed: int, failing: bool, paused: bool) -> tuple[str, str]:
    """Colour and word."""
    if failed:
        return "critical", text("dash_queue_failed")
    if failing:
        return "warning", text("dash_queue_failing")
    return ("warning", text("dash_queue_paused")) if paused else ("good", text("dash_state_good"))
