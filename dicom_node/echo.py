"""``python -m dicom_node.echo HOST PORT [--called AET] [--calling AET] [--tls ...]``: one C-ECHO, for health checks.

Exit code 0 when the peer answered Success.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from config.node import TLSSettings
from config.tls import BadTLSFile, Credentials
from dicom_node.contexts import VERIFICATION


def echo(
    host: str,
    port: int,
    *,
    called: str,
    calling: str,
    timeout: float = 5,
    tls: tuple[ssl.SSLContext, str] | None = None,
    user: tuple[str, str] | None = None,
) -> bool:
    """Whether the peer answers a C-ECHO with Success; over TLS to who has that name, as a user with that passcode."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    entity.add_requested_context(VERIFICATION)
    items: list[Any] = [] if user is None else [_identity(*user)]
    association = entity.associate(host, port, ae_title=called, tls_args=tls, ext_neg=items)
    if not association.is_established:
        return False
    try:
        return getattr(association.send_c_echo(), "Status", None) == 0x0000
    finally:
        association.release()


def _identity(name: str, passcode: str) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = (2 if passcode else 1), name.encode()
    item.secondary_field = passcode.encode()
    return item


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 for Success, 1 for anything else, 2 for files that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m dicom_node.echo", description="Send one C-ECHO.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--called", default="PACS")
    parser.add_argument("--calling", default="PACSCHECK")
    parser.add_argument("--tls", action="store_true", help="by TLS")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authorities to trust; the system's without it")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="to show to the peer")
    parser.add_argument("--key", type=Path, metavar="FILE", help="of that certificate")
    parser.add_argument("--tls-name", metavar="NAME", help="that the peer's certificate must have; HOST without it")
    parser.add_argument("--user", metavar="NAME", help="identify as this user")
    parser.add_argument("--passcode-file", type=Path, metavar="FILE", help="with the passcode of the user")
    given = parser.parse_args(arguments)
    try:
        tls, user = _tls(given), _user(given)
    except (BadTLSFile, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    answered = echo(given.host, given.port, called=given.called, calling=given.calling, tls=tls, user=user)
    print("C-ECHO answered with Success" if answered else "no successful answer to C-ECHO")
    return 0 if answered else 1


def _tls(given: argparse.Namespace) -> tuple[ssl.SSLContext, str] | None:
    if not given.tls:
        return None
    settings = TLSSettings(certificate_file=given.certificate, private_key_file=given.key, ca_file=given.ca)
    return Credentials(settings).client(), given.tls_name or given.host


def _user(given: argparse.Namespace) -> tuple[str, str] | None:
    if given.user is None:
        return None
    return given.user, given.passcode_file.read_text(encoding="utf-8").strip() if given.passcode_file else ""


if __name__ == "__main__":
    sys.exit(main())
