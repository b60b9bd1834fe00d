"""The operator's commands as an operator runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from archive.core import Archive
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql


def run(settings: Settings, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PACS_")} | {
        "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
        "PACS_DATA_DIR": str(settings.data_dir),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "archive", *arguments], env=environment, capture_output=True, text=True
    )


def test_commands_on_a_sound_archive(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    for arguments, said in (
        (["migrate"], "the database is up to date\n"),
        (["db-check"], "tables and models agree\n"),
        (["check"], "index: ok\nstore: ok\n"),
        (["reconcile"], "key blocks settled: 0 (0 keys without a row); objects adopted: 0; empty parents removed: 0\n"),
    ):
        done = run(settings, *arguments)
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    done = run(settings, "reconcile", "--verify", "--content")
    assert done.returncode == 0
    assert done.stdout.endswith("  1 objects checked\nmissing: 0; corrupt: 0; whole again: 0\n")


def test_reconcile_says_what_is_wrong(settings: Settings, archive: Archive) -> None:
    store(archive, ct_image())
    sql(archive, "INSERT INTO key_block (prefix, size, writer) VALUES ('2026/01/01/dead', 4, 17)")
    (settings.objects_dir / sql(archive, "SELECT key FROM stored_object")[0]).unlink()
    done = run(settings, "reconcile", "--verify")
    assert done.returncode == 1
    assert "key blocks settled: 1 (4 keys without a row)" in done.stdout
    assert "missing: 1; corrupt: 0" in done.stdout


def test_db_check_finds_a_difference(settings: Settings) -> None:
    with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as connection:
        connection.execute("DROP INDEX ix_study_accession_number_id")
    done = run(settings, "db-check")
    assert (done.returncode, done.stdout) == (1, "tables and models differ\n")
    assert "ix_study_accession_number_id" in done.stderr


@pytest.mark.parametrize("command", ["migrate", "db-check", "check", "reconcile"])
def test_an_index_that_cannot_be_reached_is_one_sentence(settings: Settings, command: str) -> None:
    done = run(settings, command, PACS_DATABASE__URL="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert "the index cannot serve now" in done.stderr
    assert "nobody" not in done.stderr.replace('user "nobody"', "")


def test_a_store_that_cannot_be_used_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(settings, "check", PACS_STORAGE__ROOT=str(tmp_path / "file" / "x"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "object store" in done.stderr


def test_bad_settings_and_calls_exit_with_2(settings: Settings) -> None:
    done = run(settings, "check", PACS_DATABASE__POOL_SIZE="many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pool_size" in done.stderr
    assert run(settings, "chekc").returncode == 2
    assert run(settings).returncode == 2
    helped = run(settings, "--help")
    assert helped.returncode == 0
    assert all(command in helped.stdout for command in ("migrate", "db-check", "check", "reconcile"))
