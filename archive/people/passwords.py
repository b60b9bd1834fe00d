"""Passwords: their rules, and their Argon2id hashes.

A hash costs time and memory on purpose. So that this cannot be turned against the service, few are worked out at once,
and who is no user takes as long as who is one.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from functools import lru_cache
from typing import Final

import argon2

from archive.errors import Unavailable

AT_ONCE: Final = 2
LONGEST_WAIT: Final = 5.0
"""Seconds that a request waits for its turn to be hashed."""
LONGEST: Final = 128
"""Characters; longer ones are refused before they cost anything."""
SHORTEST_WITH_FACTOR: Final = 8
SHORTEST: Final = 14
KEPT: Final = 10
"""Earlier passwords that must not come back (security level 3)."""
_LEAST_DIFFERENT: Final = 5
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz"
_DIGITS: Final = "23456789"


class Busy(Unavailable):
    """Too many passwords are being checked."""


class Passwords:
    """Hashes and checks passwords. For all threads."""

    def __init__(self) -> None:
        self._turns = threading.Semaphore(AT_ONCE)
        self._hasher = argon2.PasswordHasher()

    def hash(self, password: str) -> str:
        """Raises `Busy`."""
        with _Turn(self._turns):
            return self._hasher.hash(normal(password))

    def right(self, expected: str, password: str) -> bool:
        """Whether this is the password of the hash; as slow where there is no hash. Raises `Busy`."""
        with _Turn(self._turns):
            try:
                fits = self._hasher.verify(expected or _nobody(), normal(password)[:LONGEST])
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False
        return fits and bool(expected) and len(password) <= LONGEST


class _Turn:
    """One of the few that may be hashed at a time."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        if not self._turns.acquire(timeout=LONGEST_WAIT):
            raise Busy("many sign in at this moment: try again")

    def __exit__(self, *_: object) -> None:
        self._turns.release()


def normal(password: str) -> str:
    """One form for what keyboards send in several: Vietnamese letters come composed and decomposed (RFC 8265 4.2)."""
    return unicodedata.normalize("NFC", password)


def faults(password: str, name: str, *, with_factor: bool) -> list[str]:
    """What is wrong with a new password, as keys of the texts of the pages: `password_<key>`."""
    text = normal(password)
    if len(text) > LONGEST:
        return ["too_long"]
    found = []
    if len(text) < (SHORTEST_WITH_FACTOR if with_factor else SHORTEST):
        found.append("too_short")
    if not with_factor and classes(text) < 4:
        found.append("too_plain")
    if name and name.casefold() in text.casefold():
        found.append("has_name")
    if len(set(text.casefold())) < _LEAST_DIFFERENT:
        found.append("too_even")
    return found


def classes(text: str) -> int:
    """How many of the four kinds of characters there are: small and capital letters, digits, others."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    return sum(any(kind(c) for c in text) for kind in kinds)


def random_password() -> str:
    """A password to be given to somebody by word or on paper: 20 characters of four kinds, some 85 bits."""
    groups = ["".join(secrets.choice(_LETTERS + _DIGITS) for _ in range(4)) for _ in range(4)]
    head = secrets.choice(_LETTERS.upper())
    return "-".join([head + secrets.choice(_DIGITS) + secrets.choice(_LETTERS), *groups])


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash that no password fits."""
    return argon2.PasswordHasher().hash(secrets.token_bytes(32))
