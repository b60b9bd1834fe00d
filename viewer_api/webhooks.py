"""Delivers the change feed to webhooks: each change at least once, in order, signed.

It runs in the web process, which speaks HTTP and writes the feed; DICOM nodes have nothing to do with it. Each webhook
has a thread of its own, so that a slow receiver holds up nobody else; of several web processes, the one that claims a
webhook delivers to it. What a receiver has taken is a row, so a crash costs a repetition at most.

Requests are signed as by Standard Webhooks: HMAC-SHA256 by the secret over id, timestamp and body with dots between, in
Base64 after ``v1,``. A second signature by the old secret follows while there is one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import random
import time
from typing import Final

import orjson

from archive.background import Background, Backgrounds
from archive.core import Archive
from archive.errors import Forgotten
from archive.feed.feed import Page, Wanted
from archive.feed.webhooks import Claim, Cursors
from archive.index_session import IndexSession
from archive.records import Scope
from archive.rejection.causes import View
from config.feed import Webhook
from config.logs import fields
from viewer_api.metrics import Metrics
from viewer_api.outgoing import CannotSend, Sender

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two looks for something to deliver."""
_MOST_DOUBLINGS: Final = 30


def key_of(secret: str) -> bytes:
    """The bytes of a secret: those behind ``whsec_`` in Base64, or the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            return secret.encode()
    return secret.encode()


def signature(secret: str, identifier: str, timestamp: int, body: bytes) -> str:
    """One signature of a request."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()


class Delivery:
    """Delivers to one webhook."""

    def __init__(self, archive: Archive, webhook: Webhook, cursors: Cursors, interval: float, metrics: Metrics) -> None:
        self._metrics = metrics
        self._archive = archive
        self._webhook = webhook
        self._cursors = cursors
        self._interval = interval
        self._wanted = Wanted(webhook.kinds, webhook.facilities, Scope(view=View(webhook.view)))
        self._sender = Sender(webhook.url, webhook.timeout, webhook.ca_file)

    def step(self) -> float:
        """Deliver one batch if there is one; give the seconds until the next look. Raises `IndexUnavailable`."""
        claim = self._cursors.claim(self._webhook.name)
        if claim is None:
            return self._interval
        try:
            page = self._archive.feed.read(claim.position, self._wanted, self._webhook.most, claim.until)
        except Forgotten:
            log.error("changes were deleted before a webhook took them", extra=fields(webhook=claim.name))
            self._cursors.lose(claim)
            return 0
        if not page.changes:
            self._cursors.passed(claim, page.next)
            return 0
        self._cursors.pin(claim, page.next)
        self._settle(claim, page, self._post(claim, page))
        return 0

    def close(self) -> None:
        """Close the connection."""
        self._sender.close()

    def _post(self, claim: Claim, page: Page) -> str:
        """Send; give what went wrong, or nothing."""
        body = orjson.dumps(
            {
                "webhook": claim.name,
                "since": claim.position,
                "next": page.next,
                "lost": claim.lost,
                "changes": [change.to_json() for change in page.changes],
            }
        )
        identifier, now = f"{claim.name}.{claim.position}.{page.next}", int(time.time())
        secrets = (self._webhook.secret, self._webhook.old_secret)
        signatures = [
            signature(secret.get_secret_value(), identifier, now, body)
            for secret in secrets
            if secret.get_secret_value()
        ]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "provincial-pacs",
            "Webhook-Id": identifier,
            "Webhook-Timestamp": str(now),
            "Webhook-Signature": " ".join(signatures),
        }
        try:
            status = self._sender.post(headers, body)
        except CannotSend as error:
            return str(error)
        return "" if 200 <= status < 300 else f"answered with status {status}"

    def _settle(self, claim: Claim, page: Page, error: str) -> None:
        about = {"webhook": claim.name, "failures": claim.failures}
        self._metrics.webhook_sent(claim.name, 0 if error else len(page.changes))
        if not error:
            self._cursors.taken(claim, page.next)
            if claim.failures:
                log.info("a webhook takes changes again", extra=fields(**about))
            return
        settings = self._archive.settings.feed
        wait = min(settings.longest_wait, settings.first_wait * 2 ** min(claim.failures, _MOST_DOUBLINGS))
        # Not all at once when a receiver of many comes back.
        self._cursors.failed(claim, error, wait * random.uniform(0.5, 1))  # noqa: S311
        if not claim.failures:
            log.warning("a webhook does not take changes", extra=fields(**about, error=error))


class WebhookDelivery(Backgrounds):
    """All webhooks of the settings; delivers as long as the ``with`` block lives. Raises `IndexUnavailable`."""

    def __init__(self, archive: Archive, interval: float = INTERVAL, metrics: Metrics | None = None) -> None:
        self._session = IndexSession(archive.settings.database, "pacs webhooks")
        cursors = Cursors(self._session)
        webhooks = [webhook for webhook in archive.settings.webhooks if webhook.enabled]
        counters = metrics or Metrics()
        self._deliveries = [Delivery(archive, webhook, cursors, interval, counters) for webhook in webhooks]
        threads = [
            Background(f"webhook {webhook.name}", delivery.step)
            for webhook, delivery in zip(webhooks, self._deliveries, strict=True)
        ]
        super().__init__(threads, self._end)
        try:
            if webhooks:
                cursors.begin([webhook.name for webhook in webhooks])
        except BaseException:
            self._session.close()
            raise

    def _end(self) -> None:
        for delivery in self._deliveries:
            delivery.close()
        self._session.close()
