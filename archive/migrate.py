"""Brings the tables of a database to the revision that this release needs.

Each migration is a transaction of its own, must work while the previous release still runs (expand, then contract),
and gives up rather than block the hospital: 4 s for a lock, 5 min for a statement.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from archive.database import fetch, first_line, translated
from archive.errors import IndexUnavailable
from archive.row_security import ROLE
from archive.tables import metadata

# Any number that no writer draws: writers use 62 random bits, this has the 63rd set.
MIGRATION_LOCK = (1 << 62) + 54_2017


def migrate(engine: Engine) -> list[str]:
    """Apply what is missing, one process at a time; give the revisions applied. Raises `IndexUnavailable`."""
    with translated(), engine.connect() as connection:
        # Before the lock: another process may migrate for as long.
        connection.execute(text("SET statement_timeout = '5min'"))
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
        try:
            connection.execute(text("SET lock_timeout = '4s'"))
            connection.commit()
            before = _revisions(connection)
            connection.commit()
            _upgrade(connection)
            return [revision for revision in _history() if revision not in before]
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
            connection.execute(text("RESET lock_timeout"))
            connection.execute(text("RESET statement_timeout"))
            connection.commit()


def _upgrade(connection: Connection) -> None:
    try:
        command.upgrade(_config(connection), "head")
    except CommandError as error:
        raise IndexUnavailable(f"this release does not know how to migrate the database: {error}") from error
    except ProgrammingError as error:
        raise IndexUnavailable(f"the migration failed: {first_line(error.orig)}") from error
    connection.commit()


def require_current(engine: Engine) -> None:
    """Raise `IndexUnavailable` unless the database is at the revision of this release."""
    with translated(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    wanted = _history()[-1]
    if current != wanted:
        raise IndexUnavailable(
            f"the database is at revision {current or 'none'}, this release needs {wanted}: "
            "run `python -m archive migrate`"
        )


def require_wall(limited: Engine) -> None:
    """Raise `IndexUnavailable` unless callers who see less than all are held back by PostgreSQL, too."""
    try:
        rows = fetch(limited, text("SELECT current_user, row_security_active('study')"))
    except IndexUnavailable as error:
        raise IndexUnavailable(
            f"the database role {ROLE} cannot be used ({error}): an administrator has to run "
            f"`CREATE ROLE {ROLE} NOLOGIN` if it is missing, and `GRANT {ROLE} TO` the user of database.url"
        ) from error
    if tuple(rows[0]) != (ROLE, True):
        raise IndexUnavailable(
            f"row security does not hold for the database role {ROLE}: it owns tables, or may do all"
        )


def drift(engine: Engine) -> list[str]:
    """Differences between the migrated tables and the models; empty when they agree."""
    with translated(), engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return [repr(difference) for difference in compare_metadata(context, metadata)]


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _history() -> list[str]:
    """All revisions of this release, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def _revisions(connection: Connection) -> set[str]:
    """The revisions that the database has."""
    current = MigrationContext.configure(connection).get_current_revision()
    history = _history()
    return set(history[: history.index(current) + 1]) if current in history else set()
