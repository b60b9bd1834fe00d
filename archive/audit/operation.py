"""Puts on record that a process begins and ends, by which settings it works, and which commands are given by hand."""

from __future__ import annotations

import argparse
import contextvars
import getpass
import hashlib
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any, Final

import orjson

from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.index_session import Connection
from archive.people.caller import SYSTEM, Caller, Kind
from config.settings import Settings

_LAST: Final = """
SELECT detail -> 'digests' FROM audit_record WHERE action = 'setting' AND name = %s AND detail ? 'digests'
 ORDER BY recorded_at DESC LIMIT 1
"""
_COMMAND: Final[contextvars.ContextVar[dict[str, str | int | list[str]] | None]] = contextvars.ContextVar(
    "command", default=None
)
_NOT_TOLD: Final = frozenset(("run",))


def begun(trail: Trail, settings: Settings, application: str) -> None:
    """A process begins to serve. What of its settings is otherwise than when the last one began is named.

    Raises `IndexUnavailable`.
    """
    trail.record(AuditEvent(Action.OPERATE, SYSTEM, detail={"what": "started", "application": application}))
    now = digests(settings)
    row = trail.session.run(lambda connection: _last(connection))
    before = dict(entry.split("=", 1) for entry in row or ())
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if changed:
        told = [f"{name}={digest}" for name, digest in sorted(now.items())]
        detail: dict[str, str | int | list[str]] = {"what": "settings", "changed": changed, "digests": told}
        trail.record(AuditEvent(Action.SETTING, SYSTEM, detail=detail))


def ended(trail: Trail, application: str) -> None:
    """A process ends as it should. Raises `IndexUnavailable`."""
    trail.record(AuditEvent(Action.OPERATE, SYSTEM, detail={"what": "stopped", "application": application}))


def digests(settings: Settings) -> dict[str, str]:
    """A digest of each section, and of each peer; secrets are in none of them, for they must not be guessed at."""
    found: dict[str, Any] = settings.model_dump(mode="json")
    peers = {f"peer {peer['ae_title']}": peer for peer in found.pop("peers")}
    return {name: _digest(value) for name, value in (found | peers).items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _last(connection: Connection) -> list[str] | None:
    row = connection.execute(_LAST, (SYSTEM.name,)).fetchone()
    return None if row is None else list(row[0])


def operator() -> Caller:
    """Whoever runs a command: the user of the operating system."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Caller(Kind.SYSTEM, f"{name} (command line)")


@contextmanager
def commanded(name: str, given: argparse.Namespace) -> Any:
    """While this lasts, whoever opens the archive does so for this command."""
    told: Mapping[str, Any] = {key: value for key, value in vars(given).items() if key not in _NOT_TOLD}
    detail = {
        key: [str(each) for each in value] if isinstance(value, list) else str(value) for key, value in told.items()
    }
    token = _COMMAND.set({**detail, "what": f"command {name}"})
    try:
        yield
    finally:
        _COMMAND.reset(token)


def note_command(trail: Trail) -> None:
    """Put the command on record for which the archive was opened, if it was. Raises `IndexUnavailable`."""
    detail = _COMMAND.get()
    if detail is not None:
        trail.record(AuditEvent(Action.OPERATE, operator(), detail=detail))
