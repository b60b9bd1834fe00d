"""Metadata of many instances, ready-made: compressed JSON of groups of instances, kept in a cache (PS3.18 10.4.1.1.4).

A group is kept under a digest of all that its JSON is made of: the stored bytes, the corrections, the addresses in it.
So what is kept can be lost, but never be out of date; nobody has to withdraw it.

Groups end where the digests of objects say, not after a count: an instance that comes into a series, or leaves the
view, changes the group where it is and no other. None crosses the bounds of a series, so a study shares those of its
series.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

import orjson
import pydicom

from archive.joined_gzip import HEADER, Ending, Piece, compress
from archive.metadata import each_metadata
from archive.records import StoredInstance
from archive.standard.json_model import BulkURI
from storage.base import ObjectStore
from storage.cache import DiskCache

# Counted up when the same stored bytes give other JSON.
_FORMAT: Final = 1
_MAKER: Final = f"{_FORMAT} {pydicom.__version__}"
# One object of so many ends a group, by the first byte of its digest: groups of about 64, and of 256 at most.
_ENDS_GROUP: Final = 256 // 64
_MOST: Final = 256

_OPEN: Final = compress(b"[")
_BETWEEN: Final = compress(b",\n")
_CLOSE: Final = compress(b"]")


class Addresses:
    """How bulk data of instances are named in metadata."""

    def __init__(self, name: str, bulk_uri_of: Callable[[StoredInstance], BulkURI]) -> None:
        """`name` tells apart what gives different addresses."""
        self.name = name
        self.bulk_uri_of = bulk_uri_of


class ReadyMetadata:
    """Gives metadata from the cache, and makes what is not in it."""

    def __init__(self, store: ObjectStore, cache: DiskCache) -> None:
        self._store = store
        self._cache = cache

    def gzipped(self, found: Sequence[StoredInstance], addresses: Addresses) -> Generator[bytes, None, None]:
        """The JSON array of the metadata in their order, as one gzip stream."""
        ending = Ending()
        yield HEADER
        for piece in self._pieces(found, addresses):
            ending.add(piece)
            yield piece.deflated
        yield ending.to_bytes()

    def plain(self, found: Sequence[StoredInstance], addresses: Addresses) -> Generator[bytes, None, None]:
        """The same, not compressed."""
        for piece in self._pieces(found, addresses):
            yield piece.content()

    def prepare(self, found: Sequence[StoredInstance], addresses: Addresses) -> int:
        """Make what is not in the cache. Gives the number of groups made."""
        missing = [(name, group) for name, group in _named(found, addresses) if name not in self._cache]
        for name, group in missing:
            self._made(name, group, addresses)
        return len(missing)

    def _pieces(self, found: Sequence[StoredInstance], addresses: Addresses) -> Iterator[Piece]:
        before = _OPEN
        for name, group in _named(found, addresses):
            yield before
            kept = self._cache.get(name)
            yield self._made(name, group, addresses) if kept is None else Piece.from_bytes(kept)
            before = _BETWEEN
        if before is _OPEN:
            yield _OPEN
        yield _CLOSE

    def _made(self, name: str, group: Sequence[StoredInstance], addresses: Addresses) -> Piece:
        metadata = each_metadata(self._store, group, addresses.bulk_uri_of)
        piece = compress(b",\n".join(map(orjson.dumps, metadata)))
        self._cache.put(name, piece.to_bytes())
        return piece


def fingerprint(inst: StoredInstance) -> bytes:
    """What the metadata of an instance depend on, beside the addresses in them."""
    stored, corrections = inst.object, inst.corrections
    # UIDs are in the addresses; the place and the coding of elements follow from bytes and transfer syntax.
    names = (inst.study_instance_uid, inst.series_instance_uid, inst.sop_instance_uid, stored.transfer_syntax_uid)
    corrected = "" if corrections is None else repr(corrections)
    return stored.digest + "\0".join((*names, corrected, "")).encode()


def _named(found: Sequence[StoredInstance], addresses: Addresses) -> Iterator[tuple[str, Sequence[StoredInstance]]]:
    """The groups, and under which name each is kept."""
    head = f"{_MAKER}\0{addresses.name}\0".encode()
    for group in groups(found):
        yield hashlib.sha256(head + b"".join(map(fingerprint, group))).hexdigest(), group


def groups(found: Sequence[StoredInstance]) -> Iterator[Sequence[StoredInstance]]:
    """Cut the instances into groups: at the end of a series, and where the digests of objects say."""
    start = 0
    for at, inst in enumerate(found, 1):
        last = at == len(found) or found[at].series_instance_uid != inst.series_instance_uid
        if last or inst.object.digest[0] < _ENDS_GROUP or at - start == _MOST:
            yield found[start:at]
            start = at
