"""The routes of the settings, ready to be held against objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from archive.attributes import KNOWN, STORED
from archive.records import DicomJSON, Level
from archive.standard.text import fold
from config.peers import PeerBook
from config.routes import Route
from config.settings import Settings, SettingsError

PRIORITIES: Final = {"high": 0, "medium": 1, "low": 2}
_BY_KEYWORD: Final = {attribute.keyword: attribute for attribute in STORED.values()}
_OF_INSTANCE: Final = frozenset(attribute.keyword for attribute in STORED.values() if attribute.level is Level.IMAGE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an object when the routes are held against it."""

    object_id: int
    study_id: int
    series_id: int
    facility: str
    calling_ae_title: str
    sop_class_uid: str
    modality: str
    size: int
    been: frozenset[str]
    """AE titles that this instance came from or was sent to."""
    attributes: Mapping[str, dict[str, Any]]
    """Of patient, study and series, in the DICOM JSON model."""
    instance: Mapping[str, object]
    """Keyword to value of the attributes of the instance."""


class Condition:
    """``Keyword = pattern | pattern``. Raises `SettingsError` for a keyword that the index does not keep."""

    def __init__(self, text: str, route: str) -> None:
        keyword, _, patterns = (part.strip() for part in text.partition("="))
        if keyword not in _BY_KEYWORD:
            known = keyword in {attribute.keyword for attribute in KNOWN.values()}
            why = "is counted by the archive" if known else "is no attribute that the index keeps"
            raise SettingsError(f"routes: {route!r}: {keyword} {why}")
        self._keyword = keyword
        self._key = _BY_KEYWORD[keyword].key
        self._patterns = tuple(pattern.strip() for pattern in patterns.split("|") if pattern.strip())
        if not self._patterns:
            raise SettingsError(f"routes: {route!r}: {keyword} has no value to be compared with")

    def meets(self, facts: Facts) -> bool:
        """Whether one of the values of the attribute fits one of the patterns."""
        if self._keyword in _OF_INSTANCE:
            value = facts.instance.get(self._keyword)
            return value is not None and fits_any(str(value), self._patterns)
        return any(fits_any(value, self._patterns) for value in _texts(facts.attributes, self._key))


class Rule:
    """A route. Raises `SettingsError` when it makes no sense."""

    def __init__(self, route: Route, peers: PeerBook) -> None:
        self.route = route
        self.priority = PRIORITIES[route.priority]
        self._conditions = [Condition(text, route.name) for text in route.where]
        self._places = {ae_title: _place(peers, ae_title) for ae_title in route.destinations}
        self._peers = peers

    def destinations(self, facts: Facts) -> list[str]:
        """Where the object goes by this rule: nowhere unless it fits, and nowhere that it has been."""
        if not self._fits(facts):
            return []
        been = {_place(self._peers, ae_title) for ae_title in facts.been}
        return [
            ae_title for ae_title, place in self._places.items() if ae_title not in facts.been and place not in been
        ]

    def _fits(self, facts: Facts) -> bool:
        route = self.route
        return (
            (not route.facilities or facts.facility in route.facilities)
            and (not route.calling or fits_any(facts.calling_ae_title, route.calling))
            and (not route.modalities or fits_any(facts.modality, route.modalities))
            and (not route.sop_classes or fits_any(facts.sop_class_uid, route.sop_classes))
            and (route.smallest is None or facts.size >= route.smallest)
            and (route.largest is None or facts.size <= route.largest)
            and all(condition.meets(facts) for condition in self._conditions)
        )


def rules_of(settings: Settings) -> list[Rule]:
    """The routes that are enabled; all are checked. Raises `SettingsError`."""
    peers = settings.peer_book()
    rules = [Rule(route, peers) for route in settings.routes]
    return [rule for rule in rules if rule.route.enabled]


def fits_any(value: str, patterns: Iterable[str]) -> bool:
    """Whether the text fits one of the patterns, whatever its accents and case."""
    folded = fold(value).strip()
    return any(_compiled(pattern).fullmatch(folded) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    parts = (wild.get(part) or re.escape(part) for part in re.split(r"([*?])", fold(pattern)))
    return re.compile("".join(parts), re.DOTALL)


def _texts(attributes: DicomJSON | Mapping[str, dict[str, Any]], key: str) -> list[str]:
    """The values of an attribute as text; the groups of a name apart."""
    found: list[str] = []
    for value in attributes.get(key, {}).get("Value") or [""]:
        if isinstance(value, dict):
            found += [str(group).replace("^", " ") for group in value.values()]
        else:
            found.append("" if value is None else str(value))
    return found


def _place(peers: PeerBook, ae_title: str) -> tuple[str, int | None] | str:
    """Two AE titles at one address are one place."""
    peer = peers.named(ae_title)
    return (peer.host, peer.port) if peer is not None and peer.host else ae_title
