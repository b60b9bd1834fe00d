"""Responses of several parts, written as they are read (RFC 2387, RFC 2046 5.1; PS3.18 8.6.1.2)."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type, its bytes in pieces, and how many they are if that is known beforehand."""

    content_type: str
    chunks: Iterable[bytes]
    length: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def new_boundary() -> str:
    """A boundary that occurs in no image: 128 random bits."""
    return secrets.token_hex(16)


def content_type(boundary: str, part_type: str, transfer_syntax: str | None = None) -> str:
    """The Content-Type of the whole response (PS3.18 8.7.3.5: the syntax only if all parts share it)."""
    value = f'multipart/related; type="{part_type}"; boundary={boundary}'
    return f"{value}; transfer-syntax={transfer_syntax}" if transfer_syntax else value


def write(parts: Iterable[Part], boundary: str) -> Generator[bytes, None, None]:
    """The body: each part behind its delimiter and headers, then the close delimiter.

    The close delimiter comes only after the last part came whole, so its absence shows a cut response.
    """
    start = f"--{boundary}\r\n".encode()
    for part in parts:
        yield start + _head(part)
        yield from part.chunks
        start = f"\r\n--{boundary}\r\n".encode()
    yield start[:-2] + b"--\r\n"


def around(part: Part, boundary: str) -> tuple[bytes, bytes]:
    """What `write` puts before and behind the bytes of a part that is alone."""
    return f"--{boundary}\r\n".encode() + _head(part), f"\r\n--{boundary}--\r\n".encode()


def length(parts: Iterable[Part], boundary: str) -> int | None:
    """The size of the body that `write` makes of the parts; None if a part does not know its own."""
    total = len(boundary) + len("----\r\n")
    for part in parts:
        if part.length is None:
            return None
        total += len(boundary) + len("--\r\n") + len(_head(part)) + part.length + len("\r\n")
    return total


def _head(part: Part) -> bytes:
    lines = [f"Content-Type: {part.content_type}"]
    if part.length is not None:
        lines.append(f"Content-Length: {part.length}")
    lines.extend(f"{name}: {value}" for name, value in part.headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
