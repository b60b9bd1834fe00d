"""HTTP requests that we send: TLS is verified, redirects are not followed, and some addresses are never called.

Whoever can set a name in DNS must not make the archive talk to what a cloud gives its machines on link-local addresses
(credentials). So the name is resolved here, each address is looked at, and that very address is called.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import httpcore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services of clouds that are not on a link-local address.
_NEVER: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))


_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
)


class CannotSend(Exception):
    """There was no answer; the message says why, without what was sent."""


def is_forbidden(address: Address) -> bool:
    """Whether nothing may be sent there."""
    mapped = getattr(address, "ipv4_mapped", None)
    checked: Address = address if mapped is None else mapped
    return checked.is_link_local or checked.is_multicast or checked.is_unspecified or checked in _NEVER


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to addresses that are not forbidden."""

    def __init__(self) -> None:
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of the host in order. Raises `httpcore.ConnectError`."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error.strerror}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        failure = httpcore.ConnectError("the name has no address")
        for address in addresses:
            if is_forbidden(ipaddress.ip_address(address.partition("%")[0])):
                failure = httpcore.ConnectError(f"{address} is an address that is never called")
                continue
            try:
                return self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = httpcore.ConnectError(f"{address}: {str(error) or 'no answer'}")
        raise failure


class Asker:
    """Asks servers of one owner; answers are read up to a limit."""

    def __init__(self, timeout: float, authorities: Path | None = None, most: int = 1 << 20) -> None:
        """`most` are bytes of one answer; `timeout` and `authorities` as for `Sender`."""
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        self._most = most
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(cafile=authorities),
            network_backend=GuardedNetwork(),
            max_connections=4,
        )

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises `CannotSend`, also for an answer over the limit."""
        try:
            with self._pool.stream(
                method, url, headers=list(headers.items()), content=body, extensions={"timeout": self._timeout}
            ) as answer:
                got = bytearray()
                for part in answer.iter_stream():
                    got += part
                    if len(got) > self._most:
                        raise CannotSend("the answer is too long")
                return answer.status, bytes(got)
        except _FAILURES as error:
            raise CannotSend(f"{type(error).__name__}: {error}".removesuffix(": ")) from None

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class Sender:
    """Posts to one receiver; keeps its connection."""

    def __init__(self, url: str, timeout: float, authorities: Path | None = None) -> None:
        """`authorities` are the certificates that alone may vouch for the receiver; else those of the system."""
        self._url = url
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(cafile=authorities),
            network_backend=GuardedNetwork(),
            max_connections=1,
        )

    def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Send; give the status. What the answer says beside is not read. Raises `CannotSend`."""
        extensions = {"timeout": self._timeout}
        try:
            with self._pool.stream(
                "POST", self._url, headers=list(headers.items()), content=body, extensions=extensions
            ) as answer:
                return answer.status
        except _FAILURES as error:
            raise CannotSend(f"{type(error).__name__}: {error}".removesuffix(": ")) from None

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
