"""The volume keys of a store, each wrapped by a key encryption key, kept in the store itself.

Many objects share a volume: each process that writes makes one at its first object, and another every 30 days. So an
exchange of the key encryption key (`rewrap`) touches some hundred small records, not the objects; and a store that is
copied whole needs nothing but the key encryption key to be read.

A record is written twice, under ``keyring/1/<volume>/<key id>`` and ``keyring/2/...``: with its last copy, all objects
of its volume would be lost. Like all objects it is never overwritten; wrapped by another key it has another name.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from storage.base import ObjectStore
from storage.encryption.key_encryption import KeyEncryptionKey
from storage.encryption.sealed import KEY_BYTES, VOLUME_ID_BYTES, Volume
from storage.errors import IntegrityError, KeyUnavailable, ObjectNotFound

SUFFIX: Final = ".key1"
"""Behind the names of records on the medium."""
COPIES: Final = ("1", "2")
VOLUME_SECONDS: Final = 30 * 86400.0
_FORMAT: Final = 1
_LABEL: Final = b"provincial-pacs volume key "


@dataclass(slots=True)
class Rewrapped:
    """What `Keyring.rewrap` found and did."""

    volumes: int = 0
    rewrapped: int = 0
    """Volumes that are wrapped by the active key now, and by no other."""
    mended: int = 0
    """Copies that were lost or damaged, and are there again."""
    failed: dict[str, str] = field(default_factory=dict)
    """Volumes that could not be unwrapped, and why."""


class Keyring:
    """Gives volume keys. Used by many threads at once."""

    def __init__(self, records: ObjectStore, keys: Mapping[str, KeyEncryptionKey], active: str) -> None:
        """Keep the records in `records`, a store in which nothing else lies; wrap new keys by the key `active`.

        With an empty `active` no new volume can be made.
        """
        self.keys = keys
        self._records = records
        self._active = active
        self._volumes: dict[bytes, Volume] = {}
        self._lock = threading.Lock()
        self._current: Volume | None = None
        self._current_until = 0.0

    def current(self) -> Volume:
        """The volume for new objects; its record is durable. Raises `KeyUnavailable`, `StorageUnavailable`."""
        volume = self._current
        if volume is not None and time.monotonic() < self._current_until:
            return volume
        with self._lock:
            if self._current is None or time.monotonic() >= self._current_until:
                self._current = self._make()
                self._current_until = time.monotonic() + VOLUME_SECONDS
            return self._current

    def volume(self, volume_id: bytes) -> Volume:
        """A volume by its id. Raises `KeyUnavailable`, `StorageUnavailable`."""
        found = self._volumes.get(volume_id)
        if found is None:
            found = self._volumes[volume_id] = self._find(volume_id)
        return found

    def is_empty(self) -> bool:
        """Whether nothing was ever encrypted here. Raises `StorageUnavailable`."""
        return next(iter(self._records.keys("keyring/")), None) is None

    def check(self) -> None:
        """Prove that a new object could be encrypted now. Raises `KeyUnavailable`."""
        if self._current is not None:
            return
        key, probe = self._key(self._active), os.urandom(KEY_BYTES)
        if key.unwrap(key.wrap(probe, _LABEL), _LABEL) != probe:
            raise KeyUnavailable(f"the encryption key {self._active!r} does not give back what it wrapped")

    def wrapped(self) -> dict[str, dict[str, set[str]]]:
        """Of each volume, by its hexadecimal id: the ids of the keys that wrap it, and the copies there are of each."""
        found: dict[str, dict[str, set[str]]] = {}
        for name in self._records.keys("keyring/"):
            copy, volume, key_id = name.split("/")[1:]
            found.setdefault(volume, {}).setdefault(key_id, set()).add(copy)
        return found

    def rewrap(self, progress: Callable[[Rewrapped], None] = lambda _: None) -> Rewrapped:
        """Wrap all volume keys by the active key, and take the records by other keys away.

        May be broken off and called again. Raises `KeyUnavailable` if there is no active key, `StorageUnavailable`.
        """
        active = self._key(self._active)
        done = Rewrapped()
        for volume_id, by_key in self.wrapped().items():
            done.volumes += 1
            try:
                volume = self._find(bytes.fromhex(volume_id))
            except (KeyUnavailable, ValueError) as error:
                done.failed[volume_id] = str(error)
                continue
            known = {key_id for key_id in by_key if key_id != active.id}
            kept = [copy for copy in COPIES if self._is_good(_name(copy, volume.id, active.id), volume)]
            if kept != list(COPIES):
                self._renew(volume, active, [copy for copy in COPIES if copy not in kept])
                done.mended += not known
            for key_id in known:
                for copy in COPIES:
                    self._records.delete(_name(copy, volume.id, key_id))
            done.rewrapped += bool(known)
            progress(done)
        return done

    def _renew(self, volume: Volume, active: KeyEncryptionKey, copies: list[str]) -> None:
        record = _record(volume, active)
        for copy in copies:
            name = _name(copy, volume.id, active.id)
            self._records.delete(name)  # a damaged one
            self._write(name, record)
            if not self._is_good(name, volume):
                raise KeyUnavailable(f"the record {name} was read back differently")

    def _make(self) -> Volume:
        active = self._key(self._active)
        volume = Volume(os.urandom(VOLUME_ID_BYTES), os.urandom(KEY_BYTES))
        record = _record(volume, active)
        for copy in COPIES:
            self._write(_name(copy, volume.id, active.id), record)
        # Not before it was seen to work: what it encrypts could never be read.
        found = self._volumes[volume.id] = self._find(volume.id)
        return found

    def _write(self, name: str, record: bytes) -> None:
        with self._records.create(name) as writer:
            writer.write(record)
            writer.commit()

    def _key(self, key_id: str) -> KeyEncryptionKey:
        key = self.keys.get(key_id)
        if key is None:
            raise KeyUnavailable(f"there is no encryption key {key_id!r} in the settings")
        return key

    def _find(self, volume_id: bytes) -> Volume:
        problem = ""
        listed = set()
        for name in self._names(volume_id):
            key = self.keys.get(name.rpartition("/")[2])
            listed.add(name.rpartition("/")[2])
            if key is None:
                continue
            try:
                return self._read(name, volume_id, key)
            except (KeyUnavailable, IntegrityError, ObjectNotFound) as error:
                problem = str(error)
        if problem:
            raise KeyUnavailable(problem)
        if listed:
            raise KeyUnavailable(
                f"objects are encrypted by the key {' or '.join(sorted(listed))}, which is not among "
                "storage.encryption.keys"
            )
        raise KeyUnavailable(
            f"the record of the volume key {volume_id.hex()} is lost: restore the folder keyring of the store"
        )

    def _names(self, volume_id: bytes) -> Iterator[str]:
        """The records of a volume: the one by the active key first, for a key that is retired may be slow or gone."""
        names = [name for copy in COPIES for name in self._records.keys(f"keyring/{copy}/{volume_id.hex()}/")]
        yield from sorted(names, key=lambda name: name.rpartition("/")[2] != self._active)

    def _read(self, name: str, volume_id: bytes, key: KeyEncryptionKey) -> Volume:
        wrapped, check = self._record_of(name)
        volume = Volume(volume_id, key.unwrap(wrapped, _LABEL + volume_id))
        if not hmac.compare_digest(_check(volume), check):
            raise IntegrityError(f"the record {name} does not belong to its volume")
        return volume

    def _record_of(self, name: str) -> tuple[bytes, bytes]:
        with self._records.open(name) as reader:
            data = reader.read()
        try:
            record: Any = json.loads(data)
            if record["format"] == _FORMAT:
                return base64.b64decode(record["wrapped"], validate=True), bytes.fromhex(record["check"])
        except (ValueError, KeyError, TypeError, binascii.Error):
            pass
        raise IntegrityError(f"the record {name} is damaged; its second copy, or a back-up, has it")

    def _is_good(self, name: str, volume: Volume) -> bool:
        try:
            return self._read(name, volume.id, self._key(self._active)).secret == volume.secret
        except (IntegrityError, KeyUnavailable, ObjectNotFound):
            return False


def _name(copy: str, volume_id: bytes, key_id: str) -> str:
    return f"keyring/{copy}/{volume_id.hex()}/{key_id}"


def _record(volume: Volume, key: KeyEncryptionKey) -> bytes:
    wrapped = key.wrap(volume.secret, _LABEL + volume.id)
    record = {
        "format": _FORMAT,
        "volume": volume.id.hex(),
        "key": key.id,
        "wrapped": base64.b64encode(wrapped).decode(),
        "check": _check(volume).hex(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(record, indent=1).encode() + b"\n"


def _check(volume: Volume) -> bytes:
    """Tells the right volume key from any other; a KMS may give back anything."""
    return hmac.digest(volume.secret, b"check " + volume.id, "sha256")[:16]
