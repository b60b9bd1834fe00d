"""``python -m dicom_node.certificates [FILE ...]``: certificates of the settings, or of files, and when they expire.

Gives the fingerprints for ``certificates`` of a peer. Exit code 1 when one has expired or is about to, or cannot be
used.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from config.settings import SettingsError, load
from config.tls import BadTLSFile, Credentials, OwnCertificate, certificates_in, own_certificates


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dicom_node.certificates", description="Show certificates.")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="in PEM; those of the settings without any")
    given = parser.parse_args(arguments)
    try:
        tls = load().node.tls
        if given.files:
            found = [certificate for path in given.files for certificate in certificates_in(path)]
        else:
            Credentials(tls)  # reads the key too
            found = list(own_certificates(tls))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except BadTLSFile as error:
        print(error, file=sys.stderr)
        return 1
    late = timedelta(days=tls.expiry_warning_days)
    for certificate in found:
        _show(certificate, late)
    return 1 if any(certificate.time_left < late for certificate in found) else 0


def _show(certificate: OwnCertificate, late: timedelta) -> None:
    left = certificate.time_left
    state = "EXPIRED" if left < timedelta() else f"{left.days} days left{', replace it' if left < late else ''}"
    print(f"{certificate.path}")
    print(f"  subject      {certificate.subject}")
    print(f"  fingerprint  {certificate.fingerprint}")
    print(f"  expires      {certificate.expires:%Y-%m-%d} ({state})")


if __name__ == "__main__":
    sys.exit(main())
