"""Storage commitment as the rest of the project uses it: what peers ask of us, and what we ask of other archives."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from archive.commitment.check import Checker
from archive.commitment.listing import Listing
from archive.commitment.orders import Orders
from archive.commitment.requests import Requests
from config.services import CommitmentSettings
from storage.base import ObjectStore


class Commitments:
    """Both directions. Get it as `Archive.commitments`."""

    def __init__(self, settings: CommitmentSettings, engine: Engine, store: ObjectStore) -> None:
        self.settings = settings
        self.requests = Requests(engine)
        """Of peers to us."""
        self.orders = Orders(engine)
        """Of us to other archives."""
        self.listing = Listing(engine)
        self.listing = Listing(engine)
        """Of both, for operators."""
        self._engine = engine
        self._store = store

    def checker(self, stopping: Callable[[], bool]) -> Checker:
        """What looks at the objects of requests, for one thread."""
        return Checker(self._engine, self._store, self.requests, self.settings.read_rate, stopping)
