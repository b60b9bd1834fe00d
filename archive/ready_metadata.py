"""Metadata of many instances, ready-made: compressed JSON of groups of instances, kept in a cache (PS3.18 10.4.1.1.4).

A group is kept under a digest of all that its JSON is made of: the stored bytes, the corrections, the addresses in it.
So what is kept can be lost, but never be out of date; nobody has to withdraw it. Who asks is no part of it: what he may
see decides which instances are found, and so which groups.

Groups end where the digests of objects say, not after a count: an instance that comes into a series, or leaves the
view, changes the group where it is and no other. None crosses the bounds of a series, so a study shares those of its
series.

Bulk Data URIs begin with the address by which the client came, so each group is kept twice: as it is given under an
address, and without any. Under a new address nothing is read and parsed again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import pydicom

from archive.joined_gzip import HEADER, Ending, Piece, compress
from archive.metadata import each_text, resource_of
from archive.records import StoredInstance
from archive.standard.json_model import BulkPath, BulkURI
from archive.standard.json_text import with_addresses
from storage.base import ObjectStore
from storage.cache import DiskCache

# The headers of fewer instances with fewer bytes are read as fast as what would be kept of them.
_FEW: Final = 3
_SHORT: Final = 1 << 16
# Counted up when the same stored bytes give other JSON.
_FORMAT: Final = 2
_MAKER: Final = f"{_FORMAT} {pydicom.__version__}".encode()
# One object of so many ends a group, by the first byte of its digest: groups of about 64, and of 256 at most.
_ENDS_GROUP: Final = 256 // 64
_MOST: Final = 256
_MOST_BYTES: Final = 4 << 20
"""Of headers in a group; its JSON, which is in memory as a whole, has some times as many."""

_OPEN: Final = compress(b"[")
_BETWEEN: Final = compress(b",\n")
_CLOSE: Final = compress(b"]")


@dataclass(frozen=True, slots=True)
class Addresses:
    """How bulk data are named in metadata."""

    root: str
    """The address of the DICOMweb service, without a slash at the end."""
    suffix: str = ""
    """The query of each address, with its question mark."""

    def bulk_uri_of(self, inst: StoredInstance) -> BulkURI:
        """Names bulk data of the instance."""
        before = self.root + resource_of(inst)

        def uri(path: BulkPath) -> str:
            return f"{before}{'/'.join(map(str, path))}{self.suffix}"

        return uri


class _Group(NamedTuple):
    instances: Sequence[StoredInstance]
    bare: str
    """Under which name the JSON without addresses is kept,"""
    name: str
    """and that with addresses; the same if there are none."""


class ReadyMetadata:
    """Gives metadata from the cache, and makes what is not in it."""

    def __init__(self, store: ObjectStore, cache: DiskCache) -> None:
        self._store = store
        self._cache = cache

    def has_room(self) -> bool:
        """Whether what is made now would be kept."""
        return self._cache.has_room()

    def gzipped(self, found: Sequence[StoredInstance], addresses: Addresses) -> Generator[bytes, None, None]:
        """The JSON array of the metadata in their order, as one gzip stream."""
        ending = Ending()
        yield HEADER
        for piece in self._array(found, addresses):
            ending.add(piece)
            yield piece.deflated
        yield ending.to_bytes()

    def plain(self, found: Sequence[StoredInstance], addresses: Addresses) -> Generator[bytes, None, None]:
        """The same, not compressed."""
        for piece in self._array(found, addresses):
            yield piece.content()

    def prepare(
        self, found: Sequence[StoredInstance], addresses: Addresses | None = None
    ) -> Generator[int, None, None]:
        """Make what is not in the cache, for these addresses or for any; gives the instances of each group made."""
        groups = list(_named(found, addresses))
        missing = [group for group in groups if group.name not in self._cache]
        with closing(_Reading(self._store, self._cache, missing)) as reading:
            for group in missing:
                if addresses is None:
                    self._bare(group, reading)
                else:
                    self._complete(group, reading, addresses, small=True)
                yield len(group.instances)

    def _array(self, found: Sequence[StoredInstance], addresses: Addresses) -> Iterator[Piece]:
        groups = list(_named(found, addresses))
        missing = [group for group in groups if group.name not in self._cache]
        before = _OPEN
        with closing(_Reading(self._store, self._cache, missing)) as reading:
            for group in groups:
                yield before
                kept = None if reading.is_next(group) else self._cache.get(group.name)
                yield self._complete(group, reading, addresses) if kept is None else Piece.from_bytes(kept)
                before = _BETWEEN
        if before is _OPEN:
            yield _OPEN
        yield _CLOSE

    def _complete(self, group: _Group, reading: _Reading, addresses: Addresses, *, small: bool = False) -> Piece:
        """Make and keep the JSON of a group with addresses."""
        text = with_addresses(self._bare(group, reading), addresses.root, addresses.suffix)
        piece = compress(text, small=small)
        self._cache.put(group.name, piece.to_bytes())
        return piece

    def _bare(self, group: _Group, reading: _Reading) -> bytes:
        """The JSON of a group without addresses: what is kept, or it is made and kept."""
        if not reading.is_next(group):
            kept = self._cache.get(group.bare)
            if kept is not None:
                return Piece.from_bytes(kept).content()
        text = b",\n".join(reading.texts(group))
        self._cache.put(group.bare, compress(text).to_bytes())
        return text


class _Reading:
    """Reads the instances of groups that are not kept at all, as if they were one: ahead over the ends of groups."""

    def __init__(self, store: ObjectStore, cache: DiskCache, groups: Sequence[_Group]) -> None:
        self._store = store
        self._groups = deque(group for group in groups if group.bare not in cache)
        self._texts = each_text(store, [inst for group in self._groups for inst in group.instances])

    def is_next(self, group: _Group) -> bool:
        """Whether the group is to be read, and is the next."""
        return bool(self._groups) and self._groups[0] is group

    def texts(self, group: _Group) -> list[bytes]:
        """The JSON of each instance of the next group, or of any that was kept and is gone meanwhile."""
        if not self.is_next(group):
            return list(each_text(self._store, group.instances))
        self._groups.popleft()
        return list(islice(self._texts, len(group.instances)))

    def close(self) -> None:
        """Read no further."""
        self._texts.close()


def worth_keeping(found: Sequence[StoredInstance]) -> bool:
    """Whether to ask for metadata of these instances here: of many, or of a multi-frame with thousands of frames."""
    return len(found) >= _FEW or sum(inst.object.header_length for inst in found) >= _SHORT


def fingerprint(inst: StoredInstance) -> bytes:
    """What the metadata of an instance depend on, beside the addresses in them."""
    stored, corrections = inst.object, inst.corrections
    # UIDs are in the addresses; the place and the coding of elements follow from bytes and transfer syntax.
    names = (inst.study_instance_uid, inst.series_instance_uid, inst.sop_instance_uid, stored.transfer_syntax_uid)
    corrected = "" if corrections is None else repr(corrections)
    return stored.digest + "\0".join((*names, corrected, "")).encode()


def _named(found: Sequence[StoredInstance], addresses: Addresses | None) -> Iterator[_Group]:
    """The groups, and under which names each is kept."""
    for group in groups(found):
        digest = hashlib.sha256(_MAKER + b"\0" + b"".join(map(fingerprint, group)))
        bare = name = digest.hexdigest()
        if addresses is not None:
            digest.update(f"{addresses.root}\0{addresses.suffix}\0".encode())
            name = digest.hexdigest()
        yield _Group(group, bare, name)


def groups(found: Sequence[StoredInstance]) -> Iterator[Sequence[StoredInstance]]:
    """Cut the instances into groups: at the end of a series, and where the digests of objects say."""
    start = size = 0
    for at, inst in enumerate(found, 1):
        size += inst.object.header_length
        last = at == len(found) or found[at].series_instance_uid != inst.series_instance_uid
        if last or inst.object.digest[0] < _ENDS_GROUP or at - start == _MOST or size >= _MOST_BYTES:
            yield found[start:at]
            start, size = at, 0
