"""Versions of what programs change, as the entity tags of their answers (RFC 9110 8.8.3)."""

from __future__ import annotations

import re

from archive.errors import InvalidQuery


def versions(header: str) -> tuple[int, ...]:
    """The versions that a list of ETags names; none for ``*``. Raises `InvalidQuery`."""
    if header.strip() == "*":
        return ()
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    if not all(re.fullmatch(r'"[^"]*"', tag) for tag in tags):
        raise InvalidQuery("If-Match and If-None-Match hold ETags as they were given, in quotes, or *")
    # A tag that is none of ours names no version.
    return tuple(int(tag[1:-1]) if re.fullmatch(r'"[0-9]{1,9}"', tag) else -1 for tag in tags)
