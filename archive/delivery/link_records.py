"""Links as staff ask for them and see them, and as whoever holds one meets them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from archive.errors import NotPermitted

Factor = Literal["birth_date", "code", "phone"]
FACTORS: Final[tuple[str, ...]] = get_args(Factor)

MOST_STUDIES: Final = 100


@dataclass(frozen=True, slots=True)
class NewLink:
    """What staff ask for. `days` is None for what the settings say."""

    studies: tuple[str, ...]
    factor: Factor = "birth_date"
    days: int | None = None
    may_copy: bool = False
    purpose: str = ""
    phone: str = ""
    """Where one-time codes go, for the factor ``phone``."""


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link with its secrets, which nobody can be told again. `code` is empty where a birth date is asked for."""

    id: int
    token: str
    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A link as staff see it."""

    id: int
    studies: tuple[str, ...]
    patient_name: str
    patient_id: str
    facility: str
    factor: Factor
    may_copy: bool
    made_by: str
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None
    first_opened_at: datetime | None
    times_opened: int
    locked: bool

    @property
    def state(self) -> str:
        """``open``, ``locked``, ``expired`` or ``withdrawn``."""
        if self.withdrawn_at is not None:
            return "withdrawn"
        if self.expires_at <= datetime.now(UTC):
            return "expired"
        return "locked" if self.locked else "open"


@dataclass(frozen=True, slots=True)
class Question:
    """What a link asks for, and the last digits of the telephone if it sends codes to one."""

    factor: Factor
    phone: str = ""


@dataclass(frozen=True, slots=True)
class CodeToSend:
    """A one-time code that is good from now on, once it has been sent."""

    phone: str
    code: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A browser in which a link was opened."""

    secret: str
    expires_at: datetime


class LinkLocked(NotPermitted):
    """Too many wrong answers: staff must make another link."""


class WrongAnswer(NotPermitted):
    """The second factor is wrong. `left` says how many more tries there are."""

    def __init__(self, left: int) -> None:
        super().__init__("the answer is wrong")
        self.left = left


class TooSoon(NotPermitted):
    """A code was sent a moment ago, or too often today."""
