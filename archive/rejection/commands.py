"""``python -m archive rejections`` and ``python -m archive quarantine``: what is hidden, for an operator."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable

from archive.core import Archive
from archive.rejection.causes import TITLES
from archive.rejection.quarantine import Decision
from archive.rejection.rejections import Rejection
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
Run = Callable[[Archive, argparse.Namespace], int]


def register(add: Add) -> None:
    """Add the commands."""
    rejections = add("rejections", _run, "Rejection notes: what each hides, make one, undo one.")
    actions = rejections.add_subparsers(required=True, metavar="ACTION")
    command = _action(actions, "list", _list, "the notes, the latest first")
    command.add_argument("--study", metavar="UID", help="only of this study")
    command.add_argument("--limit", type=int, default=50, help="how many to show (default 50)")
    command = _action(actions, "show", _show, "what a note names, and what was done about it")
    command.add_argument("note", metavar="NOTE_UID", help="its SOP Instance UID")
    command = _action(actions, "undo", _undo, "show again what a note hides")
    command.add_argument("note", metavar="NOTE_UID", help="its SOP Instance UID")
    _said(command)
    command = _action(actions, "reject", _reject, "hide a study, a series of it or some instances, as a note would")
    command.add_argument("study", metavar="STUDY_UID")
    command.add_argument("--series", metavar="UID", help="only this series")
    command.add_argument("--instance", metavar="UID", action="append", help="only this instance; may be repeated")
    titles = ", ".join(f"{title.code} {title.meaning}" for title in TITLES)
    command.add_argument("--code", required=True, choices=[title.code for title in TITLES], help=titles)
    _said(command)
    _register_quarantine(add)


def _register_quarantine(add: Add) -> None:
    quarantine = add("quarantine", _run, "What unlisted senders sent: list it, release it, discard it.")
    actions = quarantine.add_subparsers(required=True, metavar="ACTION")
    _action(actions, "list", _quarantined, "what is there")
    command = _action(actions, "release", _release, "store it as if a peer of a facility had sent it")
    _chosen(command)
    command.add_argument("--facility", required=True, metavar="CODE", help="whose it is; one of the settings")
    command = _action(actions, "discard", _discard, "hide it from everybody for ever; the bytes stay")
    _chosen(command)


def _action(actions: argparse._SubParsersAction, name: str, run: Run, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    command: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    command.set_defaults(action=run)
    return command


def _chosen(command: argparse.ArgumentParser) -> None:
    command.add_argument("sender", metavar="AE@ADDRESS", help="as the list shows it")
    command.add_argument("--study", metavar="UID", help="only this study")
    _said(command)


def _said(command: argparse.ArgumentParser) -> None:
    command.add_argument("--who", default=getpass.getuser(), help="who decides; by default who is logged in")
    command.add_argument("--why", default="", help="for the record")


def _run(settings: Settings, given: argparse.Namespace) -> int:
    action: Run = given.action
    with Archive.open(settings, application="pacs rejections") as archive:
        return action(archive, given)


def _list(archive: Archive, given: argparse.Namespace) -> int:
    for note in archive.rejections.notes(given.study, limit=given.limit):
        print(
            f"{note.received:%Y-%m-%d %H:%M}  {note.code} {note.meaning:<35}  {_state(note):<13}  "
            f"{note.hidden}/{note.named} hidden  {note.sender or '-'} ({note.facility})  {note.uid}"
        )
    return 0


def _state(note: Rejection) -> str:
    if not note.permitted:
        return "not permitted"
    return "holds" if note.active else "undone"


def _show(archive: Archive, given: argparse.Namespace) -> int:
    found = archive.rejections.show(given.note)
    note = found.note
    print(f"{note.code} {note.meaning}: {_state(note)}, hides {note.hidden} of {note.named}, {note.here} are here")
    print(f"study {note.study}, from {note.sender or '-'}@{note.address or '-'} of {note.facility}")
    if note.why:
        print(f"why: {note.why}")
    for study, series, instance, hidden in found.instances:
        causes = "not here" if hidden is None else "shown" if not hidden else str(hidden.name).lower()
        print(f"  {study} {series} {instance}  {causes}")
    for done in found.actions:
        print(f"{done['at']:%Y-%m-%d %H:%M}  {done['action']} by {done['who']}: {done['why'] or '-'}")
    return 0


def _undo(archive: Archive, given: argparse.Namespace) -> int:
    receipt = archive.rejections.undo(given.note, who=given.who, why=given.why)
    print(f"undone by the note {receipt.sop_instance_uid}")
    return 0


def _reject(archive: Archive, given: argparse.Namespace) -> int:
    receipt = archive.rejections.reject(
        given.study,
        series=given.series,
        instances=given.instance,
        code=given.code,
        who=given.who,
        why=given.why,
    )
    print(receipt.unmet or f"rejected by the note {receipt.sop_instance_uid}")
    return 1 if receipt.unmet else 0


def _quarantined(archive: Archive, given: argparse.Namespace) -> int:
    del given
    for each in archive.quarantine.studies():
        print(
            f"{each.last:%Y-%m-%d %H:%M}  {each.sender:<32}  {each.study}  {'/'.join(each.modalities)}  "
            f"{each.instances} instances{f', {each.discarded} discarded' if each.discarded else ''}"
            f"{'; others sent of this study, too' if each.known else ''}"
        )
    return 0


def _release(archive: Archive, given: argparse.Namespace) -> int:
    decision = Decision(given.sender, given.study, given.who, given.why)
    done = archive.quarantine.release(decision, given.facility)
    print(f"released: {done.objects} objects; had been sent by others, too: {done.copies}; left there: {done.left}")
    return 1 if done.left else 0


def _discard(archive: Archive, given: argparse.Namespace) -> int:
    count = archive.quarantine.discard(Decision(given.sender, given.study, given.who, given.why))
    print(f"discarded: {count} instances")
    return 0
