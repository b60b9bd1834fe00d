"""Run a piece of Python with the storage package in a process of its own, perhaps under conditions that would harm
the others: a limit, a mount, an injected fault, a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PREAMBLE = """
import os, sys
from pathlib import Path
from storage.errors import *
from storage.filesystem import FilesystemStore

def refused(use, *words):
    try:
        use()
    except StorageUnavailable as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError("not refused")

def files(root):
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if not path.is_dir())
"""


def command(code: str, *arguments: str | Path | int) -> list[str]:
    """The command line that runs `code` with ``sys.argv[1:]`` as `arguments`."""
    return [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(code), *map(str, arguments)]


def run(code: str, *arguments: str | Path, under: Sequence[str | Path] = (), env: dict[str, str] | None = None) -> str:
    """Run `code`, behind the command `under`; its output. An assertion that fails in there fails the test."""
    done = subprocess.run(
        [*map(str, under), *command(code, *arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_own_mounts(script: str) -> list[str]:
    """A prefix that runs a command after `script`, which may mount: nobody else sees it, and it ends with the command."""
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    return ["unshare", *flags, "sh", "-ec", f'{script}; exec "$@"', "sh"]


def steps_of_commit(trace: Path) -> list[str]:
    """The calls in a trace by strace between "commit" and "done", of the thread that wrote these."""
    calls = _calls(trace.read_text())
    first = next(n for n, (_, call) in enumerate(calls) if '"commit"' in call)
    last = next(n for n, (_, call) in enumerate(calls) if '"done"' in call)
    return [call for thread, call in calls[first + 1 : last] if thread == calls[first][0]]


def _calls(trace: str) -> list[tuple[str, str]]:
    """Thread and call, in the order in which they began; strace writes two lines of one that another thread's falls into."""
    calls: list[tuple[str, str]] = []
    unfinished: dict[str, int] = {}
    for line in trace.splitlines():
        thread, call = line.split(maxsplit=1)
        if resumed := re.fullmatch(r"<\.\.\. \w+ resumed>(.*)", call):
            begun = unfinished.pop(thread)
            calls[begun] = thread, calls[begun][1] + resumed[1]
            continue
        if call.endswith(" <unfinished ...>"):
            unfinished[thread] = len(calls)
            call = call.removesuffix(" <unfinished ...>")
        calls.append((thread, call))
    return calls
