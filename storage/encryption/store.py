"""An object store that encrypts what it is given. It keeps the contract of `storage.base`.

Encrypted objects lie beside plain ones, under the same keys, with another suffix to their names on the medium. So a
store may hold both: those from before encryption was on stay readable until `convert` has encrypted them, which
overwrites nothing either. Where a key has both, which is so for a moment only, they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from storage.at_hand import HasAtHand
from storage.base import ObjectReader, ObjectStat, ObjectStore, ObjectWriter, validate_key
from storage.encryption.keyring import Keyring
from storage.encryption.reading import SealedReader
from storage.encryption.sealed import HEADER, SEALED, SEGMENT, Cipher, Header, plain_size, segments
from storage.encryption.writing import SealedWriter
from storage.errors import IntegrityError, ObjectExists, ObjectNotFound, RangeNotSatisfiable

_REMEMBERED = 4096
_NEAR = 4 * SEGMENT
"""A range that begins before this is read from the start of the object on, which saves a request for the header."""


class EncryptedStore:
    """Encrypts new objects, reads encrypted and plain ones. Safe for many threads and many processes at once."""

    def __init__(
        self,
        plain: ObjectStore,
        sealed: ObjectStore,
        keyring: Keyring,
        *,
        encrypts: bool = True,
        looks_first: bool = True,
    ) -> None:
        """Keep encrypted objects in `sealed`; read `plain` too, and write there unless `encrypts`.

        With `looks_first`, a key that a plain object has is refused for a new one; without, the caller must see to it,
        which saves a request.
        """
        self.name = plain.name
        self.plain = plain
        # Not at each frame: `isinstance` of a protocol takes longer than to read a small one.
        self._plain_at_hand = plain if isinstance(plain, HasAtHand) else None
        self.sealed = sealed
        self.keyring = keyring
        self._encrypts = encrypts
        self._looks_first = looks_first
        self._known: dict[str, tuple[Cipher, int]] = {}
        """Ciphers and encrypted sizes of objects: what their headers say does not change."""

    def create(self, key: str, *, indexed: bool = False) -> ObjectWriter:
        """Start to write `key`. Raises `InvalidKey`, `ObjectExists`, `KeyUnavailable`, `StorageUnavailable`."""
        validate_key(key)
        if not self._encrypts:
            if self._looks_first and _has(self.sealed, key):
                raise ObjectExists(f"{key} exists")
            return self.plain.create(key, indexed=indexed)
        if self._looks_first and _has(self.plain, key):
            raise ObjectExists(f"{key} exists")
        return self.seal(key, indexed=indexed)

    def seal(self, key: str, *, indexed: bool = False) -> SealedWriter:
        """Start to write the encrypted object `key`, also where there is a plain one. Raises as `create`."""
        volume = self.keyring.current()
        header = Header.new(volume)
        self._known.pop(key, None)
        return SealedWriter(self.sealed.create(key, indexed=indexed), Cipher(volume, header, key), header.to_bytes())

    def open(self, key: str) -> ObjectReader:
        """Read the whole object. Raises as the contract says, and `KeyUnavailable`."""
        try:
            return self.open_sealed(key)
        except ObjectNotFound:
            pass
        try:
            return self.plain.open(key)
        except ObjectNotFound:
            return self.open_sealed(key)  # encrypted at this moment

    def open_sealed(self, key: str) -> SealedReader:
        """Read the encrypted object `key`, not a plain one. Raises as `open`."""
        inner = self.sealed.open(key)
        try:
            cipher = self._cipher(key, _read(inner, HEADER))
            reader = SealedReader(key, inner, cipher, plain_size(inner.object_size, key))
            if not reader.size:
                reader.begin()
            return reader
        except BaseException:
            inner.close()
            raise

    def open_range(self, key: str, offset: int, length: int) -> ObjectReader:
        """Read a range; of an encrypted object, only the segments in which it lies. Raises as `open`."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length cannot be negative")
        try:
            return self._open_sealed_range(key, offset, length)
        except ObjectNotFound:
            pass
        try:
            return self.plain.open_range(key, offset, length)
        except ObjectNotFound:
            return self._open_sealed_range(key, offset, length)

    def read_at_hand(self, key: str, offset: int, length: int) -> bytes | None:
        """A range of a plain object that is at hand; see `storage.at_hand`. Raises `InvalidKey`."""
        # Should it have been encrypted by now, these are the same bytes.
        return self._plain_at_hand.read_at_hand(key, offset, length) if self._plain_at_hand is not None else None

    def fill_at_hand(self, key: str, offset: int, room: memoryview) -> bool:
        """The same, read to where it is to be. Raises `InvalidKey`."""
        return self._plain_at_hand is not None and self._plain_at_hand.fill_at_hand(key, offset, room)

    def stat(self, key: str) -> ObjectStat:
        """Size of the plain object."""
        try:
            return self._stat_sealed(key)
        except ObjectNotFound:
            pass
        try:
            return self.plain.stat(key)
        except ObjectNotFound:
            return self._stat_sealed(key)

    def delete(self, key: str) -> None:
        """Remove the object, whether encrypted or plain or both."""
        # The plain one first: that it was encrypted must not be undone by half a deletion.
        self.plain.delete(key)
        self.sealed.delete(key)
        self._known.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys, in no order. Those of plain objects are kept in memory meanwhile, about 100 bytes each."""
        # Plain ones first: one that is encrypted meanwhile is then not missed.
        plain = set()
        for key in self.plain.keys(prefix):
            plain.add(key)
            yield key
        for key in self.sealed.keys(prefix):
            if key not in plain:
                yield key

    def local_path(self, key: str) -> Path | None:
        """The file of a plain object; None for an encrypted one, since there is none of its bytes."""
        path = self.plain.local_path(key)
        return None if path is None or _has(self.sealed, key) else path

    def recover(self, known: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Bring back what a crash took, encrypted or plain: both lie in one place."""
        return self.plain.recover(known)

    def check(self) -> None:
        """Prove that the store can be written and read now, and its key used."""
        self.sealed.check()
        if self._encrypts:
            self.keyring.check()

    def close(self) -> None:
        """Release connections."""
        self.plain.close()

    def _stat_sealed(self, key: str) -> ObjectStat:
        return ObjectStat(key, plain_size(self.sealed.stat(key).size, key))

    def _open_sealed_range(self, key: str, offset: int, length: int) -> SealedReader:
        known = self._known.get(key)
        if known is not None:
            try:
                return self._range(key, *known, offset, length)
            except IntegrityError:
                # Either it is damaged, or deleted and written again by another process: look at the header again.
                self._known.pop(key, None)
        if offset < _NEAR:
            return self._range_from_start(key, offset, length)
        try:
            with self.sealed.open_range(key, 0, HEADER) as inner:
                cipher, stored = self._cipher(key, _read(inner, HEADER)), inner.object_size
        except RangeNotSatisfiable:
            raise IntegrityError(f"the encrypted object {key} was cut short to nothing") from None
        return self._range(key, *self._remember(key, cipher, stored), offset, length)

    def _range_from_start(self, key: str, offset: int, length: int) -> SealedReader:
        """The same with one request, by which the header comes too."""
        end = HEADER + segments(offset + length) * SEALED
        try:
            inner = self.sealed.open_range(key, 0, end)
        except RangeNotSatisfiable:
            raise IntegrityError(f"the encrypted object {key} was cut short to nothing") from None
        try:
            cipher, stored = self._cipher(key, _read(inner, HEADER)), inner.object_size
            self._remember(key, cipher, stored)
            size = plain_size(stored, key)
            if offset >= size:
                self._past_the_end(key, cipher, stored, offset)
            reader = SealedReader(key, inner, cipher, size, offset, min(length, size - offset))
            reader.skip(offset // SEGMENT)
            return reader
        except BaseException:
            inner.close()
            raise

    def _range(self, key: str, cipher: Cipher, stored: int, offset: int, length: int) -> SealedReader:
        size = plain_size(stored, key)
        if offset >= size:
            self._past_the_end(key, cipher, stored, offset)
        length = min(length, size - offset)
        first = offset // SEGMENT
        start, end = HEADER + first * SEALED, min(stored, HEADER + segments(offset + length) * SEALED)
        inner = self.sealed.open_range(key, start, end - start)
        try:
            if inner.object_size != stored:
                raise IntegrityError(f"the encrypted object {key} has changed its size")
            reader = SealedReader(key, inner, cipher, size, offset, length, first)
            reader.begin()
            return reader
        except BaseException:
            inner.close()
            raise

    def _past_the_end(self, key: str, cipher: Cipher, stored: int, offset: int) -> None:
        """Say that the object is not so long, having seen that its end is its end."""
        size = plain_size(stored, key)
        last = segments(size) - 1
        start = HEADER + last * SEALED
        with self.sealed.open_range(key, start, stored - start) as inner:
            cipher.open(last, _read(inner, stored - start), last=True)
        raise RangeNotSatisfiable(f"{key} has {size} bytes, none from {offset}")

    def _cipher(self, key: str, data: bytes) -> Cipher:
        header = Header.from_bytes(data, key)
        return Cipher(self.keyring.volume(header.volume), header, key)

    def _remember(self, key: str, cipher: Cipher, stored: int) -> tuple[Cipher, int]:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = cipher, stored
        return cipher, stored


def _has(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectNotFound:
        return False
    return True


def _read(reader: ObjectReader, length: int) -> bytes:
    """`length` bytes, fewer only at the end."""
    data = reader.read(length)
    while len(data) < length and (more := reader.read(length - len(data))):
        data += more
    return data
