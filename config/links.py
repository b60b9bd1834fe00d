"""Links for patients: how long they hold, and how hard they are to guess."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from config.receivers import Receiver, web_address
from config.section import Section


def _address_or_none(value: str) -> str:
    return web_address(value) if value else value


class MessageGateway(Receiver):
    """Sends short messages (SMS, Zalo) for the archive: a program of the province's, or of its provider's.

    It is sent ``{"to": "+84...", "text": "..."}``, and answers 2xx when it has taken the message.
    """

    url: Annotated[str, AfterValidator(_address_or_none)] = ""
    """None: there are no one-time codes by phone."""


class LinkSettings(Section):
    """Links by which patients see their images instead of on film."""

    days: int = Field(default=30, ge=1, le=3650)
    """Days that a link holds if nothing else is said."""
    most_days: int = Field(default=365, ge=1, le=3650)
    """Longest time that may be asked for."""
    tries: int = Field(default=5, ge=1, le=20)
    """Wrong answers in a row that lock a link until staff make another."""
    session_minutes: float = Field(default=60, gt=0, le=1440)
    """After that the second factor is asked for again."""
    copies: bool = True
    """Whether a link may allow to download the images."""
    code_minutes: float = Field(default=5, gt=0, le=60)
    """How long a one-time code by phone is good for."""
    code_wait: float = Field(default=60, ge=0, le=3600)
    """Seconds until another may be sent."""
    codes_a_day: int = Field(default=5, ge=1, le=50)
    """Messages for one link in a day."""
    messages: MessageGateway = MessageGateway()
