"""Rules that send what arrives on to other peers, and how that is done."""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from config.peers import FACILITY_CODE, AETitle

QUIET: Final = 60.0
"""Seconds without a new object after which a series or study counts as complete, unless a route says otherwise."""
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_CONDITION: Final = re.compile(r"[A-Za-z0-9]+\s*=.*\S.*")


def _condition(value: str) -> str:
    if not _CONDITION.fullmatch(value):
        raise ValueError(f'{value!r} is no condition such as "StudyDescription = *ngực*"')
    return value


def _hours(value: str) -> str:
    if value and not _HOURS.fullmatch(value):
        raise ValueError(f'{value!r} are no hours such as "22:00-05:30"')
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone that this machine knows, such as Asia/Ho_Chi_Minh") from None
    return value


FacilityCode = Annotated[str, Field(pattern=FACILITY_CODE)]
Pattern = Annotated[str, Field(min_length=1)]
"""``*`` stands for any text, ``?`` for a character; accents and case do not count."""


class Route(BaseModel):
    """A rule. An object that meets all its conditions is sent to all its destinations; empty conditions are met."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    enabled: bool = True

    facilities: tuple[FacilityCode, ...] = ()
    """Codes of the facilities that sent the object."""
    calling: tuple[Pattern, ...] = ()
    """AE titles that it came from."""
    modalities: tuple[Pattern, ...] = ()
    sop_classes: tuple[Pattern, ...] = ()
    where: tuple[Annotated[str, AfterValidator(_condition)], ...] = ()
    """``Keyword = pattern``, or several patterns with ``|`` between; any attribute that the index keeps."""
    smallest: int | None = Field(default=None, ge=0)
    """Bytes of the file."""
    largest: int | None = Field(default=None, ge=0)

    destinations: tuple[AETitle, ...] = Field(min_length=1)
    what: Literal["instance", "series", "study"] = "instance"
    """``series`` and ``study`` wait until it is complete, then send all of it that the destination has not got yet."""
    notify: Literal["", "availability"] = ""
    """``availability``: send no object but an Instance Availability Notification when the study is complete."""
    delay: float | None = Field(default=None, ge=0, le=30 * 86_400)
    """Seconds to wait: an object since it came, a series or study since its last object came (60)."""
    hours: Annotated[str, AfterValidator(_hours)] = ""
    """When objects may be sent, such as ``22:00-05:30`` in `ForwardSettings.time_zone`; always when empty."""
    priority: Literal["high", "medium", "low"] = "medium"
    priors: int = Field(default=0, ge=0, le=50)
    """With ``study``: as many earlier studies of the patient, the newest, are sent too."""
    transcode: Literal["as_needed", "never"] = "as_needed"
    """``as_needed``: decode what the destination does not take as it is stored."""
    commit: bool = False
    """Ask the destination for storage commitment of what it took."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.smallest is not None and self.largest is not None and self.smallest > self.largest:
            raise ValueError("smallest is larger than largest: no object can meet that")
        if self.priors and self.what != "study":
            raise ValueError('priors need what = "study"')
        if self.notify and (self.commit or self.priors or self.transcode == "never"):
            raise ValueError("a notification sends no objects: commit, priors and transcode mean nothing there")
        return self

    @property
    def quiet(self) -> float:
        """Seconds to wait."""
        if self.delay is not None:
            return self.delay
        return 0 if self.what == "instance" and not self.notify else QUIET

    def closed_for(self, now: datetime) -> float:
        """Seconds until objects may be sent, from this local time on; 0 if now."""
        found = _HOURS.fullmatch(self.hours)
        if found is None:
            return 0
        from_hour, from_minute, to_hour, to_minute = (int(part) for part in found.groups())
        begin, end, at = time(from_hour, from_minute), time(to_hour, to_minute), now.time()
        if begin <= at < end if begin < end else at >= begin or at < end:
            return 0
        opens = now.replace(hour=from_hour, minute=from_minute, second=0, microsecond=0)
        return ((opens - now).total_seconds()) % 86_400


class ForwardSettings(BaseModel):
    """How objects are sent on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tries: int = Field(default=5, ge=1, le=100)
    """How often a destination may refuse an object before it is set aside."""
    first_wait: float = Field(default=5, gt=0)
    """Seconds until a destination that failed is tried again; doubled each time, up to `longest_wait`."""
    longest_wait: float = Field(default=900, gt=0)
    keep_days: float = Field(default=30, gt=0)
    """Days for which it is remembered what was sent where."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "Asia/Ho_Chi_Minh"
    """Of the `hours` of routes."""
