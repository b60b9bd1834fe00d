"""Fixtures for all tests: a real PostgreSQL per session, a fresh database per test, an open archive."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest

from archive.core import Archive, migrate
from archive.embedded import EmbeddedPostgres
from config.logs import JSONFormatter, TextFormatter
from config.settings import Settings, load
from tests import patient_httpx, patient_pynetdicom, repeatable

TEMPLATE = "pacs_template"
patient_pynetdicom.install()
patient_httpx.install()
repeatable.install()

# How long an example takes tells of what else the machine does. CI tries the same examples each time, developers others.
hypothesis.settings.register_profile(
    "pacs",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("pacs")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Also for fixtures of modules, which the first test that needs them makes."""
    repeatable.draws.start(item.nodeid)


@pytest.fixture(autouse=True)
def logs_end_with_the_test() -> Iterator[None]:
    """A command that is called within the process logs to the standard error of its test, which is closed behind it.

    Its level ends with it too: what a test finds in the log must not depend on which tests ran before.
    """
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, JSONFormatter | TextFormatter):
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database. `TEMPLATE` there is migrated."""
    folder = tmp_path_factory.mktemp("pg")
    # The server runs as another user when we are root, and pytest makes its folders for the owner alone.
    for parent in (folder, *folder.parents[:3]):
        if parent.owner() == Path.home().owner() and parent != Path("/tmp"):
            parent.chmod(0o755)
    server = EmbeddedPostgres(folder)
    with psycopg.connect(server.url, autocommit=True) as connection:
        # Durability is not what most tests are about; those that kill the server ask for it themselves.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(load(environ={}, database={"url": _database(server.url, TEMPLATE)}))
    yield server.url
    server.stop()


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with fresh_database(postgres) as url:
        yield url


@contextmanager
def fresh_database(postgres: str) -> Iterator[str]:
    """A fresh, migrated database on this server, for as long as the context lasts."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY wal_log")
    yield _database(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of an archive with a fresh database and folder, two facilities, and ports chosen by the system."""
    return load(
        environ={},
        data_dir=tmp_path,
        database={"url": database_url, "pool_size": 8},
        storage={"minimum_free_bytes": 0},
        node={"host": "127.0.0.1", "port": 0, "shutdown_grace": 5},
        web={"port": 0},
        access={"sign_in": "off"},  # tests of sign-in turn it on
        facilities=[{"code": "86001", "name": "Bệnh viện Đa khoa tỉnh"}, {"code": "86002", "name": "TTYT huyện"}],
        peers=[
            {
                "ae_title": "CT1",
                "facility": "86001",
                "rights": ["store", "commit", "find", "move", "worklist"],
                "sees": "province",
            },
            {"ae_title": "US2", "facility": "86002"},
        ],
        unknown_peers="accept",
    )


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    with Archive.open(settings) as opened:
        yield opened


def _database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}?{query}"
