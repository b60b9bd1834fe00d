"""The figures, for pages, programs and exports: what is asked and how things stand."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Engine, text

from archive.database import fetch
from archive.figures.alerts import Alert, Alerts
from archive.figures.ask import ask
from archive.figures.forecast import Forecast
from archive.figures.keep import Keeper
from archive.figures.public import PublicFigures
from archive.figures.pushes import Pushes
from archive.figures.question import Answer, Question
from archive.figures.queues import Facilities
from archive.figures.recent import RecentFigures
from archive.figures.reports import FigureReportsKept
from archive.figures.state import FacilityState, Gateways, Now, State
from archive.figures.watch import Watch, Watcher
from archive.routing.routing import Routing
from config.peers import PeerBook
from config.settings import Settings

_REVISION = text("SELECT revision, swept_at FROM figure_cursor")


class Figures:
    """Used by all threads of a process. All methods raise `IndexUnavailable`.

    `facilities` are the codes of those that the caller may count; None for the whole province.
    """

    def __init__(self, engine: Engine, settings: Settings, routing: Routing, peers: PeerBook) -> None:
        self._engine = engine
        self._settings = settings
        self._state = State(engine, settings, routing, peers)
        self.watch = Watch(engine, settings, routing, peers)
        self._alerts = Alerts(engine, settings, routing, self._state, self.watch)
        self.reports = FigureReportsKept(engine, self.ask, settings.figures.reports)
        self.pushes = Pushes(engine, self.ask)
        self.public = PublicFigures(self.ask)
        self.recent = RecentFigures(self, settings.figures.page_seconds)

    def ask(self, question: Question) -> Answer:
        """Counts. Raises `InvalidQuery`, and `TooManyMatches` for what takes too long."""
        settings = self._settings.figures
        return ask(self._engine, question, settings.small, settings.round_to)

    def revision(self) -> object:
        """Something else whenever what is counted has become something else."""
        rows = fetch(self._engine, _REVISION)
        return tuple(rows[0]) if rows else None

    def now(self, facilities: Facilities = None) -> Now:
        """Live counters."""
        return self._state.now(facilities)

    def backlog(self, since: date, until: date, facilities: Facilities = None) -> list[tuple[date, int]]:
        """Studies without a signed report at the end of each day, both days included."""
        return self._state.backlog(since, until, facilities)

    def forecast(self) -> Forecast:
        """Storage used, and until when it lasts."""
        return self._state.forecast()

    def gateways(self, facilities: Facilities = None) -> Gateways:
        """Which facility and device was heard of when; queues for who may see the whole province."""
        return self._state.gateways(facilities)

    def facilities(self, facilities: Facilities = None) -> list[FacilityState]:
        """When each facility was last heard of."""
        return self._state.facilities(facilities)

    def alerts(self, facilities: Facilities = None) -> list[Alert]:
        """What somebody should look at, the worst first."""
        return self._alerts.listed(facilities)

    def keeper(self, interval: float = 2.0) -> Keeper:
        """What keeps the figures, in a thread; see `archive.figures.keep`."""
        return Keeper(self._settings.database, self._settings.figures, interval)

    def watcher(self) -> Watcher:
        """What notes how queues stand, in a thread; see `archive.figures.watch`."""
        return Watcher(self.watch)
