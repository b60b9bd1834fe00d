"""The format of an encrypted object: a header, then segments of AES-256-GCM.

It is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) as Tink's streaming AEAD does it::

    header  = "PACSENC1" | segment size | volume id | salt | nonce prefix | zeros | checksum        80 bytes
    key     = HKDF-SHA256(volume key, salt, header | object key)                                    32 bytes
    nonce i = nonce prefix | i | 1 if the segment is the last, else 0                                7 + 4 + 1 bytes
    object  = header | segment 0 | segment 1 | ...                      each 65536 bytes and a tag; the last is shorter

So each object has a key of its own, which is never stored; the volume key, from which many are derived, is kept in the
`keyring`. What is cut off, appended, exchanged within the object, taken from another object, stored under another
object's key, or changed in the header does not decrypt. An empty object has one empty segment.

How large the plain object is follows from the size of the encrypted one alone.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.base import Buffer
from storage.errors import IntegrityError

MAGIC: Final = b"PACSENC1"
SUFFIX: Final = ".enc1"
"""Behind the names of encrypted objects on the medium. The number is that of the format."""
SEGMENT: Final = 64 * 1024
TAG: Final = 16
SEALED: Final = SEGMENT + TAG
KEY_BYTES: Final = 32
VOLUME_ID_BYTES: Final = 16
_FIELDS: Final = struct.Struct(f">8sI{VOLUME_ID_BYTES}s32s7s5x")
_CHECKSUM: Final = 8
HEADER: Final = _FIELDS.size + _CHECKSUM
_PREFIX: Final = 7
_MOST_SEGMENTS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Volume:
    """A key from which the keys of objects are derived."""

    id: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the segments of an object."""

    volume: bytes
    salt: bytes
    prefix: bytes

    @classmethod
    def new(cls, volume: Volume) -> Header:
        """The header of an object that is about to be written."""
        random = os.urandom(32 + _PREFIX)
        return cls(volume.id, random[:32], random[32:])

    def to_bytes(self) -> bytes:
        fields = _FIELDS.pack(MAGIC, SEGMENT, self.volume, self.salt, self.prefix)
        return fields + hashlib.sha256(fields).digest()[:_CHECKSUM]

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Header:
        """Read the header of the object `key`. Raises `IntegrityError`.

        The checksum is against accidents: with a wrong volume id one would be told that a key is missing.
        """
        fields = data[: _FIELDS.size]
        if len(data) != HEADER or hashlib.sha256(fields).digest()[:_CHECKSUM] != data[_FIELDS.size :]:
            raise IntegrityError(f"the header of the encrypted object {key} is damaged")
        magic, segment, volume, salt, prefix = _FIELDS.unpack(fields)
        if magic != MAGIC or segment != SEGMENT:
            raise IntegrityError(f"{key} is no encrypted object of a format that this release knows")
        return cls(volume, salt, prefix)


class Cipher:
    """Encrypts and decrypts the segments of one object. May be used by many threads."""

    __slots__ = ("_aes", "_key", "_prefix")

    def __init__(self, volume: Volume, header: Header, key: str) -> None:
        self._key = key
        self._prefix = header.prefix
        info = header.to_bytes() + key.encode("ascii")
        self._aes = AESGCM(HKDF(SHA256(), KEY_BYTES, header.salt, info).derive(volume.secret))

    def seal_into(self, index: int, data: Buffer, out: memoryview, *, last: bool = False) -> None:
        """Encrypt segment `index` to `out`, which is as long as `data` and a tag."""
        if index >= _MOST_SEGMENTS:
            raise ValueError(f"{self._key} has more segments than can be counted")
        self._aes.encrypt_into(self._nonce(index, last), data, None, out)

    def open(self, index: int, data: Buffer, *, last: bool) -> bytes:
        """Decrypt segment `index`. Raises `IntegrityError`."""
        try:
            return self._aes.decrypt(self._nonce(index, last), data, None)
        except InvalidTag:
            raise IntegrityError(
                f"segment {index} of the encrypted object {self._key} is not what was stored there"
            ) from None

    def _nonce(self, index: int, last: bool) -> bytes:
        return self._prefix + index.to_bytes(4, "big") + (b"\1" if last else b"\0")


def segments(size: int) -> int:
    """How many segments a plain object of `size` bytes has."""
    return max(1, -(-size // SEGMENT))


def plain_size(stored: int, key: str) -> int:
    """Bytes of the plain object that is `stored` bytes when encrypted.

    Raises `IntegrityError` if no object has that size: it was cut.
    """
    body = stored - HEADER
    count = -(-body // SEALED)
    size = body - count * TAG
    if body < TAG or (count > 1 and size <= (count - 1) * SEGMENT):
        raise IntegrityError(f"the encrypted object {key} was cut short to {stored} bytes")
    return size
