"""The change feed, and the webhooks that get it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.peers import View
from config.receivers import Subscriber
from config.routes import QUIET, FacilityCode
from config.section import Section

ChangeKind = Literal["stored", "replaced", "hidden", "shown", "corrected", "complete"]


class FeedSettings(Section):
    """What the feed tells, and for how long."""

    quiet: float = Field(default=QUIET, gt=0)
    """Seconds without a new object after which a study is told to be complete."""
    keep_days: float = Field(default=14, gt=0)
    """Days after which a change is deleted from the feed."""
    most_listeners: int = Field(default=200, ge=1)
    """Requests of one web process that wait for changes at the same time, streams among them."""
    first_wait: float = Field(default=5, gt=0)
    """Seconds until a webhook that failed is tried again; doubled each time, up to `longest_wait`."""
    longest_wait: float = Field(default=900, gt=0)


class Webhook(Subscriber):
    """A receiver that changes are sent to, in order, until it has taken each."""

    kinds: tuple[ChangeKind, ...] = ()
    """All when empty."""
    facilities: tuple[FacilityCode, ...] = ()
    """Codes of the facilities that own the studies; all when empty."""
    view: View = "clinical"
    most: int = Field(default=100, ge=1, le=1000)
    """Changes in one request."""
