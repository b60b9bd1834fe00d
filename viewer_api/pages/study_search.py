"""The search form of the study list: what was typed, and the query that it means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from archive.errors import InvalidQuery
from archive.records import Level, Query
from config import clock
from viewer_api.query_params import attribute_tag

PAGE_SIZE: Final = 50
_LONGEST: Final = 64
_LAST_PAGE: Final = 10_000
RANGES: Final = {"today": 1, "7": 7, "30": 30, "all": 0}
MODALITIES: Final = ("CT", "MR", "DX", "CR", "US", "XA", "MG", "NM", "PT", "ES", "OT")
_INCLUDE: Final = frozenset({attribute_tag("PatientAge")})


class BadDates(Exception):
    """The dates of the form are none, or in the wrong order."""


@dataclass(frozen=True, slots=True)
class Search:
    """What stands in the form."""

    name: str = ""
    patient_id: str = ""
    accession: str = ""
    first: str = ""
    last: str = ""
    modalities: tuple[str, ...] = ()
    page: int = 1

    @property
    def is_empty(self) -> bool:
        """Whether everything is searched for."""
        return not (self.name or self.patient_id or self.accession or self.first or self.last or self.modalities)

    def query(self) -> Query:
        """The query. Raises `BadDates`."""
        keys: dict[str, str] = {}
        if self.name:
            keys["PatientName"] = self.name
        if self.patient_id:
            keys["PatientID"] = _prefix(self.patient_id)
        if self.accession:
            keys["AccessionNumber"] = _prefix(self.accession)
        if self.first or self.last:
            keys["StudyDate"] = self._dates()
        if self.modalities:
            keys["ModalitiesInStudy"] = "\\".join(self.modalities)
        return Query(
            level=Level.STUDY,
            keys={attribute_tag(keyword): value for keyword, value in keys.items()},
            include=_INCLUDE,
            fuzzy=True,
            limit=PAGE_SIZE,
            offset=(self.page - 1) * PAGE_SIZE,
        )

    def _dates(self) -> str:
        """The range in the syntax of PS3.4 C.2.2.2.5."""
        try:
            first = date.fromisoformat(self.first) if self.first else None
            last = date.fromisoformat(self.last) if self.last else None
        except ValueError:
            raise BadDates from None
        if first and last and first > last:
            raise BadDates
        return "-".join(f"{day:%Y%m%d}" if day else "" for day in (first, last))

    def within(self, days: int) -> Search:
        """The same search on the last days, today being one of them; of any date if 0."""
        if not days:
            return replace(self, first="", last="", page=1)
        today = clock.today()
        first = today - timedelta(days=days - 1)
        return replace(self, first=first.isoformat(), last=today.isoformat(), page=1)


def clean(text: str) -> str:
    """A form field without what nobody types on purpose."""
    return "".join(character for character in text if character.isprintable())[:_LONGEST].strip()


def page_number(text: str) -> int:
    """The page asked for; the first for what is no number."""
    return min(max(int(text), 1), _LAST_PAGE) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _prefix(text: str) -> str:
    r"""Match the beginning of an identifier, unless the user put wildcards in. ``\`` would separate values."""
    if "\\" in text:
        raise InvalidQuery("a backslash cannot be part of an identifier")
    return text if any(wildcard in text for wildcard in "*?") else f"{text}*"
