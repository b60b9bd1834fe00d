"""What whoever holds a link must know beside it: the patient's birth date, or the code on the slip."""

from __future__ import annotations

import secrets
from datetime import date
from typing import Any, Final

import argon2
from sqlalchemy import Row

_CODE_DIGITS: Final = 6
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def new_code() -> tuple[str, str]:
    """A code for a slip, and its hash to be kept."""
    code = "".join(str(secrets.randbelow(10)) for _ in range(_CODE_DIGITS))
    return code, _HASHER.hash(code)


def is_right(found: Row[Any], answer: str) -> bool:
    """Whether the answer is that of this link: a row with `factor`, `code_hash` and the patient's `birth_date`."""
    if found.factor == "birth_date":
        given = read_birth_date(answer)
        return found.birth_date is not None and given == found.birth_date
    digits = "".join(character for character in answer if character.isascii() and character.isdigit())
    try:
        return _HASHER.verify(found.code_hash, digits)
    except argon2.exceptions.Argon2Error:
        return False


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
