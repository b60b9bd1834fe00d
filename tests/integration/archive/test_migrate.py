"""Migrations: the tables that they make, and databases at another revision."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy.engine import make_url

from archive.core import Archive
from archive.database import database_url, open_engine
from archive.errors import IndexUnavailable
from archive.migrate import MIGRATION_LOCK, _config, _history, drift, migrate, require_current
from config.settings import DatabaseSettings, load
from tests.factories import ct_image, store
from tests.integration.archive.support import together


@pytest.fixture
def empty(postgres: str) -> Iterator[DatabaseSettings]:
    name = f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    head, _, query = postgres.partition("?")
    yield load(environ={}, database={"url": f"{head.rsplit('/', 1)[0]}/{name}?{query}"}).database
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_fresh_database_equals_the_models_and_can_be_taken_back(empty: DatabaseSettings) -> None:
    engine = open_engine(empty, "test")
    with pytest.raises(IndexUnavailable, match=r"at revision none.*python -m archive migrate"):
        require_current(engine)
    assert migrate(engine) == _history()
    assert migrate(engine) == []
    require_current(engine)
    assert drift(engine) == []
    with engine.connect() as connection:
        command.downgrade(_config(connection), "base")
        connection.commit()
        left = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars().all()
    assert left == ["alembic_version"]
    with pytest.raises(IndexUnavailable):
        require_current(engine)
    assert migrate(engine) == _history()
    engine.dispose()


def test_drift_is_seen(empty: DatabaseSettings) -> None:
    engine = open_engine(empty, "test")
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_study_newest")
        connection.exec_driver_sql("ALTER TABLE study ADD COLUMN extra int")
    assert len(drift(engine)) == 2
    engine.dispose()


def test_a_database_of_another_release_is_refused_with_a_sentence(empty: DatabaseSettings) -> None:
    engine = open_engine(empty, "test")
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '2099_01_01_future'")
    with pytest.raises(IndexUnavailable, match="2099_01_01_future"):
        require_current(engine)
    with pytest.raises(IndexUnavailable, match="does not know"):
        migrate(engine)
    with pytest.raises(IndexUnavailable):
        Archive.open(load(environ={}, database=empty))
    # Nothing stays locked.
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})").scalar_one()
    engine.dispose()


def test_tables_of_somebody_else_are_not_overwritten(empty: DatabaseSettings) -> None:
    engine = open_engine(empty, "test")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE patient (id int)")
    with pytest.raises(IndexUnavailable, match=r"migration failed.*patient"):
        migrate(engine)
    with engine.connect() as connection:
        tables = (
            connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars().all()
        )
    assert "study" not in tables
    engine.dispose()


def test_many_migrate_at_once(empty: DatabaseSettings) -> None:
    applied: list[list[str]] = []

    def work(_: int) -> None:
        engine = open_engine(empty, "test")
        applied.append(migrate(engine))
        engine.dispose()

    assert not together(work, 4)
    assert sorted(applied) == [[], [], [], _history()]


def test_two_processes_migrate_at_once(empty: DatabaseSettings, tmp_path: Path) -> None:
    environment = {
        "PACS_DATABASE__URL": empty.url.get_secret_value(),
        "PACS_DATA_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "archive", "migrate"], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert said == [f"applied: {', '.join(_history())}\n", "the database is up to date\n"]


def test_the_password_comes_from_its_file(empty: DatabaseSettings, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("it's s3cret/@:%\n")
    url = empty.url.get_secret_value()
    settings = load(
        environ={},
        data_dir=tmp_path,
        database={"url": url, "password_file": secret},
        storage={"minimum_free_bytes": 0},
        facilities=[{"code": "86001", "name": "A"}],
    )
    assert database_url(settings.database).password == "it's s3cret/@:%"
    assert make_url(database_url(settings.database).render_as_string(hide_password=False)).password == "it's s3cret/@:%"
    engine = open_engine(settings.database, "test")
    migrate(engine)
    engine.dispose()
    # The server trusts everybody; what is shown is that such a password breaks no connection string.
    with Archive.open(settings) as archive:
        store(archive, ct_image())
