"""Sockets that services listen on."""

from __future__ import annotations

import errno
import socket
from typing import Final

BACKLOG: Final = 256
"""Connections that may wait to be accepted."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``""`` and ``"::"`` are all addresses of IPv6 and IPv4. Raises `OSError`."""
    bound = bind(host, port)
    bound.listen(BACKLOG)
    return bound


def bind(host: str, port: int) -> socket.socket:
    """The same before it listens: the port is taken, and who calls is refused as yet. Raises `OSError`."""
    if host in ("", "::") and socket.has_dualstack_ipv6():
        try:
            return _bound(socket.AF_INET6, "::", port, dual=True)
        except OSError as error:
            # The kernel knows IPv6, and the machine (a container, often) has none.
            if host or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return _bound(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)


def _bound(family: socket.AddressFamily, host: str, port: int, *, dual: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{error.strerror} (while attempting to bind on address {(host, port)!r})") from None
    except BaseException:
        made.close()
        raise
    return made
