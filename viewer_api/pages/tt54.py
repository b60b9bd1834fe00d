"""Self-assessment at ``/tt54``: criteria 62 to 79 of Circular 54/2017/TT-BYT, where each is met, and what shows it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.errors import ArchiveError
from archive.figures.question import By, Measure, Question
from archive.people.roles import Right
from archive.records import Scope
from archive.worklist.listing import ItemSearch
from config import clock
from config.peers import UNKNOWN_FACILITY
from viewer_api.audited import who
from viewer_api.deps import ArchiveDep
from viewer_api.gate import known_caller, needs
from viewer_api.pages.dashboard_numbers import Numbers
from viewer_api.pages.language import Texts, language_of, texts
from viewer_api.pages.rendering import page
from viewer_api.viewer_setup import is_installed

router = APIRouter(include_in_schema=False, dependencies=[needs(Right.STATISTICS)])
FILE: Final = Path(__file__).with_name("tt54.toml")
_DAYS: Final = 365
Facilities = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion, and what the archive does about it."""

    number: int
    level: str
    """``basic`` or ``advanced``."""
    vi: str
    en: str
    state: str
    """``met`` or ``partly``."""
    how: str
    pages: list[str]
    tests: list[str]
    """``file::test``."""
    evidence: str
    """What is counted to show it, see `Evidence`; empty if nothing can be."""
    image: str = ""
    """In ``docs/images``."""


@lru_cache(maxsize=1)
def criteria() -> list[Criterion]:
    """All eighteen."""
    said = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [Criterion(int(number), **values) for number, values in said.items()]


class Evidence:
    """Counts that show that something is in use, of the facilities that the reader may count."""

    def __init__(self, archive: Archive, facilities: Facilities, text: Texts) -> None:
        self._archive = archive
        self._facilities = facilities
        self._text = text
        self._numbers = Numbers(text)
        count: dict[str, Callable[[], str]] = {
            "facilities": self._places,
            "storage": self._storage,
            "workstations": self._workstations,
            "orders": partial(self._orders, "tt54_orders", 30),
            "open_orders": partial(self._orders, "tt54_open_orders", 0),
            "modalities": self._modalities,
            "reported": partial(self._counted, "tt54_reported", Measure.REPORTED),
            "delivered": partial(self._counted, "tt54_delivered", Measure.DELIVERED),
            "studies": partial(self._counted, "tt54_studies", Measure.STUDIES),
            "cross_views": partial(self._counted, "tt54_cross_views", Measure.CROSS_VIEWS),
            "viewer": self._viewer,
        }
        self._count = count

    def of(self, criterion: Criterion) -> str:
        """The evidence as a sentence; empty if there is none now."""
        try:
            return self._count[criterion.evidence]() if criterion.evidence else ""
        except ArchiveError:
            return ""

    def _mine(self, code: str) -> bool:
        return self._facilities is None or code in self._facilities

    def _places(self) -> str:
        codes = self._archive.peers.facilities.keys() - {UNKNOWN_FACILITY.code}
        places = sum(map(self._mine, codes))
        return self._text("tt54_facilities", count=self._numbers.count(places))

    def _workstations(self) -> str:
        able = [peer for peer in self._archive.peers.listed if peer.may("find") or peer.may("move")]
        count = sum(self._mine(peer.facility) for peer in able)
        return self._text("tt54_workstations", count=self._numbers.count(count))

    def _storage(self) -> str:
        if self._facilities is not None:
            return self._counted("tt54_studies", Measure.STUDIES)
        return self._text("tt54_storage", size=self._numbers.size(self._archive.figures.forecast().used_bytes))

    def _orders(self, key: str, days: int) -> str:
        today = clock.today()
        wanted = ItemSearch(first=today - timedelta(days=days), last=today)
        _, total = self._archive.worklist.search(wanted, Scope(self._facilities))
        return self._text(key, count=self._numbers.count(total))

    def _modalities(self) -> str:
        rows = self._ask((Measure.STUDIES,), By.MODALITY)
        named = ", ".join(
            f"{name} {self._numbers.count(count)}" for name, count in sorted(rows, key=lambda row: -row[1])
        )
        return self._text("tt54_modalities", counts=named) if named else ""

    def _counted(self, key: str, measure: Measure) -> str:
        rows = self._ask((measure,))
        return self._text(key, count=self._numbers.count(rows[0][0] if rows else 0))

    def _viewer(self) -> str:
        there = is_installed(self._archive.settings.viewer_dir)
        return self._text("tt54_viewer" if there else "tt54_no_viewer")

    def _ask(self, measures: tuple[Measure, ...], *by: By) -> list[tuple[Any, ...]]:
        until = datetime.combine(clock.today() + timedelta(days=1), time())
        asked = Question(measures, until - timedelta(days=_DAYS), until, by, facilities=self._facilities)
        return list(self._archive.figures.ask(asked).rows)


@router.get("/tt54")
def assessment(request: Request, archive: ArchiveDep) -> Response:
    """The table."""
    text = texts(language_of(request))
    evidence = Evidence(archive, known_caller(request).rights[Right.STATISTICS], text)
    archive.looks.note(AuditEvent(Action.SEARCH, who(request), detail={"what": "tt54"}), about="tt54")
    found = criteria()
    return page(
        request,
        "tt54.html",
        levels=[
            (level, [(each, evidence.of(each)) for each in found if each.level == level])
            for level in ("basic", "advanced")
        ],
        met=sum(each.state == "met" for each in found),
        total=len(found),
        printed=f"{clock.now():%H:%M %d/%m/%Y}",
    )
