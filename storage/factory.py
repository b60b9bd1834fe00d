"""The object store that the settings ask for."""

from __future__ import annotations

from config.settings import Settings
from storage.base import ObjectStore
from storage.filesystem import FilesystemStore
from storage.memory import MemoryStore
from storage.s3 import S3Store


def open_store(settings: Settings) -> ObjectStore:
    """Open the store; its folder or bucket is made if missing. Raises `StorageUnavailable`."""
    storage = settings.storage
    if storage.backend == "filesystem":
        return FilesystemStore(settings.objects_dir, storage.minimum_free_bytes)
    if storage.backend == "memory":
        return MemoryStore()
    store = S3Store(storage.s3, settings.spool_dir)
    try:
        store.ensure_bucket()
    except BaseException:
        store.close()
        raise
    return store
