"""Sends indicators to other systems (LGSP, IOC), signed as webhooks are, a thread for each receiver."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from archive.background import Background, Backgrounds
from archive.core import Archive
from archive.figures.pushes import CannotPost
from archive.index_session import IndexSession
from config.figures import FigurePush
from config.logs import fields
from viewer_api.outgoing import CannotSend, Sender
from viewer_api.webhooks import signature

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
"""Seconds between two looks for something to send."""


class FigureDelivery:
    """Makes and sends the requests of one push."""

    def __init__(self, archive: Archive, push: FigurePush, interval: float = INTERVAL) -> None:
        self._archive = archive
        self._push = push
        self._interval = interval
        self._session = IndexSession(archive.settings.database, "pacs figure pushes")
        self._sender = Sender(push.url, push.timeout, push.ca_file)
        self._failing = False

    def step(self) -> float:
        """Make what is due, send one request; give the seconds until the next look. Raises `IndexUnavailable`."""
        pushes = self._archive.figures.pushes
        pushes.make_due(self._push)
        taken = pushes.deliver(self._session, self._push, self._post)
        if taken is None:
            return self._interval
        if taken and self._failing:
            log.info("figures are taken again", extra=fields(push=self._push.name))
        if not taken and not self._failing:
            log.warning("figures are not taken", extra=fields(push=self._push.name))
        self._failing = not taken
        return 0.0

    def close(self) -> None:
        """Close both connections."""
        self._sender.close()
        self._session.close()

    def _post(self, key: str, body: bytes) -> int:
        now = int(time.time())
        secrets = (self._push.secret.get_secret_value(), self._push.old_secret.get_secret_value())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "provincial-pacs",
            "Idempotency-Key": key,
            "Webhook-Id": key,
            "Webhook-Timestamp": str(now),
            "Webhook-Signature": " ".join(signature(secret, key, now, body) for secret in secrets if secret),
        }
        try:
            return self._sender.post(headers, body)
        except CannotSend as error:
            raise CannotPost(str(error)) from None


class FigurePushes(Backgrounds):
    """All pushes of the settings, as long as the ``with`` block lives."""

    def __init__(self, archive: Archive, interval: float = INTERVAL) -> None:
        pushes = [push for push in archive.settings.figures.pushes if push.enabled]
        deliveries = [FigureDelivery(archive, push, interval) for push in pushes]
        threads = [
            Background(f"figures to {push.name}", delivery.step)
            for push, delivery in zip(pushes, deliveries, strict=True)
        ]
        super().__init__(threads, partial(_close, deliveries))


def _close(deliveries: Sequence[FigureDelivery]) -> None:
    for delivery in deliveries:
        delivery.close()
