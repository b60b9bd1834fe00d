"""``python -m archive peers``: the peers beside those of ``pacs.toml``, from the command line."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from archive.audit.operation import operator
from archive.core import Archive
from archive.people.caller import Caller
from archive.people.roles import Right
from archive.registry.entries import Entry
from config.settings import Settings

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
Run = Callable[[Archive, argparse.Namespace], int]


def register(add: Add) -> None:
    """Add the command."""
    command = add("peers", _peers, "List the peers of the DICOM node; add, change, disable and remove them.")
    command.set_defaults(act="list")
    actions = command.add_subparsers(metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=text, description=text)
        parser.set_defaults(act=name)
        return parser

    action("list", "List all peers, those of pacs.toml too.")
    for name, text in (
        ("add", "List a peer; it may call at once."),
        ("change", "Change settings of a peer; those that are not named stay."),
    ):
        parser = action(name, text)
        parser.add_argument("ae_title")
        parser.add_argument(
            "setting",
            nargs="*",
            help='as in a section [[peers]] of pacs.toml: \'facility="87001"\' \'rights=["store", "find"]\'',
        )
        parser.add_argument("--file", type=Path, help="a TOML file with such lines")
    for name, text in (
        ("disable", "Let a peer call no more; its settings stay."),
        ("enable", "Let it call again."),
        ("remove", "List it no more; what it has sent stays."),
    ):
        action(name, text).add_argument("ae_title")


def _peers(settings: Settings, given: argparse.Namespace) -> int:
    run = _ACTS[given.act]
    with Archive.open(settings, application="pacs peers") as archive:
        return run(archive, given)


def _by() -> Caller:
    return replace(operator(), rights={Right.PEERS: None})


def _list(archive: Archive, given: argparse.Namespace) -> int:
    del given
    for each in archive.registry.listed(_by()):
        print(_line(each))
    return 0


def _line(entry: Entry) -> str:
    """A peer in one line."""
    told = [f"{name}={value!r}" for name, value in entry.settings.items() if name != "facility"]
    state = "" if entry.state == "enabled" else f"[{entry.state}]"
    source = "pacs.toml" if entry.source == "file" else f"revision {entry.revision}"
    parts = (f"{entry.ae_title:16}", entry.facility, f"({source})", state, *told, *_faults(entry))
    return " ".join(part for part in parts if part)


def _faults(entry: Entry) -> list[str]:
    return [f"{name} {said};" for name, said in entry.faults.items()]


def _add(archive: Archive, given: argparse.Namespace) -> int:
    wanted = _settings(given)
    if wanted is None:
        return 2
    print(_line(archive.registry.add(_by(), given.ae_title, wanted)))
    return 0


def _change(archive: Archive, given: argparse.Namespace) -> int:
    wanted = _settings(given)
    if wanted is None:
        return 2
    now = archive.registry.one(_by(), given.ae_title)
    print(_line(archive.registry.change(_by(), given.ae_title, {**now.settings, **wanted}, now.revision)))
    return 0


def _disable(archive: Archive, given: argparse.Namespace) -> int:
    print(_line(archive.registry.disable(_by(), given.ae_title, None)))
    return 0


def _enable(archive: Archive, given: argparse.Namespace) -> int:
    print(_line(archive.registry.enable(_by(), given.ae_title, None)))
    return 0


def _remove(archive: Archive, given: argparse.Namespace) -> int:
    archive.registry.remove(_by(), given.ae_title, None)
    return 0


def _settings(given: argparse.Namespace) -> dict[str, Any] | None:
    """What is given as TOML; None if it is none, which is said."""
    try:
        text = given.file.read_text(encoding="utf-8") if given.file is not None else ""
        return tomllib.loads("\n".join((text, *given.setting)))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        print(f"the settings cannot be read: {error}", file=sys.stderr)
        return None


_ACTS: Final[dict[str, Run]] = {
    "list": _list,
    "add": _add,
    "change": _change,
    "disable": _disable,
    "enable": _enable,
    "remove": _remove,
}
