"""A node that sends on, in this process, and what its destinations got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from archive.core import Archive
from archive.routing.routing import QueueState
from config.peers import Peer
from config.routes import ForwardSettings, Route
from config.settings import Settings
from dicom_node.forward import Forwarder
from tests.integration.dicom_node.running import wait_until

QUICK = 0.05
"""Seconds between two looks at the queues."""


def with_routes(settings: Settings, *parts: Peer | Route, **forward: Any) -> Settings:
    """The settings with more peers and routes; destinations are tried again soon."""
    changes: Mapping[str, Any] = {
        "peers": (*settings.peers, *(part for part in parts if isinstance(part, Peer))),
        "routes": tuple(part for part in parts if isinstance(part, Route)),
        "forward": ForwardSettings(**{"first_wait": 0.05, "longest_wait": 0.2, **forward}),
    }
    return Settings.model_validate({**settings.model_dump(), **{key: changes[key] for key in changes}})


@contextmanager
def forwarding(settings: Settings) -> Iterator[Archive]:
    """An open archive of which objects are sent on."""
    with Archive.open(settings) as archive, Forwarder(archive, QUICK):
        yield archive


def queue(archive: Archive, destination: str = "VIEWER") -> QueueState:
    return next(state for state in archive.routing.queues() if state.ae_title == destination)


def wait_until_empty(archive: Archive, destination: str = "VIEWER", patience: float = 120) -> None:
    """Until nothing waits for the destination."""

    def empty() -> bool:
        if not caught_up(archive):
            return False
        state = queue(archive, destination)
        return state.waiting == 0 and state.gathering == 0

    wait_until(empty, f"nothing waits for {destination}", patience)


def caught_up(archive: Archive) -> bool:
    """All objects of the index have been held against the routes."""
    from tests.integration.dicom_node.running import sql

    rows = sql(
        archive.settings,
        "SELECT 1 FROM route_cursor WHERE position < (SELECT coalesce(max(id), 0) FROM stored_object)",
    )
    return not rows
