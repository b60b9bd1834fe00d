"""``python -m dicom_node.commit --to AE STUDYUID``: ask another archive whether it keeps a study, and print the answer.

The request is durable and made by this process; an answer on a later association comes to the running node. Exit codes:
0 every instance is committed, 1 some are not or no answer came in time, 2 the call or the settings cannot be used.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from archive.commitment.records import COMMITTED, Outcome, Reference, reason_text
from archive.core import Archive
from archive.errors import ArchiveError
from config.logs import configure
from config.settings import SettingsError, load
from dicom_node.commitment.asking import Asking

_POLL = 0.25


def ask(archive: Archive, ae_title: str, references: Sequence[Reference], timeout: float) -> list[Outcome]:
    """Place orders, send them, and wait for the answers; give how they stand in the end. Raises `ArchiveError`."""
    orders, asking = archive.commitments.orders, Asking(archive)
    numbers = orders.place(ae_title, references)
    deadline = time.monotonic() + timeout
    for number in numbers:
        # A running node may have been faster.
        order = orders.claim(number)
        if order is not None:
            asking.ask(order, max(deadline - time.monotonic(), 0))
    while True:
        outcomes = orders.outcomes(numbers)
        if all(outcome.is_over for outcome in outcomes) or time.monotonic() >= deadline:
            return outcomes
        threading.Event().wait(_POLL)


def _print(outcomes: Sequence[Outcome]) -> int:
    for outcome in outcomes:
        for instance, reason in outcome.results.items():
            if reason != COMMITTED:
                print(f"{instance}  {reason_text(reason)}")
        if outcome.problem:
            print(f"out/{outcome.id}: {outcome.state}: {outcome.problem}")
    results = [reason for outcome in outcomes for reason in outcome.results.values()]
    unknown = results.count(None)
    committed = results.count(COMMITTED)
    print(f"committed: {committed}; failed: {len(results) - committed - unknown}; no answer yet: {unknown}")
    if unknown:
        print("the request stays: python -m archive commitments --direction out")
    return 0 if committed == len(results) else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dicom_node.commit", description="Ask another archive to commit to the instances of a study."
    )
    parser.add_argument("study", help="Study Instance UID")
    parser.add_argument("--to", required=True, metavar="AE", help="a peer that is listed with host and port")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for the answer (default 60)")
    given = parser.parse_args(arguments)
    try:
        settings = load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure(settings.log)
    try:
        with Archive.open(settings, application="pacs commit") as archive:
            peer = archive.peers.named(given.to)
            if peer is None or not peer.host:
                print(f"{given.to} is not listed as a peer with host and port", file=sys.stderr)
                return 2
            found = archive.locate(given.study)
            references = [Reference(inst.sop_class_uid, inst.sop_instance_uid) for inst in found]
            return _print(ask(archive, peer.ae_title, references, given.timeout))
    except ArchiveError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
