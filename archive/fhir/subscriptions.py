"""Subscriptions: made, read and ended; and what the next notification of each is (FHIR R4, subscription.html).

A subscription follows the change feed (ImagingStudy) or the events of reports (DiagnosticReport); both have numbers
that appear in their order, so one number is all that has to be remembered. What it may tell of is found anew for each
notification, by the same search that its criteria would be: a study that was hidden or withdrawn is not told of.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from psycopg.rows import class_row
from sqlalchemy import Engine, Row, select, text

from archive.database import change, fetch
from archive.errors import InvalidItem, InvalidQuery, NotFound
from archive.fhir import diagnostic_reports, imaging_studies
from archive.fhir.context import Context
from archive.fhir.datatypes import without_empty
from archive.fhir.kind import Kind
from archive.fhir.parameters import Asking
from archive.fhir.search import Wanted, wanted
from archive.fhir.terms import Json
from archive.fhir.values import moment
from archive.index_session import Connection, IndexSession
from archive.models import Facility, Study
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.reading import Reader
from archive.records import Scope
from archive.reports.models import Report
from config.fhir import FhirReceiver, FhirSettings

PAYLOAD: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
"""Extension that says how much a notification holds (Subscriptions R5 Backport)."""
MEDIA_TYPE: Final = "application/fhir+json"
_MOST: Final = 500
_MOST_OF_ACCOUNT: Final = 50
_LONGEST_ERROR: Final = 300
_KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in (imaging_studies.KIND, diagnostic_reports.KIND)}
_LAST: Final = """
CASE kind WHEN 'ImagingStudy' THEN coalesce((SELECT last FROM feed_cursor), 0)
          ELSE coalesce((SELECT max(id) FROM report_event), 0) END
"""
_COLUMNS: Final = """
number, account_id, facilities, kind, criteria, reason, endpoint, receiver, payload, status, error, end_at, position,
until, told, failures, created_at, updated_at
"""
_ADD: Final = text(f"""
INSERT INTO fhir_subscription (number, account_id, facilities, kind, criteria, reason, endpoint, receiver, payload,
                               end_at, position)
SELECT :number, :account, CAST(:facilities AS text[]), kind, :criteria, :reason, :endpoint, :receiver, :payload,
       :end_at, {_LAST}
  FROM (SELECT CAST(:kind AS text) AS kind) AS given
 WHERE (SELECT count(*) FROM fhir_subscription WHERE account_id IS NOT DISTINCT FROM :account) < :most
ON CONFLICT DO NOTHING RETURNING number
""")
_MINE: Final = "(CAST(:everybody AS boolean) OR account_id = :account)"
_LIST: Final = text(f"SELECT {_COLUMNS} FROM fhir_subscription WHERE {_MINE} ORDER BY number")
_GET: Final = text(f"SELECT {_COLUMNS} FROM fhir_subscription WHERE number = :number AND {_MINE}")
_END: Final = text(f"DELETE FROM fhir_subscription WHERE number = :number AND {_MINE} RETURNING number")
_CLAIM: Final = f"""
UPDATE fhir_subscription SET holder = %(me)s, tried_at = now()
 WHERE id = (SELECT subscription.id FROM fhir_subscription AS subscription
              WHERE status <> 'off' AND coalesce((SELECT enabled FROM account WHERE account.id = account_id), true)
                AND (end_at IS NULL OR end_at > now())
                AND (retry_at IS NULL OR retry_at <= now()) AND position < {_LAST}
                AND (holder IS NULL OR holder = %(me)s
                     OR holder NOT IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                                        WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database =
                                              (SELECT oid FROM pg_database WHERE datname = current_database())))
              ORDER BY tried_at NULLS FIRST, subscription.id LIMIT 1 FOR UPDATE OF subscription SKIP LOCKED)
RETURNING {_COLUMNS}
"""
_STILL: Final = " WHERE number = %(number)s AND position = %(position)s AND holder = %(me)s"
_PIN: Final = f"UPDATE fhir_subscription SET until = %(until)s {_STILL}"
_TOLD: Final = f"""
UPDATE fhir_subscription SET position = %(to)s, until = NULL, holder = NULL, told = told + %(count)s, failures = 0,
       retry_at = NULL, error = '', status = 'active', updated_at = now() {_STILL}
"""
_PASSED: Final = f"UPDATE fhir_subscription SET position = %(to)s, until = NULL, holder = NULL {_STILL}"
_FAILED: Final = f"""
UPDATE fhir_subscription SET holder = NULL, failures = failures + 1, error = %(error)s, status = 'error',
       retry_at = now() + make_interval(secs => %(wait)s), updated_at = now() {_STILL}
"""
_CHANGES: Final = text("""
SELECT coalesce(max(sequence), :position) AS last,
       coalesce(array_agg(DISTINCT study_id)
                FILTER (WHERE kind IN ('complete', 'visibility', 'corrected')), '{}') AS rows
  FROM (SELECT sequence, kind, study_id FROM change WHERE sequence > :position AND sequence <= :until
         ORDER BY sequence LIMIT :most) AS batch
""")
_EVENTS: Final = text("""
SELECT coalesce(max(id), :position) AS last, coalesce(array_agg(DISTINCT report_id), '{}') AS rows
  FROM (SELECT id, report_id FROM report_event WHERE id > :position AND id <= :until ORDER BY id LIMIT :most) AS batch
""")
_FORGOTTEN: Final = text("SELECT forgotten FROM feed_cursor")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A row."""

    number: str
    account_id: int | None
    facilities: list[str] | None
    kind: str
    criteria: str
    reason: str
    endpoint: str
    receiver: str
    payload: str
    status: str
    error: str
    end_at: datetime | None
    position: int
    until: int | None
    told: int
    failures: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told: the addresses of resources. None of them means that nothing fits."""

    to: int
    resources: tuple[str, ...]
    lost: bool = False
    """Some changes were deleted for their age before they could be told."""


class Subscriptions:
    """Subscriptions for who has them. All methods raise `IndexUnavailable`."""

    def __init__(self, engine: Engine, reader: Reader, settings: FhirSettings) -> None:
        self._engine = engine
        self._reader = reader
        self._settings = settings

    def add(self, caller: Caller, given: Json) -> Subscription:
        """Make one. Raises `InvalidItem`, which names the element."""
        where = caller.rights[Right.FEED]
        endpoint, receiver, payload = self._channel(given)
        kind, criteria = _criteria(given, self._settings)
        number = str(uuid.uuid4())
        values = {
            "number": number,
            "account": caller.account,
            "facilities": None if where is None else sorted(where),
            "kind": kind,
            "criteria": criteria,
            "reason": str(given.get("reason", ""))[:_LONGEST_ERROR],
            "endpoint": endpoint,
            "receiver": receiver.name,
            "payload": payload,
            "end_at": _end(given),
            "most": _MOST_OF_ACCOUNT,
        }
        made = change(self._engine, _ADD, values, repeatable=True)
        if not made and not fetch(self._engine, _GET, _asked(caller, number)):
            raise InvalidItem.of({"Subscription": f"there are {_MOST_OF_ACCOUNT} already"})
        return self.get(caller, number)

    def get(self, caller: Caller, number: str) -> Subscription:
        """One's own. Raises `NotFound`."""
        rows = fetch(self._engine, _GET, _asked(caller, number))
        if not rows:
            raise NotFound("there is no such Subscription")
        return _subscription(rows[0])

    def of(self, caller: Caller) -> Sequence[Subscription]:
        """One's own."""
        return [_subscription(row) for row in fetch(self._engine, _LIST, _asked(caller, ""))]

    def end(self, caller: Caller, number: str) -> None:
        """Delete one's own; one that is not there is gone already."""
        change(self._engine, _END, _asked(caller, number), repeatable=True)

    def notice(self, subscription: Subscription, context: Context) -> Notice:
        """What is to be told next. Raises `IndexUnavailable`."""
        events = subscription.kind == "DiagnosticReport"
        position, lost = subscription.position, False
        if not events:
            forgotten = fetch(self._engine, _FORGOTTEN)
            lost = bool(forgotten) and forgotten[0].forgotten > position
            position = max(position, forgotten[0].forgotten if forgotten else 0)
        until = subscription.until if subscription.until is not None else (1 << 62)
        given = {"position": position, "until": until, "most": _MOST}
        row = fetch(self._engine, _EVENTS if events else _CHANGES, given)[0]
        return Notice(row.last, tuple(self._fitting(subscription, list(row.rows), context)), lost)

    def _fitting(self, subscription: Subscription, rows: Sequence[int], context: Context) -> list[str]:
        """The addresses of those resources that are as the criteria say, and of the subscription's facilities."""
        if not rows:
            return []
        facilities = None if subscription.facilities is None else frozenset(subscription.facilities)
        asking = Asking(self._reader, Scope(facilities), context)
        kind = _KINDS[subscription.kind]
        asked = _asked_by(subscription.criteria, self._settings)
        conditions = [each.condition(asking) for each in asked.terms]
        if asked.ids is not None:
            conditions.append(kind.source.by_ids(asked.ids))
        if subscription.kind == "DiagnosticReport":
            key, column = Report.number, Report.id
        else:
            key, column = Study.study_instance_uid, Study.id
        if facilities is not None:
            own = select(Facility.id).where(Facility.code.in_(sorted(facilities)))
            conditions.append(Study.facility_id.in_(own))
        statement = kind.source.statement(asking).where(column.in_(rows), *conditions).with_only_columns(key)
        found = asking.reader.fetch(asking.scope, statement.order_by(key))
        return [f"{kind.name}/{row[0]}" for row in found]

    def _channel(self, given: Json) -> tuple[str, FhirReceiver, str]:
        channel = given.get("channel")
        if given.get("resourceType") != "Subscription" or not isinstance(channel, dict):
            raise _wrong("channel", "is missing")
        if channel.get("type") != "rest-hook":
            raise _wrong("channel.type", "must be rest-hook")
        if channel.get("header"):
            raise _wrong("channel.header", "is not kept: notifications are signed")
        endpoint = str(channel.get("endpoint", ""))
        receiver = next((each for each in self._settings.receivers if each.takes(endpoint)), None)
        if receiver is None:
            raise _wrong("channel.endpoint", "is not of a receiver in the settings (fhir.receivers)")
        return endpoint, receiver, _payload(channel, receiver)


class Claims:
    """What is to be told by the process of this session. All methods raise `IndexUnavailable`."""

    def __init__(self, session: IndexSession) -> None:
        self._session = session

    def next(self) -> Subscription | None:
        """The subscription that waits longest, if something waits that nobody else is at."""

        def work(connection: Connection) -> Subscription | None:
            with connection.cursor(row_factory=class_row(Subscription)) as cursor:
                return cursor.execute(_CLAIM, {"me": self._session.writer}).fetchone()

        return self._session.run(work)

    def pin(self, subscription: Subscription, until: int) -> None:
        """Whoever tries again tells the same."""
        self._do(_PIN, subscription, until=until)

    def passed(self, subscription: Subscription, to: int) -> None:
        """Nothing up to there fits."""
        self._do(_PASSED, subscription, to=to)

    def told(self, subscription: Subscription, to: int, count: int) -> None:
        """The receiver was told of all up to there."""
        self._do(_TOLD, subscription, to=to, count=count)

    def failed(self, subscription: Subscription, error: str, wait: float) -> None:
        """To be tried again after some seconds."""
        self._do(_FAILED, subscription, error=error[:_LONGEST_ERROR], wait=wait)

    def _do(self, statement: str, subscription: Subscription, **values: Any) -> None:
        mine = {"number": subscription.number, "position": subscription.position, "me": self._session.writer}
        given = {**values, **mine}
        self._session.run(lambda connection: connection.execute(statement, given).rowcount)


def resource(found: Subscription, context: Context) -> Json:
    """The resource."""
    channel: Json = {"type": "rest-hook", "endpoint": found.endpoint}
    if found.payload != "empty":
        channel["payload"] = MEDIA_TYPE
        channel["_payload"] = {"extension": [{"url": PAYLOAD, "valueCode": found.payload}]}
    made = {
        "resourceType": "Subscription",
        "id": found.number,
        "meta": context.meta("Subscription", found.updated_at.isoformat()),
        "status": found.status,
        "end": found.end_at.isoformat() if found.end_at is not None else None,
        "reason": found.reason or "(không ghi)",
        "criteria": found.criteria,
        "error": found.error,
        "channel": channel,
    }
    return without_empty(made)


def _payload(channel: Json, receiver: FhirReceiver) -> str:
    payload = channel.get("payload")
    if payload is None:
        return "empty"
    beside = channel.get("_payload")
    extensions = beside.get("extension") if isinstance(beside, dict) else None
    listed = extensions if isinstance(extensions, list) else []
    codes = [each.get("valueCode") for each in listed if isinstance(each, dict) and each.get("url") == PAYLOAD]
    if payload != MEDIA_TYPE or codes not in (["id-only"], ["empty"]):
        raise _wrong(
            "channel.payload", f"is left out, or {MEDIA_TYPE} with {PAYLOAD} id-only: resources are never sent"
        )
    if codes == ["id-only"] and receiver.payload != "id-only":
        raise _wrong("channel.payload", "must be left out: the settings let this receiver know no ids")
    return str(codes[0])


def _criteria(given: Json, settings: FhirSettings) -> tuple[str, str]:
    criteria = str(given.get("criteria", ""))
    kind = criteria.partition("?")[0]
    if kind not in _KINDS or len(criteria) > 2000:
        raise _wrong("criteria", f"begins with one of {', '.join(_KINDS)}, and has at most 2000 characters")
    try:
        asked = _asked_by(criteria, settings)
        if asked.include or asked.revinclude:
            raise InvalidQuery("nothing can be included")
        # Values are looked at when they are asked for.
        for term in asked.terms:
            term.condition(_NOBODY)
    except InvalidQuery as error:
        raise _wrong("criteria", str(error)) from None
    return kind, criteria


def _asked_by(criteria: str, settings: FhirSettings) -> Wanted:
    kind, _, query = criteria.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    return wanted(_KINDS[kind], pairs, strict=True, count=settings.count, most=settings.most)


def _end(given: Json) -> datetime | None:
    if given.get("end") is None:
        return None
    try:
        return moment(str(given["end"])).low
    except InvalidQuery as error:
        raise _wrong("end", str(error)) from None


def _asked(caller: Caller, number: str) -> dict[str, object]:
    return {"number": number, "account": caller.account, "everybody": caller.account is None}


def _subscription(row: Row[Any]) -> Subscription:
    return Subscription(**row._mapping)


def _wrong(element: str, what: str) -> InvalidItem:
    return InvalidItem.of({element: what})


class _NoReader:
    """Finds nothing: conditions are only made to see whether they can be."""

    def fetch_anybody(self, statement: Any, *, too_slow: str = "") -> tuple[Any, ...]:
        del statement, too_slow
        return ()


_NOBODY: Final = Asking(_NoReader(), Scope(), Context(FhirSettings(), "", ""))  # type: ignore[arg-type]
