"""The archive over an encrypted store: in, found, out, repaired, and its index made anew with nothing but the key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from archive.core import Archive
from archive.errors import StoreUnavailable
from archive.reconcile import Repairs
from archive.records import Level, Outcome, Query
from archive.retrieve import read_frames, read_header, read_object
from config.settings import Settings
from storage.encryption.key_encryption import write_new_key
from storage.encryption.store import EncryptedStore
from tests.factories import ct_image, encode, store
from tests.integration.archive.support import assert_sound, sql
from tests.integration.archive.test_cli import run


@pytest.fixture
def key(settings: Settings) -> Path:
    path = settings.local_key.file
    assert path is not None
    write_new_key(path)
    return path


@pytest.fixture
def sealed(settings: Settings, key: Path) -> Settings:
    return settings


def _only_encrypted(settings: Settings) -> bool:
    files = [path for path in settings.objects_dir.rglob("*") if path.is_file()]
    return bool(files) and {path.suffix for path in files} <= {".enc1", ".key1"}


def test_given_a_key_then_an_object_goes_in_encrypted_and_comes_out_as_it_was(sealed: Settings) -> None:
    image = ct_image(rows=512, columns=512)
    with Archive.open(sealed) as archive:
        assert store(archive, image).outcome is Outcome.STORED
        assert store(archive, image).outcome is Outcome.DUPLICATE
        assert archive.check() == {"index": None, "store": None}
        (stored,) = archive.locate(image.StudyInstanceUID)
        whole = b"".join(read_object(archive.store, stored))
        assert len(whole) == stored.object.size
        assert whole[stored.object.dataset_offset :] == encode(image)
        assert list(read_frames(archive.store, stored, [1])) == [image.PixelData]
        assert read_header(archive.store, stored).PatientName == image.PatientName
        assert_sound(archive)
    assert _only_encrypted(sealed)
    assert not any(
        str(image.PatientID).encode() in path.read_bytes() for path in sealed.objects_dir.rglob("*") if path.is_file()
    )


def test_given_the_index_is_lost_then_store_and_key_alone_give_it_back(sealed: Settings) -> None:
    images = [ct_image() for _ in range(3)]
    with Archive.open(sealed) as archive:
        for image in images:
            store(archive, image)
        for table in ("stored_object", "instance", "series", "study", "patient"):
            sql(archive, f"TRUNCATE {table} CASCADE")
    with Archive.open(sealed) as archive:
        assert archive.search(Query(Level.STUDY)).total == 0
        done = archive.reindex()
        assert (done.seen, done.indexed, done.unreadable) == (3, 3, 0)
        assert archive.search(Query(Level.STUDY)).total == 3
        assert_sound(archive)


def test_given_a_damaged_object_then_corrupt_and_a_resend_repairs_it(sealed: Settings) -> None:
    image = ct_image()
    for harm in (lambda content: content[:-3], lambda content: content[:50], lambda content: b""):
        with Archive.open(sealed) as archive:
            store(archive, image)
            path = sealed.objects_dir / (sql(archive, "SELECT key FROM stored_object")[0] + ".enc1")
            path.write_bytes(harm(path.read_bytes()))
            (stored,) = archive.locate(image.StudyInstanceUID)
            with pytest.raises(StoreUnavailable):
                b"".join(read_object(archive.store, stored))
            repairs = Repairs()
            archive.verify(repairs)
            assert (repairs.corrupt, repairs.missing, repairs.failed) == (1, 0, 0)
            assert store(archive, image).outcome is Outcome.REPAIRED
            assert_sound(archive)


def test_given_a_changed_byte_then_found_by_content(sealed: Settings) -> None:
    with Archive.open(sealed) as archive:
        store(archive, ct_image())
        path = sealed.objects_dir / (sql(archive, "SELECT key FROM stored_object")[0] + ".enc1")
        content = bytearray(path.read_bytes())
        content[500] ^= 1
        path.write_bytes(content)
        repairs = Repairs()
        archive.verify(repairs, content=True)
        assert repairs.corrupt == 1


def test_given_the_key_is_away_then_no_start_and_no_object_is_called_corrupt(
    sealed: Settings, key: Path, tmp_path: Path
) -> None:
    with Archive.open(sealed) as archive:
        store(archive, ct_image())
    away = key.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match=r"their key is not here: put .*local\.key back"):
        Archive.open(sealed)
    done = run(sealed, "reconcile", "--verify", "--content")
    assert done.returncode == 1
    assert "their key is not here" in done.stderr
    assert "Traceback" not in done.stderr
    # Another key in its place: it starts, for there may be several, and what it cannot read it does not judge.
    write_new_key(key)
    with Archive.open(sealed) as archive:
        repairs = Repairs()
        archive.verify(repairs, content=True)
        assert (repairs.failed, repairs.corrupt, repairs.missing) == (1, 0, 0)
        assert sql(archive, "SELECT state FROM stored_object") == ["available"]
    key.unlink()
    away.rename(key)
    with Archive.open(sealed) as archive:
        assert_sound(archive)


def test_given_a_crash_between_bytes_and_row_then_adopted(sealed: Settings) -> None:
    image = ct_image()
    with Archive.open(sealed) as archive:
        store(archive, image)
        key = sql(archive, "SELECT key FROM stored_object")[0]
        for table in ("stored_object", "instance", "series", "study", "patient"):
            sql(archive, f"TRUNCATE {table} CASCADE")
    with Archive.open(sealed) as archive:
        sql(archive, f"INSERT INTO key_block (prefix, size, writer) VALUES ('{key.rpartition('/')[0]}', 1024, 17)")
        repairs = archive.reconcile()
        assert (repairs.adopted, repairs.failed) == (1, 0)
        assert len(archive.locate(image.StudyInstanceUID)) == 1


def test_given_plain_objects_then_readable_and_encrypted_by_the_command(settings: Settings) -> None:
    images = [ct_image() for _ in range(4)]
    with Archive.open(settings) as archive:
        for image in images[:3]:
            store(archive, image)
        assert not isinstance(archive.store, EncryptedStore)
    assert run(settings, "encrypt").returncode == 1
    assert run(settings, "encryption").returncode == 1
    assert settings.local_key.file is not None
    write_new_key(settings.local_key.file)
    with Archive.open(settings) as archive:
        store(archive, images[3])
        for image in images:
            (stored,) = archive.locate(image.StudyInstanceUID)
            assert b"".join(read_object(archive.store, stored)).endswith(encode(image))
        status = run(settings, "encryption", "--count")
        assert status.stdout.endswith("1 objects are encrypted, 3 are not\n"), status.stderr
        done = run(settings, "encrypt")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("encrypted: 3 objects, ")
        for image in images:
            (stored,) = archive.locate(image.StudyInstanceUID)
            assert b"".join(read_object(archive.store, stored)).endswith(encode(image))
        assert_sound(archive)
    assert _only_encrypted(settings)


def test_given_a_new_key_then_rewrap_lets_the_old_one_go(sealed: Settings, key: Path, tmp_path: Path) -> None:
    image = ct_image()
    with Archive.open(sealed) as archive:
        store(archive, image)
    write_new_key(tmp_path / "k2.key")
    change = {
        "PACS_STORAGE__ENCRYPTION__ACTIVE": "k2",
        "PACS_STORAGE__ENCRYPTION__KEYS": f'[{{"id": "k2", "file": "{tmp_path / "k2.key"}"}}]',
    }
    done = run(sealed, "rewrap", **change)
    assert (done.returncode, done.stdout) == (0, "volumes: 1; changed to the active key: 1; copies mended: 0\n")
    shutil.rmtree(key.parent)
    done = run(sealed, "reconcile", "--verify", "--content", **change)
    assert "missing: 0; corrupt: 0" in done.stdout, done.stderr
    done = run(sealed, "encryption", **change)
    assert (done.returncode, done.stdout) == (
        0,
        "new objects are encrypted by the key k2\n1 volumes of objects need the key k2\n",
    )
    assert run(sealed, "check").returncode == 1
