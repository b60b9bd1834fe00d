"""``python -m dicom_node.echo HOST PORT [--called AET] [--calling AET]``: one C-ECHO, for health checks and set-up.

Exit code 0 when the peer answered Success.
"""

from __future__ import annotations

import argparse
import sys

from pynetdicom import AE

from dicom_node.contexts import VERIFICATION


def echo(host: str, port: int, *, called: str, calling: str, timeout: float = 5) -> bool:
    """Whether the peer answers a C-ECHO with Success."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(host, port, ae_title=called)
    if not association.is_established:
        return False
    try:
        return getattr(association.send_c_echo(), "Status", None) == 0x0000
    finally:
        association.release()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dicom_node.echo", description="Send one C-ECHO.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--called", default="PACS")
    parser.add_argument("--calling", default="PACSCHECK")
    given = parser.parse_args(arguments)
    answered = echo(given.host, given.port, called=given.called, calling=given.calling)
    print("C-ECHO answered with Success" if answered else "no successful answer to C-ECHO")
    return 0 if answered else 1


if __name__ == "__main__":
    sys.exit(main())
