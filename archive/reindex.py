"""Makes index rows for all objects that the store has and the index does not: after the database was restored or lost.

Back-ups of the database are older than the objects. The rows committed since then are gone, their objects are not, and
each was acknowledged to a sender who will not send it again; see `archive.adopt`. Objects that a running writer is busy
with are left alone: their key block is in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from archive.adopt import Adopted, Adopter
from archive.correction.rules import Worklist, no_worklist
from archive.index_session import IndexSession
from archive.keys import with_rows
from config.peers import PeerBook
from storage.base import ObjectStore

PAGE = 1000
OF_ARCHIVE = "audit/"
"""What keys begin with that are no objects of senders."""


@dataclass(slots=True)
class Reindexed:
    """What one run found and did."""

    seen: int = 0
    indexed: int = 0
    copies: int = 0
    """Objects whose bytes are indexed under another key; they stay where they are."""
    unreadable: int = 0
    """Objects that no row can be made for; the log names each."""


def reindex(
    session: IndexSession,
    store: ObjectStore,
    peers: PeerBook,
    worklist: Worklist = no_worklist,
    progress: Callable[[Reindexed], None] = lambda _: None,
) -> Reindexed:
    """Add a row for every object without one, in the order they were received. Raises `Unavailable`, `StorageError`.

    Reconcile first: it settles the blocks of writers that died. Holds the keys of all objects without a row in memory,
    about 100 bytes each.
    """
    done = Reindexed()
    missing: list[str] = []
    for page in _pages(key for key in store.keys("") if not key.startswith(OF_ARCHIVE)):
        done.seen += len(page)
        missing += _without_row(session, page)
        progress(done)
    # Whatever the policy is now: both versions of an object may have been acknowledged.
    with Adopter(session, store, peers, conflict="version", worklist=worklist) as adopter:
        for count, key in enumerate(sorted(missing), 1):
            became = adopter.adopt(key)
            done.indexed += became is Adopted.INDEXED
            done.copies += became is Adopted.COPY
            done.unreadable += became is Adopted.UNREADABLE
            if count % PAGE == 0:
                progress(done)
    progress(done)
    return done


def _pages(keys: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(keys)
    while page := list(islice(iterator, PAGE)):
        yield page


def _without_row(session: IndexSession, keys: list[str]) -> list[str]:
    """Those keys that neither have a row nor belong to a writer.

    Blocks are asked for before rows: a block that is gone by then has left no key without either a row or an end.
    """
    prefixes = sorted({key.rpartition("/")[0] for key in keys})
    blocks = session.run(
        lambda connection: connection.execute(
            "SELECT prefix FROM key_block WHERE prefix = ANY(%s)", (prefixes,)
        ).fetchall()
    )
    busy = {prefix for (prefix,) in blocks}
    free = [key for key in keys if key.rpartition("/")[0] not in busy]
    indexed = with_rows(session.run, free)
    return [key for key in free if key not in indexed]
