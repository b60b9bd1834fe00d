"""The associations that the threads of a desk have opened, so that a stop of the node need not wait for peers."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager

from config.node import NodeSettings
from config.peers import Peer
from dicom_node.requestor import Outgoing, Proposal
from dicom_node.wire import PeerGone


class Calls:
    """Used by all threads of a desk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Outgoing] = set()
        self._stopping = False

    @contextmanager
    def call(
        self, peer: Peer, node: NodeSettings, proposals: Sequence[Proposal], *, as_scp: Container[str] = ()
    ) -> Iterator[Outgoing]:
        """An association with the peer, released at the end of the block, or aborted when the block raises.

        Raises `Refused`, and within the block what `Exchange` raises.
        """
        association = Outgoing.open(peer, node, proposals, as_scp=as_scp)
        with self._lock:
            self._open.add(association)
            stopping = self._stopping
        try:
            if stopping:
                raise PeerGone("the node stops")
            yield association
        except BaseException:
            association.abort()
            raise
        else:
            association.release(node.artim_timeout)
        finally:
            with self._lock:
                self._open.discard(association)

    def stop(self) -> None:
        """Break off what is open; whoever waits for a peer gets `PeerGone`."""
        with self._lock:
            self._stopping = True
            left = list(self._open)
        for association in left:
            association.interrupt()
