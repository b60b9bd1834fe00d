"""The object store that the settings ask for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from config.encryption import LOCAL_KEY, EncryptionKey
from config.settings import Settings
from storage.base import ObjectStore
from storage.encryption import keyring, sealed
from storage.encryption.entries import EntrySeal
from storage.encryption.key_encryption import CommandKey, FileKey, KeyEncryptionKey, write_new_key
from storage.encryption.keyring import Keyring
from storage.encryption.store import EncryptedStore
from storage.errors import KeyUnavailable
from storage.filesystem import FilesystemStore
from storage.journal import Journal
from storage.memory import MemoryStore
from storage.s3 import S3Store
from storage.uploader import Uploader
from storage.write_back import WriteBackStore

Backend = FilesystemStore | S3Store | WriteBackStore | MemoryStore


def open_store(settings: Settings) -> ObjectStore:
    """Open the store; its folder or bucket is made if missing. Raises `KeyUnavailable`, `StorageUnavailable`."""
    backend = _open_backend(settings)
    try:
        return _encrypted(backend, settings)
    except BaseException:
        backend.close()
        raise


def encryption_keys(settings: Settings) -> dict[str, KeyEncryptionKey]:
    """All keys of the settings, by id, and the local one if there is its file. Raises `KeyUnavailable`."""
    keys = {key.id: _key(key) for key in settings.storage.encryption.keys}
    if settings.local_key.file is not None and settings.local_key.file.exists():
        keys[LOCAL_KEY] = _key(settings.local_key)
    return keys


def cache_seal(settings: Settings) -> EntrySeal | None:
    """What encrypts caches on the local disk; None where new objects are not encrypted. Raises `KeyUnavailable`."""
    active, keys = settings.storage.encryption.active, encryption_keys(settings)
    if active not in keys:
        return None
    return EntrySeal(lambda: _keyring(FilesystemStore(settings.cache_dir / "keys"), keys, active))


def ensure_local_key(settings: Settings) -> Path | None:
    """The file of the key ``local``, made where the settings leave it to us and nothing was encrypted before.

    None if the settings name other keys or none. Raises `KeyUnavailable` rather than to make a key in the place of a
    lost one; `StorageUnavailable`; `OSError`.
    """
    path, encryption = settings.local_key.file, settings.storage.encryption
    if path is None or encryption.keys or encryption.active != LOCAL_KEY or settings.storage.backend == "memory":
        return None
    if not path.exists():
        open_store(settings).close()
        if write_new_key(path):
            # What was kept ready-made so far is not encrypted.
            shutil.rmtree(settings.cache_dir, ignore_errors=True)
    return path


def _keyring(backend: Backend, keys: Mapping[str, KeyEncryptionKey], active: str) -> Keyring:
    return Keyring(backend.sibling(keyring.SUFFIX), keys, active)


def _encrypted(backend: Backend, settings: Settings) -> ObjectStore:
    """The backend with encryption; the backend itself where nothing is and nothing was to be encrypted."""
    active, keys = settings.storage.encryption.active, encryption_keys(settings)
    ring = _keyring(backend, keys, active)
    if active and active not in keys:
        if settings.storage.encryption.keys:
            raise KeyUnavailable("storage.encryption.active must name the key for new objects, or be empty")
        if not ring.is_empty():
            raise KeyUnavailable(
                f"the objects are encrypted, and their key is not here: put {settings.local_key.file} back"
            )
        return backend
    if not keys:
        if not ring.is_empty():
            raise KeyUnavailable("the objects are encrypted: storage.encryption.keys must name their key")
        return backend
    # With S3, to look would cost a request for each object; the keys of the archive are unique.
    return EncryptedStore(
        backend,
        backend.sibling(sealed.SUFFIX),
        ring,
        encrypts=bool(active),
        looks_first=backend.name != "s3",
    )


def _key(key: EncryptionKey) -> KeyEncryptionKey:
    return FileKey(key.id, key.file) if key.file is not None else CommandKey(key.id, key.command)


def _open_backend(settings: Settings) -> Backend:
    storage = settings.storage
    if storage.backend == "filesystem":
        return _in_folder(settings, settings.objects_dir)
    if storage.backend == "memory":
        return MemoryStore()
    store = S3Store(storage.s3, settings.spool_dir)
    try:
        store.ensure_bucket()
        # A spool that was turned off may have objects still, so it goes on to be read and emptied.
        if not settings.spools:
            return store
        spool = _in_folder(settings, settings.waiting_dir)
    except BaseException:
        store.close()
        raise
    uploader = Uploader(settings.waiting_dir.absolute(), store, storage.s3.uploads)
    return WriteBackStore(spool, store, uploader, receives=storage.s3.write_back)


def _in_folder(settings: Settings, folder: Path) -> FilesystemStore:
    journal = Journal(str(folder.absolute())) if settings.storage.journal else None
    return FilesystemStore(folder, settings.storage.minimum_free_bytes, journal)
