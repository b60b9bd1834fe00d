"""What is made of stored objects, kept on the local disk: pictures, frames and objects in another transfer syntax.

Names are digests of all that an entry is made of, so that none can be out of date and nobody withdraws any. Whoever
asks has been let through to the instance before: a name alone opens nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from archive.ready_metadata import fingerprint
from archive.records import StoredInstance
from storage.cache import DiskCache

LARGEST_KEPT: Final = 32 << 20
"""Bytes of one entry: it is read into memory to be given."""


def name_of(maker: str, inst: StoredInstance, *how: object) -> str:
    """The name of what a maker makes of an instance in this way.

    `maker` carries a number, to be counted up when the same instance would become something else.
    """
    described = "\0".join((maker, *map(repr, how))).encode()
    return hashlib.sha256(fingerprint(inst) + described).hexdigest()


def tag_of(name: str) -> str:
    """The strong entity tag of an entry."""
    return f'"{name[:32]}"'


def each(cache: DiskCache, names: Sequence[str], make: Callable[[Sequence[int]], Iterator[bytes]]) -> Iterator[bytes]:
    """The entries of these names in their order.

    Those that are missing are made in one go: `make` gets their places in `names`.
    """
    missing = [place for place, name in enumerate(names) if name not in cache]
    made = make(missing) if missing else iter(())
    wanted = set(missing)
    for place, name in enumerate(names):
        found = None if place in wanted else cache.get(name)
        if found is None:
            # It may have been there, and be gone or damaged now.
            found = next(made) if place in wanted else next(make([place]))
            if len(found) <= LARGEST_KEPT:
                cache.put(name, found)
        yield found


def ahead(items: Iterator[bytes]) -> Iterator[bytes]:
    """The same items; what is wrong with the first is raised now, before a response begins."""
    return chain((next(items),), items)


def keeping(
    cache: DiskCache, name: str, chunks: Iterable[bytes], expected: int | None = None
) -> Generator[bytes, None, None]:
    """The chunks as they come; they become an entry once all have been taken, unless they are too many.

    With the `expected` bytes known, none are held of what will be too large.
    """
    held: list[bytes] | None = None if expected is not None and expected > LARGEST_KEPT else []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if held is not None:
            held.append(bytes(chunk))
            if size > LARGEST_KEPT:
                held = None
        yield chunk
    if held is not None:
        cache.put(name, b"".join(held))
