"""What the processes of one node share: the sockets that it listens on, its places, and how busy each process is."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Self

from config.board import Board as Board
from config.node import NodeSettings
from config.sockets import bind
from dicom_node.places import Places, SharedPlaces, ledger


@dataclass
class Front:
    """One process's look at it. Sockets are bound; each process makes them listen when it is ready to accept."""

    plain: socket.socket | None
    secured: socket.socket | None
    places: int
    """Descriptor of the ledger of `SharedPlaces`; -1 when there is one process."""
    board: Board
    number: int = 0
    sockets: list[socket.socket] = field(init=False)

    def __post_init__(self) -> None:
        self.sockets = [each for each in (self.plain, self.secured) if each is not None]

    @classmethod
    def open(cls, settings: NodeSettings, processes: int = 1) -> Self:
        """Take the ports. Raises `OSError` when one cannot be had."""
        plain = bind(settings.host, settings.port) if settings.plain else None
        try:
            secured = bind(settings.host, settings.tls.port) if settings.tls.listens else None
        except OSError:
            if plain is not None:
                plain.close()
            raise
        return cls(plain, secured, ledger() if processes > 1 else -1, Board(processes))

    def make_places(self, maximum: int) -> Places | SharedPlaces:
        """Places of the node, as many as `maximum` over all processes."""
        return Places(maximum) if self.places < 0 else SharedPlaces(maximum, self.places)

    def leave(self, number: int) -> None:
        """Process `number` has ended: it takes no connections."""
        self.board.leave(number)

    def close(self) -> None:
        """Stop listening, as far as this process is concerned."""
        for each in self.sockets:
            each.close()
