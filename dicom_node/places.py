"""Associations that there may be at once: of the node, and of each peer, whichever process of the node they are in."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import Counter
from typing import Final

from config.peers import Peer
from dicom_node.negotiation import Rejection

_PEERS: Final = 1 << 40
"""Offset in the ledger behind which peers have their ranges; the node's own range is at its start."""
_RANGE: Final = 1 << 20
"""Places that one peer can have."""


class Places:
    """Those of one process."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, peer: Peer) -> Rejection | None:
        """Take one, or say why there is none."""
        own = peer.limits.maximum_associations
        with self._lock:
            if own is not None and self._taken[peer.ae_title] >= own:
                return Rejection.TOO_MANY_OF_PEER
            if self._total >= self._maximum:
                return Rejection.TOO_MANY_ASSOCIATIONS
            self._taken[peer.ae_title] += 1
            self._total += 1
        return None

    def give_back(self, peer: Peer) -> None:
        """Give one back."""
        with self._lock:
            self._total -= 1
            self._taken[peer.ae_title] -= 1
            if not self._taken[peer.ae_title]:
                # AE titles of strangers must not pile up.
                del self._taken[peer.ae_title]


def ledger() -> int:
    """A file without name or content, for `SharedPlaces`: the descriptor."""
    return os.memfd_create("places of the node")


class SharedPlaces:
    """Those of several processes: a place is a lock on one byte of a file that all of them have open.

    The kernel gives the locks of a process back when it ends, in whatever way: a place cannot be lost. Locks belong to
    the process (fcntl(2)), so which of its own places are taken each process knows by itself.
    """

    def __init__(self, maximum: int, ledger: int) -> None:
        self._maximum = maximum
        self._ledger = ledger
        self._lock = threading.Lock()
        self._held: dict[str, list[int]] = {}
        """Offsets taken for each peer, the node's and the peer's own in turns."""
        self._offsets: set[int] = set()

    def take(self, peer: Peer) -> Rejection | None:
        """Take one, or say why there is none."""
        own = peer.limits.maximum_associations
        with self._lock:
            of_peer = self._free(_range_of(peer.ae_title), own) if own is not None else -1
            if of_peer is None:
                return Rejection.TOO_MANY_OF_PEER
            of_node = self._free(0, self._maximum)
            if of_node is None:
                self._release(of_peer)
                return Rejection.TOO_MANY_ASSOCIATIONS
            self._held.setdefault(peer.ae_title, []).append(of_node)
            self._held[peer.ae_title].append(of_peer)
        return None

    def give_back(self, peer: Peer) -> None:
        """Give one back."""
        with self._lock:
            held = self._held[peer.ae_title]
            self._release(held.pop())
            self._release(held.pop())
            if not held:
                del self._held[peer.ae_title]

    def _free(self, start: int, count: int) -> int | None:
        """Lock one of `count` bytes from `start`; None if all are taken."""
        for offset in range(start, start + min(count, _RANGE)):
            if offset in self._offsets:
                continue
            try:
                fcntl.lockf(self._ledger, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            except (BlockingIOError, PermissionError):
                continue
            self._offsets.add(offset)
            return offset
        return None

    def _release(self, offset: int) -> None:
        if offset < 0:
            return
        fcntl.lockf(self._ledger, fcntl.LOCK_UN, 1, offset)
        self._offsets.remove(offset)


def _range_of(ae_title: str) -> int:
    digest = hashlib.blake2b(ae_title.encode(), digest_size=5).digest()
    return _PEERS + int.from_bytes(digest) * _RANGE
