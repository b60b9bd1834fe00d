"""Encrypts what was stored before encryption was on.

Of each plain object an encrypted one is written beside it, made durable, read again and compared; only then is the
plain one deleted. A crash leaves both, and the next run goes on there: what is left to do is what is plain. Readers
find one of the two at any moment. Several may run at once, on different prefixes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from config.logs import fields
from storage.base import ObjectReader
from storage.encryption.store import EncryptedStore
from storage.errors import IntegrityError, KeyUnavailable, ObjectExists, ObjectNotFound, StorageError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Converted:
    """What one run did."""

    objects: int = 0
    bytes: int = 0
    failed: int = 0
    """Objects that could not be encrypted now; they are as they were. The log names each."""


def encrypt_existing(
    store: EncryptedStore, prefix: str = "", progress: Callable[[Converted], None] = lambda _: None
) -> Converted:
    """Encrypt all plain objects under keys that start with `prefix`.

    Every process that writes to the store must use encryption already: one that does not would not find them.
    Raises `KeyUnavailable`, and `StorageUnavailable` if the store cannot be listed.
    """
    done = Converted()
    for key in store.plain.keys(prefix):
        try:
            size = _encrypt(store, key)
        except KeyUnavailable:
            raise
        except ObjectNotFound:
            continue  # deleted meanwhile, or encrypted by another run
        except StorageError as error:
            done.failed += 1
            log.error("an object could not be encrypted", extra=fields(key=key, error=str(error)))
            continue
        done.objects += 1
        done.bytes += size
        progress(done)
    return done


def _encrypt(store: EncryptedStore, key: str) -> int:
    """Encrypt one object. Gives its size."""
    digest, size = _digest(store.plain.open(key))
    if not _is_there(store, key, digest):
        # An unfinished write of a run that was killed, or a copy that is not right: nobody has it for the only one.
        store.sealed.delete(key)
        with contextlib.suppress(ObjectExists):
            _write(store, key)
        if not _is_there(store, key, digest):
            raise IntegrityError(f"{key} differs after it was encrypted")
    store.plain.delete(key)
    return size


def _write(store: EncryptedStore, key: str) -> None:
    with store.plain.open(key) as reader, store.seal(key) as writer:
        for chunk in reader:
            writer.write(chunk)
        writer.commit()


def _is_there(store: EncryptedStore, key: str, digest: bytes) -> bool:
    """Whether there is an encrypted object that decrypts to these bytes."""
    try:
        return _digest(store.open_sealed(key))[0] == digest
    except (ObjectNotFound, IntegrityError):
        return False


def _digest(reader: ObjectReader) -> tuple[bytes, int]:
    digest = hashlib.sha256()
    with reader:
        for chunk in reader:
            digest.update(chunk)
        return digest.digest(), reader.size
