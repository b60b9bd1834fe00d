"""Signing is killed at any point: a report is signed with all that belongs to it, or not at all."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg

from archive.core import Archive
from archive.people.caller import Caller
from archive.reports.structured import BASIC_TEXT_SR, ENCAPSULATED_PDF, uid_of
from tests.integration.archive.support import assert_sound, sql, url_of
from tests.integration.archive.test_report_objects import made, work
from tests.integration.archive.test_reports import FOUND, radiologist
from tests.integration.archive.test_sharing import A, kept
from tests.integration.dicom_node.running import wait_until

_SIGNS: Final = """
import pickle, sys
from archive.core import Archive
from config.settings import load
with open(sys.argv[1], "rb") as file:
    folder, url, caller, number, revision = pickle.load(file)
settings = load(
    environ={},
    data_dir=folder,
    database={"url": url, "pool_size": 4},
    storage={"minimum_free_bytes": 0},
    facilities=[{"code": "86001", "name": "A"}],
)
with Archive.open(settings, application="killed") as archive:
    print("begun", flush=True)
    if revision:
        archive.reports.sign(caller, number, revision)
    while archive.report_objects.work():
        pass
"""
_BLOCKED: Final = """
SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def killed(archive: Archive, folder: Path, *given: Any) -> Iterator[None]:
    """A process signs and makes objects; when the block ends, it dies by SIGKILL, and the server has seen that."""
    file = folder / "given.pickle"
    file.write_bytes(pickle.dumps((archive.settings.data_dir, url_of(archive), *given)))
    with subprocess.Popen([sys.executable, "-c", _SIGNS, str(file)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def killed_at(archive: Archive, folder: Path, table: str, *given: Any) -> None:
    """Killed as soon as it writes this table."""
    with psycopg.connect(url_of(archive)) as holder, psycopg.connect(url_of(archive), autocommit=True) as watch:
        holder.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE".encode())
        with killed(archive, folder, *given):
            wait_until(lambda: watch.execute(_BLOCKED, (table,)).fetchone() is not None, f"it writes {table}")
    wait_until(lambda: gone(archive), "the sessions of the dead end")


def gone(archive: Archive) -> bool:
    return not sql(archive, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'killed%%' AND %s", True)


def repaired(archive: Archive) -> None:
    """What the background does when the lease of the dead has run out."""
    archive.reconcile()
    sql(archive, "UPDATE report_object SET due_at = now() WHERE state = 'waiting'")
    work(archive)


def whole(archive: Archive, signed: int) -> None:
    """Each signed version has its event and its task, and there are so many."""
    versions = sql(
        archive,
        "SELECT report_id, number FROM report_version WHERE status IN ('final', 'amended') AND signed_at IS NOT NULL"
        " ORDER BY 1, 2",
    )
    assert len(versions) == signed
    assert (
        sql(archive, "SELECT report_id, version FROM report_event WHERE kind <> 'preliminary' ORDER BY 1, 2")
        == versions
    )
    assert sql(archive, "SELECT report_id, version FROM report_object ORDER BY 1, 2") == versions
    assert sql(archive, "SELECT count(*) FROM report WHERE status IN ('final', 'amended')") == [min(signed, 1)]


def test_a_report_is_signed_with_all_its_objects_or_not_at_all(archive: Archive, tmp_path: Path) -> None:
    an: Caller = radiologist(archive, "an", "86001")
    study, reports = kept(archive, A), archive.reports
    entry = reports.create(an, study, FOUND)
    for table in ("report_object", "report_event"):
        killed_at(archive, tmp_path, table, an, entry.number, entry.revision)
        whole(archive, 0)
        assert not reports.get(an, entry.number).is_signed
    killed_at(archive, tmp_path, "instance", an, entry.number, entry.revision)
    whole(archive, 1)
    assert reports.get(an, entry.number).is_signed
    sql(archive, "UPDATE report_object SET due_at = now()")

    def shown() -> dict[str, str]:
        return made(archive, study)

    with killed(archive, tmp_path, an, entry.number, 0):
        wait_until(lambda: BASIC_TEXT_SR in shown(), "the structured report is there")
    wait_until(lambda: gone(archive), "the sessions of the dead end")
    repaired(archive)
    assert shown() == {kind: uid_of(entry.number, name, 1) for kind, name in NAMES.items()}

    entry = reports.get(an, entry.number)
    entry = reports.amend(an, entry.number, entry.revision, "Nhầm bên")
    entry = reports.save(an, entry.number, entry.revision, replace(FOUND, conclusion="Bên phải."))
    killed_at(archive, tmp_path, "rejection_note", an, entry.number, entry.revision)
    whole(archive, 2)
    repaired(archive)
    assert shown() == {kind: uid_of(entry.number, name, 2) for kind, name in NAMES.items()}
    assert sql(archive, "SELECT DISTINCT state FROM report_object") == ["done"]
    assert sql(archive, "SELECT count(*) FROM stored_object WHERE version > 1") == [0]
    assert_sound(archive)


NAMES: Final = {BASIC_TEXT_SR: "sr", ENCAPSULATED_PDF: "pdf"}
