"""A power cut takes what was not flushed; what was acknowledged is brought back from the receive journal.

The cut itself cannot be had here. Its effect can: a process is killed, and files that only its journal vouches for
lose their names or their bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from archive.core import Archive
from config.settings import Settings
from storage.segments import FOLDER, Found, left_behind
from tests.integration.archive.support import assert_sound, sql, start_sender

MAGIC = b"pacsjrnl"


class Seen(Exception):
    """The segments are looked at and stay."""


def journaled(root: Path) -> list[Found]:
    """The files that dead processes' segments hold."""
    found: list[Found] = []
    with pytest.raises(Seen), left_behind(str(root)) as files:
        found += files
        raise Seen
    return found


def in_use(root: Path) -> bool:
    return any(_first_bytes(path) == MAGIC for path in (root / FOLDER).glob("*.segment"))


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC))
    except FileNotFoundError:
        return b""


def killed_sender(archive: Archive) -> dict[str, str]:
    """What a process that was killed had acknowledged, UIDs with digests; its journal was in use."""
    process = start_sender(archive, threads=3, count=100_000, study=generate_uid(), series=generate_uid())
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    lines: list[str] = []
    while not in_use(archive.settings.objects_dir):
        lines.append(process.stdout.readline())
    lines += [process.stdout.readline() for _ in range(50)]
    process.kill()
    lines += process.communicate()[0].splitlines()
    return dict(line.split()[1:3] for line in lines if line.count(" ") == 2 and len(line.split()[2]) == 64)


def test_what_was_acknowledged_survives_a_power_cut(archive: Archive, settings: Settings) -> None:
    root = settings.objects_dir
    receipts = killed_sender(archive)
    while sql(archive, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'sender writer'"):
        pass
    for number, each in enumerate(journaled(root)):
        path = root / each.path
        if not path.exists():
            continue
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:
            os.truncate(path, 0)
        else:
            path.write_bytes(bytes(len(each.data)))
    with Archive.open(settings) as again:
        again.reconcile()
        digests = sql(
            again, "SELECT sop_instance_uid, digest FROM instance JOIN stored_object ON instance_id = instance.id"
        )
        found = {uid: bytes(digest).hex() for uid, digest in digests}
        assert receipts.items() <= found.items()
        assert_sound(again)
        assert sql(again, "SELECT count(*) FROM key_block") == [0]
    assert journaled(root) == []


def test_a_segment_of_a_dead_process_is_gone_after_the_next_start(archive: Archive, settings: Settings) -> None:
    process = start_sender(archive, threads=2, count=100_000, study=generate_uid(), series=generate_uid())
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    while not in_use(settings.objects_dir):
        process.stdout.readline()
    process.kill()
    process.communicate()
    with Archive.open(settings) as again:
        again.reconcile()
        assert_sound(again)
    assert list((settings.objects_dir / FOLDER).glob("*.segment")) == []
