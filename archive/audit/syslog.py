"""Sends audit messages to a repository (PS3.15 A.6, A.7): RFC 5424 messages by TLS (RFC 5425), TCP or UDP (RFC 5426).

RFC 5425 has no acknowledgement. A message counts as sent when the system of the other side has acknowledged its bytes
and the connection still stands; after a break some messages are sent again, and each names its record.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import sys
import termios
import time
from array import array
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from config.audit import SyslogSettings

PRIORITY: Final = 10 * 8 + 5
"""Facility 10 (security/authorization), severity 5 (notice)."""
MSGID: Final = "DICOM+RFC3881"
LONGEST_DATAGRAM: Final = 65_000


class CollectorAway(Exception):
    """The repository cannot be reached or broke off."""


def framed(message: bytes, moment: datetime, host: str, application: str, process: int) -> bytes:
    """The message behind its header (RFC 5424 6); the byte order mark says that it is UTF-8."""
    stamp = moment.astimezone().isoformat(timespec="microseconds")
    header = f"<{PRIORITY}>1 {stamp} {_ascii(host)} {_ascii(application)} {process} {MSGID} - "
    return header.encode("ascii") + b"\xef\xbb\xbf" + message


class Collector:
    """A connection to the repository, opened when it is needed. For one thread."""

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        self._socket: socket.socket | None = None

    def send(self, messages: list[bytes]) -> None:
        """Send these and see that the connection stands. Raises `CollectorAway`: some may have arrived."""
        try:
            connection = self._open()
            if self._settings.protocol == "udp":
                for message in messages:
                    connection.send(message[:LONGEST_DATAGRAM])
                return
            connection.sendall(b"".join(b"%d %s" % (len(message), message) for message in messages))
            self._await_taken(connection)
            self._check(connection)
        except (OSError, ValueError) as error:
            self.close()
            raise CollectorAway(f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _open(self) -> socket.socket:
        if self._socket is not None:
            self._check(self._socket)
            return self._socket
        settings = self._settings
        if settings.protocol == "udp":
            address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_DGRAM)[0]
            connection = socket.socket(*address[:3])
            connection.connect(address[4])
        else:
            connection = socket.create_connection((settings.host, settings.port), settings.timeout)
            if settings.protocol == "tls":
                connection = self._secured(connection)
        connection.settimeout(settings.timeout)
        self._socket = connection
        return connection

    def _secured(self, connection: socket.socket) -> socket.socket:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if settings.certificate_file is not None:
                context.load_cert_chain(settings.certificate_file, settings.key_file)
            return context.wrap_socket(connection, server_hostname=settings.host)
        except BaseException:
            connection.close()
            raise

    def _await_taken(self, connection: socket.socket) -> None:
        """Wait until the other side's system has acknowledged all bytes, where ours can tell (Linux)."""
        deadline = time.monotonic() + self._settings.timeout
        waiting = array("i", [0])
        while sys.platform == "linux":
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, waiting)
            if not waiting[0]:
                return
            if time.monotonic() > deadline:
                raise OSError("the repository takes no more")
            self._check(connection)
            time.sleep(0.005)

    def _check(self, connection: socket.socket) -> None:
        """A repository says nothing: what can be read is the end of the connection."""
        readable, _, _ = select.select([connection], [], [], 0)
        if not readable:
            return
        timeout = connection.gettimeout()
        connection.settimeout(0)
        try:
            if not connection.recv(4096):
                raise OSError("the repository closed the connection")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            connection.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _ascii(text: str) -> str:
    return "".join(character for character in text if "!" <= character <= "~")[:48] or "-"


def here() -> tuple[str, int]:
    """Name of this machine and number of this process, for the header."""
    return socket.gethostname(), os.getpid()
