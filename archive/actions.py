"""What the commands of several areas share: actions below a command, and who acts."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from archive.people.caller import Caller, Kind
from archive.people.roles import Right

if TYPE_CHECKING:
    from archive.core import Archive


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    act: Callable[[Archive, argparse.Namespace], Any],
    text: str,
) -> argparse.ArgumentParser:
    """An action of a command; whoever runs the command finds it as `act`."""
    command = actions.add_parser(name, help=text, description=text)
    command.set_defaults(act=act)
    return command


def operator() -> Caller:
    """Whoever sits at the console: the system's own user, with all rights."""
    return Caller(Kind.SYSTEM, getpass.getuser(), dict.fromkeys(Right))
