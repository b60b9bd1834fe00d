"""Encrypted stores for tests: any backend, with a key of its own."""

from __future__ import annotations

from pathlib import Path

from storage.encryption import keyring, sealed
from storage.encryption.key_encryption import FileKey, write_new_key
from storage.encryption.keyring import Keyring
from storage.encryption.store import EncryptedStore
from storage.factory import Backend


def key_file(folder: Path, key_id: str = "k1") -> FileKey:
    """A key in a file, made if there is none."""
    path = folder / f"{key_id}.key"
    write_new_key(path)
    return FileKey(key_id, path)


def encrypted(backend: Backend, *keys: FileKey, active: str | None = None, looks_first: bool = True) -> EncryptedStore:
    """The backend with encryption by the last of the keys, or the one named."""
    ring = Keyring(backend.sibling(keyring.SUFFIX), {key.id: key for key in keys}, active or keys[-1].id)
    return EncryptedStore(backend, backend.sibling(sealed.SUFFIX), ring, looks_first=looks_first)
