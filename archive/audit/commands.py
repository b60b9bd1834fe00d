"""``python -m archive audit``: verify, anchor, search and export the audit trail by hand.

What it prints holds names and numbers of patients: it is for the person at the terminal, and each call is recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from archive.audit.anchors import anchor
from archive.audit.events import Action, AuditEvent
from archive.audit.operation import operator
from archive.audit.verify import verify
from archive.core import Archive
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the commands."""
    parts = add("audit", _verify, "The audit trail: verify, anchor, search or export it.").add_subparsers(
        required=True, metavar="WHAT"
    )
    part = parts.add_parser("verify", help="prove that nothing was changed or taken away")
    part.set_defaults(run=_verify)
    part = parts.add_parser("anchor", help="write down outside of the trail what it is now")
    part.set_defaults(run=_anchor)


def _verify(settings: Settings, given: argparse.Namespace) -> int:
    del given
    with Archive.open(settings, application="pacs audit") as archive:
        done = verify(
            archive.settings.database,
            archive.store,
            settings.audit.keys,
            lambda count: print(f"  {count} records verified", flush=True),
        )
        found = "intact" if done.intact else f"{len(done.findings)} findings"
        told = AuditEvent(
            Action.AUDIT, operator(), detail={"what": "verified", "records": done.records, "found": found}
        )
        archive.audit.record(told)
    for finding in done.findings:
        print(finding, file=sys.stderr)
    print(
        f"records: {done.records} in {done.segments} segments ({done.expired} expired); anchors: {done.anchors}"
        f"{'' if done.signed else ' (not signed: no audit.key)'}; not yet anchored: {done.unanchored}"
    )
    print("the audit trail is intact" if done.intact else "THE AUDIT TRAIL IS NOT INTACT")
    return 0 if done.intact else 1


def _anchor(settings: Settings, given: argparse.Namespace) -> int:
    del given
    with Archive.open(settings, application="pacs audit") as archive:
        made = anchor(archive.audit, archive.store, settings.audit.key.get_secret_value())
    print("nothing new since the last anchor" if made is None else f"anchor {made.number}: {made.digest.hex()}")
    return 0
