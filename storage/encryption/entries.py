"""Encrypts what lies in a cache on the local disk.

The keys are volume keys, as for objects, in a keyring of their own beside the cache: it is made anew when it is gone,
and the key encryption key is asked for once in the life of a process. An entry that cannot be decrypted is no entry.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.encryption.keyring import Keyring
from storage.encryption.sealed import VOLUME_ID_BYTES, Volume
from storage.errors import IntegrityError

_MAGIC: Final = b"PACSENT1"
_NONCE: Final = 12
_VOLUME: Final = len(_MAGIC)
_HEAD: Final = _VOLUME + VOLUME_ID_BYTES + _NONCE


class EntrySeal:
    """Encrypts entries, each under its name. Used by many threads at once."""

    def __init__(self, open_keyring: Callable[[], Keyring]) -> None:
        """`open_keyring` is called at the first use, for it writes to the disk."""
        self._open_keyring = open_keyring
        self._keyring: Keyring | None = None
        self._ciphers: dict[bytes, AESGCM] = {}

    def seal(self, name: str, data: bytes) -> bytes:
        """Encrypt an entry. Raises `KeyUnavailable`, `StorageUnavailable`."""
        volume = self._ring().current()
        nonce = os.urandom(_NONCE)
        return _MAGIC + volume.id + nonce + self._cipher(volume).encrypt(nonce, data, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Decrypt an entry. Raises `IntegrityError`, `KeyUnavailable`, `StorageUnavailable`."""
        view = memoryview(sealed)
        if len(sealed) < _HEAD or not sealed.startswith(_MAGIC):
            raise IntegrityError(f"the entry {name} is not encrypted")
        volume_id = bytes(view[_VOLUME : _VOLUME + VOLUME_ID_BYTES])
        cipher = self._ciphers.get(volume_id) or self._cipher(self._ring().volume(volume_id))
        try:
            return cipher.decrypt(bytes(view[_VOLUME + VOLUME_ID_BYTES : _HEAD]), view[_HEAD:], name.encode())
        except (InvalidTag, ValueError):
            raise IntegrityError(f"the entry {name} is not what was kept there") from None

    def _ring(self) -> Keyring:
        if self._keyring is None:
            self._keyring = self._open_keyring()
        return self._keyring

    def _cipher(self, volume: Volume) -> AESGCM:
        return self._ciphers.setdefault(volume.id, AESGCM(volume.secret))
