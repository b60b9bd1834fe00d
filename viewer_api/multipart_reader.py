"""Reads a multipart/related body as it arrives (RFC 2046 5.1, RFC 2387, PS3.18 8.6.1.2).

Nothing is kept but the headers of the part that is being read: its bytes go on to a `PartSink` at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from archive.errors import CannotParse

_MAX_HEADERS: Final = 16
_MAX_HEADER: Final = 8192
_MAX_PREAMBLE: Final = 64 * 1024


class PartSink(Protocol):
    """Takes the parts of a body one after the other."""

    def begin(self, headers: dict[str, str]) -> None:
        """A part begins; header names are in lower case."""

    def data(self, buffer: memoryview) -> None:
        """The next bytes of the part. The buffer is only valid during the call."""

    def end(self) -> None:
        """The part is complete."""

    def cut(self, error: CannotParse) -> None:
        """The part, and the body with it, ended before its closing boundary."""


class MultipartReader:
    """Feed it the body, then `close` it. Exceptions of the sink pass through."""

    def __init__(self, boundary: str, sink: PartSink) -> None:
        self._sink = sink
        self._headers: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._open = False
        self._finished = False
        self._broken: CannotParse | None = None
        self._delimiter = b"--" + boundary.encode("latin-1")
        self._preamble: bytearray | None = bytearray()
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(
            boundary.encode("latin-1"),
            callbacks,  # type: ignore[arg-type]  # a TypedDict of optional callbacks
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER,
        )

    @property
    def parts(self) -> int:
        """How many parts have begun."""
        return self._parts

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. After the structure broke, the rest is ignored."""
        if self._broken is not None or self._finished:
            return
        if self._preamble is not None:
            chunk = self._after_preamble(self._preamble, chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            self._broken = CannotParse(f"the multipart body is broken: {_reason(error)}")

    def close(self) -> None:
        """The body is over.

        Raises
        ------
        CannotParse
            There was no part in it, so that there is nothing to answer about.
        """
        ending = "it is empty" if self._finished else "the body ends before the closing boundary"
        error = self._broken or CannotParse(ending)
        if self._open:
            self._open = False
            self._sink.cut(error)
        elif self._parts == 0:
            raise CannotParse(f"no part with the given boundary is in the body: {error}")

    def _after_preamble(self, held: bytearray, chunk: bytes) -> bytes:
        """Leave out what stands before the first boundary (RFC 2046 5.1.1), which the parser does not know."""
        held += chunk
        start = held.find(self._delimiter)
        if start < 0:
            if len(held) > _MAX_PREAMBLE:
                self._broken = CannotParse(f"the boundary is not in the first {_MAX_PREAMBLE} bytes of the body")
                self._preamble = None
            return b""
        self._preamble = None
        return bytes(held[start:])

    def _on_part_begin(self) -> None:
        self._parts += 1
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").strip().lower()] = self._value.decode("latin-1").strip()
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        self._open = True
        self._sink.begin(self._headers)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._sink.data(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        self._open = False
        self._sink.end()

    def _on_end(self) -> None:
        self._finished = True


def _reason(error: FormParserError) -> str:
    """What the parser says, without bytes of the body that it may quote."""
    return str(error).split(":")[0][:80] or type(error).__name__
