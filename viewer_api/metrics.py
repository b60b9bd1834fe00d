"""Numbers for Prometheus. Every application has its own registry, so that tests can make many.

Where several processes serve, each keeps its numbers in files of a folder that all of them know, and whichever is asked
tells the sums. A process that is started again goes on in the files of the one whose place it takes: counts never go
back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from archive.feed.webhooks import WebhookStatus
from archive.routing.routing import QueueState
from storage.uploader import Waiting
from viewer_api.front import Front
from viewer_api.metrics_together import together

# From a cached answer to the upload of a large study.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LATEST: Final = "mostrecent"
"""Numbers of the whole archive: those count that were asked for last, by whichever process."""
# Anyone can send any word as method; only these become labels.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """The counters of one application."""

    def __init__(self, front: Front | None = None) -> None:
        self.registry = CollectorRegistry()
        self._told = self.registry
        if front is not None and front.folder:
            self._told = together(front)
        else:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._requests = Counter(
            "pacs_http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "pacs_http_request_seconds",
            "Time from the request line to the last byte of the answer",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "pacs_http_requests_in_flight",
            "Requests being worked on",
            multiprocess_mode="sum",
            registry=self.registry,
        )
        self.in_flight.set(0)  # not those of a process that died
        self._objects = Counter(
            "pacs_stow_objects", "Objects received by STOW-RS", ("outcome",), registry=self.registry
        )
        self._bytes = Counter(
            "pacs_stow_bytes", "Bytes of the files stored by STOW-RS", ("outcome",), registry=self.registry
        )
        self._metadata_made = Counter(
            "pacs_metadata_made_ahead",
            "Instances of which metadata were made before anybody asked",
            registry=self.registry,
        )
        self.metadata_waiting = Gauge(
            "pacs_metadata_waiting_changes",
            "Changes of the feed of which the ready-made metadata of this machine do not know yet",
            multiprocess_mode=_LATEST,
            registry=self.registry,
        )
        self._queues = self._gauges(
            "forward",
            "destination",
            waiting="Objects that wait to be sent on",
            failed="Objects that were set aside because the destination does not take them",
            failing="Whether the destination cannot be reached or takes nothing",
            oldest_seconds="How long the oldest object waits to be sent on",
        )
        self._webhook_requests = Counter(
            "pacs_webhook_requests",
            "Requests of this process to webhooks",
            ("webhook", "outcome"),
            registry=self.registry,
        )
        self._webhook_changes = Counter(
            "pacs_webhook_changes", "Changes that webhooks took from this process", ("webhook",), registry=self.registry
        )
        self._webhooks = self._gauges(
            "webhook",
            "webhook",
            waiting="Changes that a webhook has not taken or passed yet",
            failing="How often in a row it took nothing",
            oldest_seconds="How long ago the oldest of these came into the feed",
            lost="Changes that were deleted because of their age before it took them",
        )
        self._spool = {
            name: Gauge(f"pacs_spool_{name}", text, multiprocess_mode=_LATEST, registry=self.registry)
            for name, text in (
                ("objects", "Objects that are stored on the local disk and wait for S3"),
                ("bytes", "Bytes of these"),
                ("oldest_seconds", "How long ago the oldest of these came"),
            )
        }
        self._commitments = self._gauges(
            "commitment",
            "direction",
            open="Storage commitment requests that are not closed",
            failing="Those of them that were tried in vain",
            failed="Those that were given up and are still kept",
            oldest_seconds="How long ago the oldest that is open came",
        )

    def _gauges(self, of: str, label: str, **about: str) -> dict[str, Gauge]:
        return {
            name: Gauge(f"pacs_{of}_{name}", text, (label,), multiprocess_mode=_LATEST, registry=self.registry)
            for name, text in about.items()
        }

    def text(self) -> bytes:
        """All numbers of the service, in the text format of Prometheus."""
        return generate_latest(self._told)

    def webhooks(self, webhooks: Iterable[WebhookStatus]) -> None:
        """Bring the numbers of all webhooks up to date, whichever process delivers to them."""
        for each in webhooks:
            if each.state in ("unlisted", "disabled"):
                continue  # nobody is to be woken for what was turned off
            numbers = {"waiting": each.waiting, "failing": each.failures, "lost": each.lost}
            for name, number in (*numbers.items(), ("oldest_seconds", _age(each.oldest))):
                self._webhooks[name].labels(each.name).set(number)

    def webhook_sent(self, webhook: str, changes: int) -> None:
        """Count a request, and the changes that were taken; none: it failed."""
        self._webhook_requests.labels(webhook, "delivered" if changes else "failed").inc()
        self._webhook_changes.labels(webhook).inc(changes)

    def commitments(self, backlog: Iterable[Any], counts: Iterable[Any]) -> None:
        """Bring the numbers of storage commitment up to date: rows of `archive.commitment.listing`."""
        failed = {each.direction: each.requests for each in counts if each.state == "failed"}
        for each in backlog:
            numbers = {"open": each.open, "failing": each.failing, "failed": failed.get(each.direction, 0)}
            for name, number in (*numbers.items(), ("oldest_seconds", _age(each.oldest))):
                self._commitments[name].labels(each.direction).set(number)

    def queues(self, queues: Iterable[QueueState]) -> None:
        """Bring the numbers of what is sent on up to date."""
        for queue in queues:
            age = _age(queue.oldest)
            numbers = {
                "waiting": queue.waiting,
                "failed": queue.failed,
                "failing": int(queue.failures > 0),
                "oldest_seconds": age,
            }
            for name, number in numbers.items():
                self._queues[name].labels(queue.ae_title).set(number)

    def spool(self, waiting: Waiting) -> None:
        """Bring the numbers of what waits for S3 up to date."""
        age = time.time() - waiting.oldest if waiting.oldest else 0.0
        numbers = {"objects": waiting.objects, "bytes": waiting.bytes, "oldest_seconds": age}
        for name, number in numbers.items():
            self._spool[name].set(number)

    def metadata_made(self, instances: int) -> None:
        """Count instances of which metadata were made ahead."""
        self._metadata_made.inc(instances)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def stored(self, outcome: str, size: int = 0) -> None:
        """Count one object that STOW-RS stored or refused (outcome ``refused``)."""
        self._objects.labels(outcome).inc()
        self._bytes.labels(outcome).inc(size)


def _age(since: datetime | None) -> float:
    """Seconds since then; 0 if there is nothing."""
    return (datetime.now(UTC) - since).total_seconds() if since else 0.0
