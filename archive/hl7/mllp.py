"""Frames of MLLP: 0B, a message, 1C 0D (HL7 Transport Specification: MLLP, release 2)."""

from __future__ import annotations

from typing import Final

BEGIN: Final = 0x0B
END: Final = 0x1C
_BETWEEN: Final = b"\r\n\0 "


class BadFrame(Exception):
    """What came is no frame; where the next one begins cannot be told."""


class TooLong(BadFrame):
    """A message is longer than the settings allow. `head` is how it begins."""

    def __init__(self, head: bytes) -> None:
        super().__init__("the message is too long")
        self.head = head


def framed(message: bytes) -> bytes:
    """A message as it is sent."""
    return bytes((BEGIN,)) + message + bytes((END, 0x0D))


class Framer:
    """Takes bytes as they come and gives whole messages.

    Senders that leave out the 0D behind a frame, or put line ends between frames, are understood.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._inside = False
        self._looked = 0

    @property
    def inside(self) -> bool:
        """Whether a message has begun and has not ended."""
        return self._inside

    @property
    def pending(self) -> int:
        """Bytes of the message that has begun."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what came. Raises `BadFrame`, `TooLong`."""
        self._buffer += data

    def take(self) -> bytes | None:
        """The next whole message; None if there is none yet. Raises `BadFrame`, `TooLong`."""
        if not self._inside and not self._begin():
            return None
        end = self._buffer.find(END, self._looked)
        whole = len(self._buffer) if end < 0 else end
        again = self._buffer.find(BEGIN, self._looked, whole)
        if again >= 0:
            raise BadFrame("a message begins within another")
        if whole > self._longest:
            raise TooLong(bytes(self._buffer[:4096]))
        self._looked = whole
        if end < 0:
            return None
        message = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._inside, self._looked = False, 0
        return message

    def _begin(self) -> bool:
        rest = self._buffer.lstrip(_BETWEEN)
        if not rest:
            self._buffer.clear()
            return False
        if rest[0] != BEGIN:
            raise BadFrame("no message begins with 0B")
        self._buffer = rest[1:]
        self._inside, self._looked = True, 0
        return True
