"""Objects that one thread takes in together: they share a flush and a transaction, and the order in which they came.

A thread for each would share these too, but most of the time of all went into waking them up for each step.
"""

from __future__ import annotations

from collections.abc import Sequence

from archive.ingest import Receiving, store_unavailable
from archive.records import Receipt
from storage import together
from storage.errors import StorageError


def commit_all(receivings: Sequence[Receiving]) -> list[Exception | None]:
    """`Receiving.commit` some objects that were checked, which share a flush if they can; what it would have raised."""
    waiting = [each for each in receivings if each._open]
    failed: dict[Receiving, Exception] = {}
    for each, error in zip(waiting, together.commit_all([each._writer for each in waiting]), strict=True):
        each._committing = True
        if error is None:
            each._open = False
            continue
        each.abort()
        failed[each] = store_unavailable(error) if isinstance(error, StorageError) else error
    return [failed.get(each) for each in receivings]


def finish_all(receivings: Sequence[Receiving]) -> list[Receipt | Exception]:
    """`Receiving.finish` some objects that are durable, in one transaction, as if one after the other; what it would
    have raised is given back. A rejection note has to come alone."""
    if not receivings:
        return []
    safe = [(each._arrival, each._key) for each in receivings if each._arrival is not None]
    return [
        added if isinstance(added, Exception) else each._given(arrival, added)
        for each, (arrival, _), added in zip(receivings, safe, receivings[0]._ingest.add_all(safe), strict=True)
    ]
