"""Are the ports free before the start; do the services answer after it."""

from __future__ import annotations

import errno
import http.client
import socket

from archive.launch.messages import Spoken, reachable


class PortUnusable(Spoken):
    """A service could not listen where the settings say."""


def require_free(host: str, port: int, section: str) -> None:
    """Raise `PortUnusable` unless a service could listen there.

    `section` names the settings: ``node``, ``node.tls`` or ``web``.
    """
    setting = f"{section}.port"
    if port == 0:
        raise PortUnusable(f"{setting} = 0: hãy chọn một cổng cụ thể", f"{setting} = 0: name a port to listen on")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the services do: a connection of an earlier run that lingers does not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _explained(error, host, port, section) from None


def _explained(error: OSError, host: str, port: int, section: str) -> PortUnusable:
    variable = f"PACS_{section.upper().replace('.', '__')}__PORT"
    if error.errno == errno.EADDRINUSE:
        return PortUnusable(
            f"cổng {port} đang được chương trình khác dùng; đổi {section}.port (hoặc biến {variable})",
            f"port {port} is taken by another program; change {section}.port (or the variable {variable})",
        )
    if error.errno == errno.EACCES:
        return PortUnusable(
            f"không có quyền mở cổng {port}; chọn {section}.port từ 1024 trở lên",
            f"no right to listen on port {port}; choose {section}.port of 1024 or more",
        )
    return PortUnusable(
        f"không mở được {host}:{port} ({error.strerror}); kiểm tra {section.partition('.')[0]}.host",
        f"cannot listen on {host}:{port} ({error.strerror}); check {section.partition('.')[0]}.host",
    )


def accepts(host: str, port: int) -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        with socket.create_connection((reachable(host).strip("[]"), port), timeout=2):
            return True
    except OSError:
        return False


def is_ready(host: str, port: int) -> bool:
    """Whether the web service says that it can serve."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
