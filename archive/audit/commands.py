"""``python -m archive audit``: verify, anchor, search and export the audit trail by hand.

What it prints holds names and numbers of patients: it is for the person at the terminal, and each call is recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, time, timedelta

from archive.audit.anchors import anchor
from archive.audit.events import Action, AuditEvent
from archive.audit.operation import operator
from archive.audit.search import AuditEntry, AuditSearch
from archive.audit.verify import verify
from archive.core import Archive
from config.clock import VIETNAM
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the commands."""
    parts = add("audit", _verify, "The audit trail: verify, anchor, search or export it.").add_subparsers(
        required=True, metavar="WHAT"
    )
    part = parts.add_parser("verify", help="prove that nothing was changed or taken away")
    part.set_defaults(run=_verify)
    for name, run, text in (
        ("search", _search, "print the latest records that fit; !: refused, *: by another facility than the owner"),
        ("export", _export, "write all records that fit, one JSON object for each line"),
    ):
        part = parts.add_parser(name, help=text)
        part.set_defaults(run=run)
        for option in ("patient", "study", "accession", "name", "outcome", "lookup"):
            part.add_argument(f"--{option}", default="")
        part.add_argument("--action", action="append", choices=[action.value for action in Action])
        part.add_argument("--first", type=date.fromisoformat, help="from this day on (YYYY-MM-DD)")
        part.add_argument("--last", type=date.fromisoformat, help="to the end of this day")
        if name == "search":
            part.add_argument("--limit", type=int, default=200)
        else:
            part.add_argument("--output", type=argparse.FileType("w", encoding="utf-8"), default="-")
    part = parts.add_parser("anchor", help="write down outside of the trail what it is now")
    part.set_defaults(run=_anchor)


def _search(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs audit") as archive:
        for entry in reversed(archive.trail.search(_wanted(given, given.limit))):
            print(_line(entry))
    return 0


def _export(settings: Settings, given: argparse.Namespace) -> int:
    """One JSON object for each line, the latest first."""
    count = 0
    with Archive.open(settings, application="pacs audit") as archive:
        for entry in archive.trail.all(_wanted(given)):
            given.output.write(json.dumps(asdict(entry), default=str, ensure_ascii=False) + "\n")
            count += 1
    print(f"{count} records", file=sys.stderr)
    return 0


def _wanted(given: argparse.Namespace, limit: int = 200) -> AuditSearch:
    return AuditSearch(
        patient_id=given.patient,
        study=given.study,
        accession_number=given.accession,
        name=given.name,
        actions=tuple(given.action or ()),
        outcome=given.outcome,
        first=_midnight(given.first) if given.first else None,
        last=_midnight(given.last) + timedelta(days=1) if given.last else None,
        lookup=given.lookup,
        limit=limit,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), VIETNAM)


def _line(entry: AuditEntry) -> str:
    moment = entry.recorded_at.astimezone(VIETNAM).strftime("%Y-%m-%d %H:%M:%S")
    mark = "!" if entry.outcome == "denied" else "*" if entry.foreign else " "
    who = f"{entry.name or '-'}@{entry.address or '-'}"
    what = " ".join(filter(None, (entry.patient_id, *entry.studies[:3], str(entry.detail.get("what", "")))))
    return f"{entry.reference:>10} {moment} {mark} {entry.action:11} {entry.outcome:7} {who:32} {what}"


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
