"""Notifies the receivers of Subscriptions: at least once, in order, signed as webhooks are.

No value of a patient is ever sent: a notification is empty, or names resources, which the receiver reads with a token
of its own. What was told is a row; a process that is killed costs a repetition at most.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from types import TracebackType
from typing import Final, Self

import orjson

from archive.background import Background
from archive.core import Archive
from archive.fhir.context import Context
from archive.fhir.subscriptions import MEDIA_TYPE, Claims, Notice, Subscription
from archive.fhir.terms import Json
from archive.index_session import IndexSession
from config.fhir import FhirReceiver
from config.logs import fields
from viewer_api.fhir.answers import ROOT, now
from viewer_api.outgoing import CannotSend, Sender
from viewer_api.webhooks import signature

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two looks for something to tell."""
_MOST_DOUBLINGS: Final = 30
_UNLISTED: Final = "its receiver is not in the settings any more"


class Notifier:
    """Notifies as long as the ``with`` block lives."""

    def __init__(self, archive: Archive, interval: float = INTERVAL) -> None:
        self._archive = archive
        self._interval = interval
        self._session = IndexSession(archive.settings.database, "pacs fhir subscriptions")
        self._claims = Claims(self._session)
        self._receivers = {each.name: each for each in archive.settings.fhir.receivers}
        self._senders: dict[str, Sender] = {}
        self._thread = Background("fhir subscriptions", self.step)

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._thread.__exit__(exc_type, exc, tb)
        for sender in self._senders.values():
            sender.close()
        self._session.close()

    def step(self) -> float:
        """Tell one subscription what waits for it; give the seconds until the next look. Raises `IndexUnavailable`."""
        subscription = self._claims.next()
        if subscription is None:
            return self._interval
        site = self._archive.settings.web.public_url.rstrip("/")
        context = self._archive.fhir.context(site + ROOT, site)
        notice = self._archive.fhir.subscriptions.notice(subscription, context)
        if notice.lost:
            log.error("changes were deleted before a subscription took them", extra=fields(**_about(subscription)))
        if not notice.resources:
            self._claims.passed(subscription, notice.to)
            return 0
        self._claims.pin(subscription, notice.to)
        self._settle(subscription, notice, self._post(subscription, notice, context))
        return 0

    def _post(self, subscription: Subscription, notice: Notice, context: Context) -> str:
        """Send; give what went wrong, or nothing."""
        receiver = self._receivers.get(subscription.receiver)
        if receiver is None or not receiver.takes(subscription.endpoint):
            return _UNLISTED
        # What the settings allow now counts, not what they did.
        id_only = subscription.payload == "id-only" == receiver.payload
        body = orjson.dumps(bundle(subscription, notice, context)) if id_only else b""
        identifier, at = f"{subscription.number}.{subscription.position}.{notice.to}", int(time.time())
        headers = {
            "User-Agent": "provincial-pacs",
            "Webhook-Id": identifier,
            "Webhook-Timestamp": str(at),
            "Webhook-Signature": signature(receiver.secret.get_secret_value(), identifier, at, body),
            **({"Content-Type": MEDIA_TYPE} if body else {}),
        }
        try:
            status = self._sender(subscription.endpoint, receiver).post(headers, body)
        except CannotSend as error:
            return str(error)
        return "" if 200 <= status < 300 else f"answered with status {status}"

    def _sender(self, endpoint: str, receiver: FhirReceiver) -> Sender:
        if endpoint not in self._senders:
            self._senders[endpoint] = Sender(endpoint, receiver.timeout, receiver.ca_file)
        return self._senders[endpoint]

    def _settle(self, subscription: Subscription, notice: Notice, error: str) -> None:
        if not error:
            self._claims.told(subscription, notice.to, len(notice.resources))
            return
        feed = self._archive.settings.feed
        wait = min(feed.longest_wait, feed.first_wait * 2 ** min(subscription.failures, _MOST_DOUBLINGS))
        # Not all at once when a receiver of many comes back.
        self._claims.failed(subscription, error, wait * random.uniform(0.5, 1))  # noqa: S311
        if not subscription.failures:
            log.warning("a subscription cannot be notified", extra=fields(**_about(subscription), error=error))


def bundle(subscription: Subscription, notice: Notice, context: Context) -> Json:
    """A notification with ids only, in the form of Subscriptions R5 Backport for R4."""
    address = f"{context.base}/Subscription/{subscription.number}"
    events = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": str(subscription.told + number)},
                {"name": "focus", "valueReference": {"reference": f"{context.base}/{each}"}},
            ],
        }
        for number, each in enumerate(notice.resources, 1)
    ]
    status = {
        "resourceType": "Parameters",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{address}/{notice.to}")),
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": address}},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": "event-notification"},
            {"name": "events-since-subscription-start", "valueString": str(subscription.told + len(notice.resources))},
            *events,
        ],
    }
    head = {
        "fullUrl": f"urn:uuid:{status['id']}",
        "resource": status,
        "request": {"method": "GET", "url": f"{address}/$status"},
        "response": {"status": "200"},
    }
    others = [
        {
            "fullUrl": f"{context.base}/{each}",
            "request": {"method": "GET", "url": each},
            "response": {"status": "200"},
        }
        for each in notice.resources
    ]
    return {"resourceType": "Bundle", "type": "history", "timestamp": now(), "entry": [head, *others]}


def _about(subscription: Subscription) -> dict[str, object]:
    return {"subscription": subscription.number, "receiver": subscription.receiver, "failures": subscription.failures}
