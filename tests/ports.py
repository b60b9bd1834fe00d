"""Ports for programs that must be told theirs before they start."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_BELOW_CLIENTS = range(12_000, 32_000)
"""What the system does not hand out: neither to clients that connect nor to servers that ask for any port."""


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given while it is reserved, but that a server with SO_REUSEADDR can listen on."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for _ in range(1000):
            try:
                holder.bind(("127.0.0.1", random.choice(_BELOW_CLIENTS)))
                break
            except OSError:
                continue
        yield int(holder.getsockname()[1])


def free_port() -> int:
    """A port that is free now, and that nobody is given by chance."""
    with reserved_port() as port:
        return port
