"""An archive that holds images comes to the next release with all of them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command

import archive.migrations
from archive.core import Archive
from archive.database import open_engine
from archive.migrate import _config, drift, migrate
from archive.records import EVERYTHING, Level, Query, Scope
from config.settings import DatabaseSettings, Settings, load

FOLDER = Path(next(iter(archive.migrations.__path__)))
RELEASED = FOLDER / "released.txt"
FIRST_RELEASE = "2026_11_22_row_security"
"""What the first users have."""
STUDY, SERIES, INSTANCE = "1.2.826.0.1.3680043.2.1", "1.2.826.0.1.3680043.2.2", "1.2.826.0.1.3680043.2.3"
ROWS = f"""
INSERT INTO facility (code, name) VALUES ('87001', 'A'), ('87002', 'B');
INSERT INTO patient (issuer, identity, patient_id, name, name_fold, birth_date, sex, attributes)
VALUES ('CCCD', '079162007788', '079162007788', 'NGUYỄN^HOA', 'NGUYEN HOA', '1962-08-14', 'F', '{{}}');
INSERT INTO study (study_instance_uid, patient_id, facility_id, study_date, accession_number, study_id,
                   study_description, referring_physician_fold, attributes, series_count, instance_count)
SELECT '{STUDY}', patient.id, facility.id, '2026-10-30', 'A1', '', '', '', '{{}}', 1, 1
  FROM patient, facility WHERE code = '87001';
INSERT INTO series (study_id, series_instance_uid, modality, series_description, body_part_examined, attributes,
                    instance_count)
SELECT id, '{SERIES}', 'CT', '', 'CHEST', '{{}}', 1 FROM study;
INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, number_of_frames)
SELECT id, '{INSTANCE}', '1.2.840.10008.5.1.4.1.1.2', 1 FROM series;
INSERT INTO stored_object (instance_id, version, current, key, size, digest, transfer_syntax_uid, dataset_offset,
                           header_length, facility_id, transport, calling_ae_title, address, received_at)
SELECT instance.id, 1, true, 'aa/bb/cc', 100, '\\x00', '1.2.840.10008.1.2.1', 0, 50, facility.id, 'DIMSE', 'CT1', '::1',
       now() FROM instance, facility WHERE code = '87001';
INSERT INTO account (kind, name, display_name) VALUES ('account', 'bs.lan', 'Lan');
INSERT INTO share_link (token_digest, patient_id, facility_id, factor, made_by, expires_at)
SELECT '\\x01', patient.id, facility.id, 'birth_date', 'bs.lan', now() + interval '1 day'
  FROM patient, facility WHERE code = '87001';
INSERT INTO access_grant (study_id, facility_id, kind, expires_at)
SELECT study.id, facility.id, 'referral', now() + interval '1 day' FROM study, facility WHERE code = '87002';
"""


@pytest.fixture
def old(postgres: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an archive whose database is that of the first release."""
    name = f"upgrade_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    head, _, query = postgres.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}?{query}"
    settings = load(environ={}, database={"url": url}, data_dir=tmp_path, access={"sign_in": "off"})
    engine = open_engine(settings.database, "test", transactions=True)
    with engine.connect() as connection:
        command.upgrade(_config(connection), FIRST_RELEASE)
        connection.commit()
    engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS)
    yield settings
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


def test_what_the_first_release_stored_is_found_after_the_upgrade(old: Settings) -> None:
    upgraded(old.database)
    with Archive.open(old) as opened:
        scopes = [
            (EVERYTHING, 1),
            (Scope(frozenset({"87001"})), 1),
            (Scope(frozenset({"87002"})), 1),  # by its grant
            (Scope(frozenset({"87003"})), 0),
        ]
        for scope, count in scopes:
            assert len(opened.search(Query(Level.STUDY), scope).matches) == count, scope
            assert len(opened.search(Query(Level.IMAGE), scope).matches) == count, scope
        (found,) = opened.locate(STUDY, SERIES, INSTANCE)
        assert (found.object.key, found.object.size) == ("aa/bb/cc", 100)


def test_the_upgrade_can_be_taken_back_and_done_again(old: Settings) -> None:
    upgraded(old.database)
    engine = open_engine(old.database, "test", transactions=True)
    with engine.connect() as connection:
        command.downgrade(_config(connection), FIRST_RELEASE)
        connection.commit()
    engine.dispose()
    upgraded(old.database)
    with Archive.open(old) as opened:
        assert len(opened.search(Query(Level.STUDY), Scope(frozenset({"87002"}))).matches) == 1


def test_released_migrations_are_never_edited() -> None:
    """Whoever has run one does not run it again: what is to be otherwise is another migration."""
    lines = [line.split() for line in RELEASED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(lines) >= 14
    for digest, name in lines:
        assert hashlib.sha256((FOLDER / "versions" / name).read_bytes()).hexdigest() == digest, name


def upgraded(database: DatabaseSettings) -> None:
    engine = open_engine(database, "test", transactions=True)
    migrate(engine)
    assert drift(engine) == []
    engine.dispose()
