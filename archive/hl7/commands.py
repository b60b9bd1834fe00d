"""``python -m archive messages``: what came and went by HL7, for an operator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime

from archive.audit.events import Action, AuditEvent
from archive.audit.operation import operator
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound
from archive.hl7.messages import STATES, Line, Wanted
from config.clock import VIETNAM
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]

_ACTIONS = ("list", "peers", "show", "replay", "pause", "resume", "retry")


def register(add: Add) -> None:
    """Add the command."""
    command = add(
        "messages",
        _messages,
        "HL7 messages. list: the newest; peers: how senders and receivers stand; show N: what a message says; replay N "
        "[N...]: do it again as the settings are now, or send it once more; pause or resume NAME; retry NAME: try a "
        "receiver again now. list and replay take the same conditions.",
    )
    command.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="what to do (default: list)")
    command.add_argument("which", nargs="*", metavar="N|NAME", help="numbers of messages, or a sender or receiver")
    command.add_argument("--direction", choices=("in", "out"), help="came in, or goes out")
    command.add_argument("--peer", default="", metavar="NAME", help="of this sender or receiver")
    command.add_argument("--state", choices=STATES, action="append", default=[], help="in this state")
    command.add_argument("--type", default="", metavar="ORM", help="whose type begins so")
    command.add_argument("--control-id", default="", metavar="ID", help="MSH-10")
    command.add_argument("--from", dest="first", type=_moment, metavar="TIME", help="YYYY-MM-DD[THH:MM], in Vietnam")
    command.add_argument("--to", dest="last", type=_moment, metavar="TIME")
    command.add_argument("--most", type=int, default=100, metavar="N", help="how many at most (default: 100)")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=VIETNAM)


def _messages(settings: Settings, given: argparse.Namespace) -> int:
    with Archive.open(settings, application="pacs messages") as archive:
        try:
            return _DO[given.action](archive, given)
        except (NotFound, InvalidQuery) as error:
            print(error, file=sys.stderr)
            return 1


def _wanted(given: argparse.Namespace) -> Wanted:
    return Wanted(
        given.direction, given.peer, tuple(given.state), given.type, given.control_id, given.first, given.last,
        limit=max(1, given.most),
    )  # fmt: skip


def _numbers(given: argparse.Namespace) -> list[int]:
    if not given.which or not all(each.isdigit() for each in given.which):
        raise InvalidQuery(f"{given.action} needs numbers of messages; list shows them")
    return [int(each) for each in given.which]


def _list(archive: Archive, given: argparse.Namespace) -> int:
    """Exit code 1 if one of them was refused or set aside, for a script that watches."""
    lines = archive.messages.search(_wanted(given))
    for line in reversed(lines):
        print(_text(line))
    if not lines:
        print("no such messages")
    return 1 if any(line.state in ("refused", "set_aside") for line in lines) else 0


def _peers(archive: Archive, given: argparse.Namespace) -> int:
    del given
    peers = archive.messages.peers()
    for peer in peers:
        line = f"{peer.direction:<3} {peer.name:<24} {peer.state:<8} waiting {peer.open:<6} refused {peer.troubled}"
        print(line + (f"  failed {peer.failures} times in a row: {peer.error}" if peer.failures else ""))
    if not peers:
        print("there are no senders and no receivers")
    return 1 if any(peer.failures for peer in peers) else 0


def _show(archive: Archive, given: argparse.Namespace) -> int:
    for number in _numbers(given):
        content = archive.messages.content(number, operator())
        print(_text(content.line))
        for data in (content.message, content.answer):
            print(data.decode("utf-8", "backslashreplace").replace("\r", "\n"))
    return 0


def _replay(archive: Archive, given: argparse.Namespace) -> int:
    """By number, or all that meet the conditions; in the order in which they came."""
    narrowed = given.peer or given.state or given.type or given.control_id or given.first or given.last
    if not given.which and not narrowed:
        raise InvalidQuery("replay needs numbers of messages, or conditions such as --peer and --state refused")
    numbers = sorted(_numbers(given)) if given.which else archive.messages.find(_wanted(given))
    failed = 0
    for number in numbers:
        line = archive.messages.replay(number)
        _note(archive, "HL7 message done again", message=number, peer=line.peer, state=line.state)
        print(_text(line))
        failed += line.state == "refused"
    print(f"done again: {len(numbers)}; refused: {failed}")
    return 1 if failed else 0


def _pause(archive: Archive, given: argparse.Namespace) -> int:
    """Senders, receivers, or both of a name."""
    found = False
    for name in given.which:
        for peer in archive.messages.peers():
            if peer.name == name and given.direction in (None, peer.direction) and peer.state != "unlisted":
                archive.messages.pause(peer.direction, name, paused=given.action == "pause")
                _note(archive, f"HL7 {given.action}d", peer=name, direction=peer.direction)
                print(f"{peer.direction} {name}: {given.action}d")
                found = True
    if not found:
        raise NotFound("there is no such sender or receiver")
    return 0


def _retry(archive: Archive, given: argparse.Namespace) -> int:
    for name in given.which:
        archive.messages.retry(name)
        _note(archive, "HL7 receiver tried again", peer=name)
    return 0


def _note(archive: Archive, what: str, **detail: str | int) -> None:
    """Put on record who did what to which message, beside the command line as a whole."""
    archive.audit.record(AuditEvent(Action.OPERATE, operator(), detail={"what": what, **detail}))


_DO: dict[str, Callable[[Archive, argparse.Namespace], int]] = {
    "list": _list,
    "peers": _peers,
    "show": _show,
    "replay": _replay,
    "pause": _pause,
    "resume": _pause,
    "retry": _retry,
}


def _text(line: Line) -> str:
    when = line.received_at.astimezone(VIETNAM)
    more = "; ".join(part for part in (line.error, line.note) if part)
    replayed = f" again {line.replays}x" if line.replays else ""
    head = f"{line.id:>8}  {when:%Y-%m-%d %H:%M:%S}  {line.direction:<3} {line.peer:<16} {line.message_type:<8} "
    return f"{head}{line.state:<9}{replayed} {line.control_id}" + (f"\n          {more}" if more else "")
