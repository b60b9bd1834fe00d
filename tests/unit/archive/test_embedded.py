"""The embedded PostgreSQL among the processes and users of a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from archive import embedded
from archive.errors import IndexUnavailable


def test_dead_holders_of_the_database_are_struck_off(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / ".handle_pids.json"
    path.write_text(json.dumps([gone.pid, os.getpid()]))
    embedded._forget_dead_holders(tmp_path)
    assert json.loads(path.read_text()) == [os.getpid()]


def test_a_number_that_was_given_out_again_is_no_holder(tmp_path: Path) -> None:
    path = tmp_path / ".handle_pids.json"
    path.write_text(json.dumps([os.getpid()]))
    before = psutil.Process().create_time() - 60
    os.utime(path, (before, before))
    embedded._forget_dead_holders(tmp_path)
    assert json.loads(path.read_text()) == []


# --- logs


def test_lock_and_sockets_lie_in_a_folder_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = embedded._private_folder()
    assert folder == embedded._private_folder() == tmp_path / f"pacs-postgres-{os.geteuid()}"
    assert folder.stat().st_mode & 0o022 == 0


def test_a_folder_that_somebody_else_put_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"pacs-postgres-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IndexUnavailable, match="somebody else"):
        embedded._private_folder()


@pytest.mark.parametrize("name", ["ho so", "bệnh\u00a0viện", "a'b"])
def test_folders_that_the_package_cannot_quote_are_refused_by_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(IndexUnavailable, match=r"space or a quote; set data_dir"):
        embedded.EmbeddedPostgres(tmp_path / name / "postgres")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("gigabytes", "buffers", "cache", "log"),
    [
        (0.25, "128MB", "256MB", "1024MB"),
        (8, "1024MB", "4096MB", "2048MB"),
        (24, "3072MB", "12288MB", "6144MB"),
        (512, "4096MB", "262144MB", "8192MB"),
    ],
)
def test_the_server_is_sized_by_the_memory_of_the_machine(gigabytes: float, buffers: str, cache: str, log: str) -> None:
    settings = embedded.sizes(int(gigabytes * (1 << 30)))
    assert (settings["shared_buffers"], settings["effective_cache_size"]) == (buffers, cache)
    assert settings["max_wal_size"] == log


def test_what_somebody_has_set_is_left_as_it_is(postgres: str) -> None:
    """Nothing of a server that was set by hand is set again; the rest fits the machine."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        by_us = "SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'"
        given = dict(connection.execute(by_us).fetchall())
        assert given["random_page_cost"] == "1.1"
        assert given["checkpoint_timeout"] == "15min"
        assert given["shared_buffers"] == embedded.sizes(psutil.virtual_memory().total)["shared_buffers"]
        connection.execute("ALTER SYSTEM SET random_page_cost = 1.5")
        connection.execute("SELECT pg_reload_conf()")
        try:
            embedded._adjust(postgres)
            assert dict(connection.execute(by_us).fetchall())["random_page_cost"] == "1.5"
        finally:
            connection.execute("ALTER SYSTEM SET random_page_cost = 1.1")
            connection.execute("SELECT pg_reload_conf()")


def test_the_sizes_of_a_new_server_hold_from_its_first_start_on(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        for name, value in embedded.sizes(psutil.virtual_memory().total).items():
            if name in ("shared_buffers", "max_wal_size"):
                compared = "SELECT pg_size_bytes(current_setting(%s)), pg_size_bytes(%s)"
                (holds, wanted) = connection.execute(compared, (name, value)).fetchone() or (0, 1)
                assert holds == wanted, name
        waiting = "SELECT name FROM pg_settings WHERE pending_restart"
        assert connection.execute(waiting).fetchall() == []
