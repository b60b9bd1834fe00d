"""What whoever holds a link must know beside it: birth date, the code on the slip, or one that was sent to a phone."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import argon2
from sqlalchemy import Row

_CODE_DIGITS: Final = 6
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def new_code() -> tuple[str, str]:
    """A code for a slip, and its hash to be kept."""
    code = "".join(str(secrets.randbelow(10)) for _ in range(_CODE_DIGITS))
    return code, _HASHER.hash(code)


def is_right(found: Row[Any], answer: str, good_for: timedelta) -> bool:
    """Whether the answer is that of this link: a row of `link_sql.BY_TOKEN`. One-time codes are good for a time."""
    if found.factor == "birth_date":
        given = read_birth_date(answer)
        return found.birth_date is not None and given == found.birth_date
    digits = "".join(character for character in answer if character.isascii() and character.isdigit())
    expected = found.code_hash
    if found.factor == "phone":
        holds = found.sent_at is not None and datetime.now(UTC) < found.sent_at + good_for
        expected = found.sent_code_hash if holds else ""
    try:
        return bool(expected) and _HASHER.verify(expected, digits)
    except argon2.exceptions.Argon2Error:
        return False


def read_phone(text: str) -> str:
    """A telephone number as E.164, from how people in Viet Nam write it; empty for anything else."""
    digits = re.sub(r"[\s.()-]", "", text)
    if re.fullmatch(r"0[35789][0-9]{8}", digits):
        return f"+84{digits[1:]}"
    if re.fullmatch(r"84[35789][0-9]{8}", digits):
        return f"+{digits}"
    return digits if re.fullmatch(r"\+[1-9][0-9]{7,14}", digits) else ""


def read_birth_date(text: str) -> date | None:
    """A birth date as people write it: 5/3/1962, 05-03-1962, 05031962, or 1962-03-05; None for anything else."""
    parts = text.strip().replace("-", "/").replace(".", "/").split("/")
    if len(parts) == 1 and len(parts[0]) == 8:
        parts = [parts[0][:2], parts[0][2:4], parts[0][4:]]
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        return None
    day, month, year = (int(part) for part in (reversed(parts) if len(parts[0]) == 4 else parts))
    try:
        return date(year, month, day)
    except ValueError:
        return None
