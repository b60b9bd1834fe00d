"""``python -m archive corrections`` and ``python -m archive original``: what is given otherwise than it came."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from archive.core import Archive
from archive.correction.reapply import Reapplied
from archive.correction.record import Change, Corrections
from archive.records import StoredInstance
from archive.retrieve import read_object
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]


def register(add: Add) -> None:
    """Add the commands."""
    command = add(
        "corrections",
        _corrections,
        "Show what is corrected in a study; with --reapply, correct stored objects anew after settings changed.",
    )
    command.add_argument("study", nargs="?", default="", metavar="STUDY_UID")
    command.add_argument(
        "--reapply", action="store_true", help="make the corrections anew, by the settings as they are"
    )
    command.add_argument("--peer", default="", metavar="AE", help="with --reapply: only what this AE title sent")
    command.add_argument("--former", action="store_true", help="also what was corrected before settings changed")
    command = add("original", _original, "Write an object to a file exactly as it was received.")
    command.add_argument("instance", metavar="SOP_INSTANCE_UID")
    command.add_argument("--version", type=int, help="which version; the one that is shown if not given")
    command.add_argument("--output", type=Path, help="file to write; - for standard output", default=None)


def _corrections(settings: Settings, given: argparse.Namespace) -> int:
    if not given.reapply and (given.peer or not given.study):
        print("--peer goes with --reapply" if given.peer else "name a study, or give --reapply", file=sys.stderr)
        return 2
    with Archive.open(settings, application="pacs corrections") as archive:
        if given.reapply and given.peer and archive.peers.known(given.peer) is None:
            print(f"no peer has the AE title {given.peer!r}", file=sys.stderr)
            return 2
        return _reapply(archive, given) if given.reapply else _show(archive, given)


def _reapply(archive: Archive, given: argparse.Namespace) -> int:
    def progress(now: Reapplied) -> None:
        print(f"  {now.studies} studies, {now.objects} objects seen, {now.changed} corrected anew", flush=True)

    def complain(sentence: str) -> None:
        print(sentence, file=sys.stderr)

    done = archive.corrections.reapply(peer=given.peer, study=given.study, progress=progress, complain=complain)
    if done.resumed:
        print("went on behind the last study of the run that was broken off")
    print(f"studies: {done.studies}; objects: {done.objects}; corrected anew: {done.changed}; failed: {done.failed}")
    return 1 if done.failed else 0


def _show(archive: Archive, given: argparse.Namespace) -> int:
    """One paragraph for all objects of a series that are corrected alike."""
    alike: dict[tuple[str, object], list[StoredInstance]] = {}
    for inst in archive.locate(given.study):
        found = inst.corrections
        alike.setdefault((inst.series_instance_uid, found and (found.character_set, found.changes)), []).append(inst)
    for (series, _), instances in alike.items():
        print(f"series {series}: {len(instances)} instances")
        for line in _lines(instances[0].corrections):
            print(f"  {line}")
    if given.former:
        for instance, until, former in archive.corrections.former(given.study):
            print(f"until {until:%Y-%m-%d %H:%M:%S}: instance {instance}")
            for line in _lines(former):
                print(f"  {line}")
    return 0


def _lines(corrections: Corrections | None) -> list[str]:
    if corrections is None:
        return ["given as received"]
    lines = [f"by the settings of {corrections.peer}, {corrections.at:%Y-%m-%d %H:%M:%S}"]
    if corrections.character_set:
        lines.append(f"text is in {corrections.character_set}")
    return lines + [_line(change) for change in corrections.changes]


def _line(change: Change) -> str:
    value = "removed" if change.value is None else repr(change.value)
    return f"{keyword_for_tag(change.tag)}: {change.was!r} -> {value} ({change.why})"


def _original(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs original") as archive:
        inst = archive.corrections.version(given.instance, given.version)
        output = given.output or Path(f"{inst.sop_instance_uid}.dcm")
        if str(output) == "-":
            for chunk in read_object(archive.store, inst):
                sys.stdout.buffer.write(chunk)
            return 0
        try:
            with output.open("xb") as file:
                for chunk in read_object(archive.store, inst):
                    file.write(chunk)
        except OSError as error:
            print(f"{output} cannot be written: {error.strerror}", file=sys.stderr)
            return 1
    print(f"{output}: version {inst.version}, {inst.object.size} bytes, dataset SHA-256 {inst.object.digest.hex()}")
    return 0
