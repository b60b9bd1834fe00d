"""Reports as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

Status = Literal["draft", "preliminary", "final", "amended", "cancelled"]
SIGNED: Final = ("final", "amended", "addendum", "cancelled")
"""What versions are that somebody has signed."""

CODES: Final = ("MA_LK", "MA_DICH_VU", "MA_CHI_SO", "TEN_CHI_SO")
"""What insurers want to know beside the report, and who writes it may say better than the order (XML4 of QĐ 130)."""


@dataclass(frozen=True, slots=True)
class Written:
    """What somebody writes."""

    conclusion: str = ""
    text: str = ""
    """What is seen, in words of one's own; behind what the fields say."""
    recommendation: str = ""
    template: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of the template's fields."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Of `CODES`, those that are not as the order says."""


@dataclass(frozen=True, slots=True)
class Author:
    """Whose word a report is."""

    name: str
    licence: str = ""
    """MA_BS_DOC_KQ: number of the practising licence."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a report, as it is kept."""

    number: int
    status: str
    template: str
    content: dict[str, Any]
    description: str
    conclusion: str
    recommendation: str
    addenda: list[dict[str, Any]]
    """Each with ``text``, ``author_name``, ``author_licence``, ``reason`` and ``at``."""
    author: str
    author_name: str
    author_licence: str
    reason: str
    subject: dict[str, Any] | None
    """See `archive.reports.subject`; None for a draft."""
    issued_at: datetime | None
    signed_at: datetime | None
    signed_by: str
    signature: dict[str, Any] | None
    digest: bytes | None
    created_at: datetime

    def written(self) -> Written:
        """What was written, to go on from."""
        content = self.content
        return Written(
            conclusion=self.conclusion,
            text=str(content.get("text", "")),
            recommendation=self.recommendation,
            template=self.template,
            fields=content.get("fields", {}),
            codes=content.get("codes", {}),
        )

    @property
    def whole_conclusion(self) -> str:
        """The conclusion with all that was added to it later."""
        added = [f"Bổ sung ({each['at'][:16].replace('T', ' ')}): {each['text']}" for each in self.addenda]
        return "\n".join((self.conclusion, *added))


@dataclass(frozen=True, slots=True)
class Entry:
    """A report as a caller sees it."""

    id: int
    number: str
    study: str
    """Study Instance UID."""
    facility: str
    """Code of the facility that writes it."""
    owner: str
    """Code of the facility whose study it is."""
    status: Status
    revision: int
    source: str
    external: str | None
    final_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: Version | None
    """The latest version that was given out."""
    draft: Version | None
    """What is being written now; None for who may not see it."""

    @property
    def is_signed(self) -> bool:
        """Whether somebody stands by what it says now."""
        return self.status in ("final", "amended")


@dataclass(frozen=True, slots=True)
class Event:
    """That a version was given out."""

    id: int
    report: int
    """Row of the report."""
    number: str
    version: int
    kind: Literal["preliminary", "final", "amended", "addendum", "cancelled"]
    at: datetime
