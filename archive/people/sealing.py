"""Seals secrets that must be read again, so that a copy of the database alone gives nobody a second factor."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from archive.errors import Unavailable

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class CannotUnseal(Unavailable):
    """Sealed with another key than that of the file."""


class Seal:
    """AES-256-GCM under the key of a file, which is made at the first use. All web processes must have the same one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = b""

    def seal(self, secret: bytes, owner: str) -> bytes:
        """`owner` is what it must be unsealed for: moved to another row, it is worth nothing. Raises `OSError`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._get()).encrypt(nonce, secret, owner.encode())

    def unseal(self, sealed: bytes, owner: str) -> bytes:
        """Raises `CannotUnseal`, `OSError`."""
        try:
            return AESGCM(self._get()).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except InvalidTag:
            raise CannotUnseal("this is sealed with another key than access.key_file has") from None

    def _get(self) -> bytes:
        if not self._key:
            if not self._path.exists():
                self._make()
            key = self._path.read_bytes()
            if len(key) != _KEY_BYTES:
                raise CannotUnseal(f"access.key_file {self._path} does not hold {_KEY_BYTES} bytes")
            self._key = key
        return self._key

    def _make(self) -> None:
        """Whole or not at all, and by one process only."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, self._path)
        finally:
            draft.unlink()
