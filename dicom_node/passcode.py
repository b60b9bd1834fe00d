"""``python -m dicom_node.passcode [--stdin]``: make the hash of a passcode, for ``passcode_hash`` of a user."""

from __future__ import annotations

import argparse
import getpass
import sys

import argon2

SHORTEST = 8


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 with the hash on standard output; 2 when there is no passcode to hash."""
    parser = argparse.ArgumentParser(prog="python -m dicom_node.passcode", description="Hash a passcode (Argon2id).")
    parser.add_argument("--stdin", action="store_true", help="read it from standard input instead of asking")
    given = parser.parse_args(arguments)
    passcode = sys.stdin.readline().rstrip("\n") if given.stdin else getpass.getpass("Passcode: ")
    if len(passcode) < SHORTEST:
        print(f"a passcode has at least {SHORTEST} characters", file=sys.stderr)
        return 2
    if not given.stdin and getpass.getpass("Again: ") != passcode:
        print("the two are not the same", file=sys.stderr)
        return 2
    print(argon2.PasswordHasher().hash(passcode.encode("utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
