"""Sockets that services listen on."""

from __future__ import annotations

import errno
import socket


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``""`` and ``"::"`` are all addresses of IPv6 and IPv4. Raises `OSError`."""
    if host in ("", "::") and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True)
        except OSError as error:
            # The kernel knows IPv6, and the machine (a container, often) has none.
            if host or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=256)
