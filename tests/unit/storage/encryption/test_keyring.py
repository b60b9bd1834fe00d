"""Keys of keys: lost, wrong, exchanged, kept by a command; and what was stored before encryption was on."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.encryption.convert import encrypt_existing
from storage.encryption.key_encryption import CommandKey, FileKey, KeyEncryptionKey, write_new_key
from storage.encryption.keyring import Keyring
from storage.encryption.store import EncryptedStore
from storage.errors import IntegrityError, KeyUnavailable, ObjectExists, StorageUnavailable
from storage.filesystem import FilesystemStore
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.store_helpers import get, put

KEY = "2026/11/22/7f3a9c01d2e4b8f0/03ff"
KMS = """
import base64, hashlib, sys
from cryptography.fernet import Fernet
verb, name, label = sys.argv[2:]
box = Fernet(base64.urlsafe_b64encode(hashlib.sha256(sys.argv[1].encode() + name.encode() + label.encode()).digest()))
data = base64.b64decode(sys.stdin.readline())
print(base64.b64encode(box.encrypt(data) if verb == "wrap" else box.decrypt(data)).decode())
"""


@pytest.fixture
def backend(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path / "objects")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def records(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "keyring").rglob("*.key1"))


def with_keys(backend: FilesystemStore, active: str, *keys: KeyEncryptionKey) -> EncryptedStore:
    from storage.encryption import keyring, sealed

    ring = Keyring(backend.sibling(keyring.SUFFIX), {key.id: key for key in keys}, active)
    return EncryptedStore(backend, backend.sibling(sealed.SUFFIX), ring)


# Key files


def test_given_a_new_key_file_then_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "local.key"
    assert write_new_key(path)
    before = path.read_bytes()
    assert len(base64.b64decode(before)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not write_new_key(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["local.key"]


@pytest.mark.parametrize(
    "content", [b"", b"short", b"!" * 44, base64.b64encode(bytes(31)), base64.b64encode(bytes(33))]
)
def test_given_a_bad_key_file_then_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(KeyUnavailable, match="32 bytes in Base64"):
        FileKey("k1", tmp_path / "k")
    with pytest.raises(KeyUnavailable, match="No such file"):
        FileKey("k1", tmp_path / "none")


# Missing and wrong keys


def test_given_no_key_or_another_then_said_and_nothing_is_called_corrupt(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    first = key_file(tmp_path)
    put(encrypted(backend, first), KEY, b"bytes" * 1000)
    for keys, text in (
        ((key_file(tmp_path, "k2"),), "encrypted by the key k1, which is not among"),
        ((FileKey("k1", _key_at(tmp_path / "another")),), "another key than the one of the name 'k1'"),
    ):
        store = encrypted(backend, *keys)
        for use in (store.open, lambda key, store=store: store.open_range(key, 0, 1)):
            with pytest.raises(KeyUnavailable, match=text):
                use(KEY)
        assert store.stat(KEY).size == 5000
    assert get(encrypted(backend, first), KEY) == b"bytes" * 1000


def _key_at(path: Path) -> Path:
    write_new_key(path)
    return path


def test_given_a_lost_or_damaged_record_then_its_copy_serves_and_rewrap_mends_it(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    key = key_file(tmp_path)
    put(encrypted(backend, key), KEY, b"bytes")
    one, two = records(root)
    for harm in (Path.unlink, lambda path: path.write_bytes(b"{}"), lambda path: path.write_bytes(b"\xff")):
        for record in (one, two):
            harm(root / record)
            store = encrypted(backend, key)
            assert get(store, KEY) == b"bytes"
            done = store.keyring.rewrap()
            assert (done.volumes, done.mended, done.rewrapped, done.failed) == (1, 1, 0, {})
            assert records(root) == [one, two]
    (root / one).unlink()
    (root / two).unlink()
    with pytest.raises(KeyUnavailable, match="restore the folder keyring"):
        get(encrypted(backend, key), KEY)


def test_given_records_of_two_volumes_exchanged_then_noticed(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    key = key_file(tmp_path)
    put(encrypted(backend, key), KEY, b"one")
    put(encrypted(backend, key), f"{KEY}0", b"two")
    names = records(root)
    contents = [(root / name).read_bytes() for name in names]
    for name, content in zip(names, [contents[1], contents[0], contents[3], contents[2]], strict=True):
        (root / name).write_bytes(content)
    with pytest.raises(KeyUnavailable):
        get(encrypted(backend, key), KEY)


# Life of a key


def test_given_a_new_key_when_rewrapped_then_the_old_one_is_of_no_use_any_more(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    old, new = key_file(tmp_path, "k1"), key_file(tmp_path, "k2")
    running = encrypted(backend, old)
    objects = {f"{KEY}{number}": secrets.token_bytes(1000) for number in range(3)}
    for number, (key, data) in enumerate(objects.items()):
        put(running if number else encrypted(backend, old), key, data)
    before = {path: path.read_bytes() for path in root.rglob("*.enc1")}

    both = encrypted(backend, old, new)
    assert {key: get(both, key) for key in objects} == objects
    put(both, KEY, b"by the new one")
    done = both.keyring.rewrap()
    assert (done.volumes, done.rewrapped, done.failed) == (3, 2, {})
    assert both.keyring.rewrap().rewrapped == 0
    assert {path: path.read_bytes() for path in before} == before, "objects are not touched"
    assert {name.rpartition("/")[2] for name in records(root)} == {"k2.key1"}

    only_new = encrypted(backend, new)
    assert {key: get(only_new, key) for key in objects} == objects
    with pytest.raises(KeyUnavailable, match="encrypted by the key k2"):
        get(encrypted(backend, old), KEY)
    put(running, f"{KEY}9", b"by a process that has not been started again")
    assert get(only_new, f"{KEY}9") == b"by a process that has not been started again"


def test_given_a_rewrap_that_was_killed_at_any_step_then_readable_and_the_next_completes_it(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    old, new = key_file(tmp_path, "k1"), key_file(tmp_path, "k2")
    put(encrypted(backend, old), KEY, b"bytes")

    class Killed(BaseException):
        pass

    for steps in range(6):
        store = encrypted(backend, old, new)
        left = [steps]

        def count(real: object, left: list[int] = left) -> object:
            def call(*arguments: object) -> object:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return real(*arguments)  # type: ignore[operator]

            return call

        store.keyring._records.create = count(store.keyring._records.create)  # type: ignore[method-assign]
        store.keyring._records.delete = count(store.keyring._records.delete)  # type: ignore[method-assign]
        with contextlib.suppress(Killed):
            store.keyring.rewrap()
        assert get(encrypted(backend, old, new), KEY) == b"bytes"
    assert encrypted(backend, new).keyring.rewrap().failed == {}
    assert [name.rpartition("/")[2] for name in records(root)] == ["k2.key1", "k2.key1"]


def test_given_a_volume_whose_key_is_gone_when_rewrapped_then_named_and_left_alone(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    put(encrypted(backend, key_file(tmp_path, "k1")), KEY, b"bytes")
    done = encrypted(backend, key_file(tmp_path, "k2")).keyring.rewrap()
    assert next(iter(done.failed.values())).startswith("objects are encrypted by the key k1")
    assert {name.rpartition("/")[2] for name in records(root)} == {"k1.key1"}


def test_given_many_threads_at_the_first_object_then_one_volume(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    store = encrypted(backend, key_file(tmp_path))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(store, f"{KEY}{number:x}", b"x"), range(64)))
    assert len(records(root)) == 2


def test_given_no_active_key_then_nothing_is_written_and_all_is_read(tmp_path: Path, backend: FilesystemStore) -> None:
    key = key_file(tmp_path)
    put(encrypted(backend, key), KEY, b"bytes")
    store = with_keys(backend, "k9", key)
    with pytest.raises(KeyUnavailable, match="no encryption key 'k9'"):
        store.create(f"{KEY}0")
    with pytest.raises(StorageUnavailable):
        store.check()
    assert get(store, KEY) == b"bytes"


# A key management system


def test_given_a_command_then_it_keeps_the_key(tmp_path: Path, backend: FilesystemStore, root: Path) -> None:
    script = tmp_path / "kms.py"
    script.write_text(KMS)
    command = [sys.executable, str(script), "master"]
    store = with_keys(backend, "kms1", CommandKey("kms1", command))
    store.check()
    put(store, KEY, b"bytes")
    assert get(with_keys(backend, "kms1", CommandKey("kms1", command)), KEY) == b"bytes"
    for other in ([sys.executable, str(script), "another"], ["/nowhere/kms"], ["/bin/echo"], ["/bin/true"]):
        with pytest.raises(KeyUnavailable, match="the command of the encryption key 'kms1' cannot unwrap"):
            get(with_keys(backend, "kms1", CommandKey("kms1", other)), KEY)
    local = key_file(tmp_path)
    moved = with_keys(backend, "k1", CommandKey("kms1", command), local)
    assert moved.keyring.rewrap().rewrapped == 1
    assert get(with_keys(backend, "k1", local), KEY) == b"bytes"


def test_given_a_command_that_gives_back_another_key_then_noticed(tmp_path: Path, backend: FilesystemStore) -> None:
    script = tmp_path / "kms.py"
    script.write_text("import base64, os\nprint(base64.b64encode(os.urandom(32)).decode())")
    store = with_keys(backend, "kms1", CommandKey("kms1", [sys.executable, str(script)]))
    with pytest.raises(KeyUnavailable):
        store.check()
    with pytest.raises(KeyUnavailable):
        put(store, KEY, b"bytes")
    assert list(store.keys()) == []


# What was stored before


def test_given_plain_objects_when_encrypted_then_the_same_bytes_and_no_plain_file(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    objects = {f"2026/11/{number}/a": os.urandom(number * 30_000) for number in range(6)}
    for key, data in objects.items():
        put(backend, key, data)
    store = encrypted(backend, key_file(tmp_path))
    assert encrypt_existing(store, "2026/11/5").objects == 1
    put(store, KEY, b"new")
    seen: list[int] = []
    done = encrypt_existing(store, progress=lambda now: seen.append(now.objects))
    assert (done.objects, done.bytes, done.failed, seen) == (5, 300_000, 0, [1, 2, 3, 4, 5])
    assert {key: get(store, key) for key in objects} == objects
    assert sorted(store.keys()) == sorted([*objects, KEY])
    assert {path.suffix for path in root.rglob("*") if path.is_file()} == {".enc1", ".key1"}
    assert encrypt_existing(store).objects == 0


def test_given_a_run_that_was_killed_at_any_step_then_the_next_completes_it(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    data = os.urandom(200_000)
    key = key_file(tmp_path)

    class Killed(BaseException):
        pass

    for step in ("create", "write", "commit", "delete", "committed"):
        put(backend, KEY, data)
        store = encrypted(backend, key)
        if step == "create":
            backend.sibling(".enc1").create(KEY)._fd = -1  # as a killed process leaves it
            assert (root / KEY).with_name(".03ff.enc1.part").exists()
        elif step == "write":
            with store.seal(KEY) as writer:
                writer.write(data[:100_000])
        elif step == "commit":
            put(store.sealed, KEY, b"damaged")
        elif step == "committed":
            with store.seal(KEY) as writer:
                writer.write(data)
                writer.commit()
            assert list(store.keys()) == [KEY], "both are one object"
        else:

            def killed(key: str) -> None:
                raise Killed

            store.plain.delete = killed  # type: ignore[method-assign]
            with pytest.raises(Killed):
                encrypt_existing(store)
            del store.plain.delete  # type: ignore[attr-defined]
        again = encrypted(backend, key)
        assert (encrypt_existing(again).objects, get(again, KEY)) == (1, data)
        assert [str(path.relative_to(root)) for path in root.rglob("2026/**/*") if path.is_file()] == [f"{KEY}.enc1"]
        again.delete(KEY)


def test_given_an_object_that_cannot_be_read_then_left_as_it_is_and_the_others_go_on(
    tmp_path: Path, backend: FilesystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(backend, f"a/{number}", b"x" * 100)
    store = encrypted(backend, key_file(tmp_path))
    real = store.seal
    monkeypatch.setattr(store, "seal", lambda key: _refuse() if key == "a/1" else real(key))
    done = encrypt_existing(store)
    assert (done.objects, done.failed) == (2, 1)
    assert (root / "a/1").read_bytes() == b"x" * 100


def _refuse() -> None:
    raise StorageUnavailable("the disk is full")


def test_given_readers_while_objects_are_encrypted_then_never_one_missing(
    tmp_path: Path, backend: FilesystemStore
) -> None:
    objects = {f"a/{number:x}": os.urandom(70_000) for number in range(120)}
    for key, data in objects.items():
        put(backend, key, data)
    store = encrypted(backend, key_file(tmp_path))
    with ThreadPoolExecutor(3) as pool:
        working = pool.submit(encrypt_existing, store)
        rounds = 0
        while not working.done() or not rounds:
            for key, data in objects.items():
                with store.open_range(key, 66_000, 100) as reader:
                    assert reader.read() == data[66_000:66_100]
            rounds += 1
        assert working.result().objects == 120
    assert {key: get(store, key) for key in objects} == objects


def test_given_encryption_turned_off_then_new_ones_are_plain_and_old_ones_readable(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    on = encrypted(backend, key_file(tmp_path))
    put(on, KEY, b"encrypted")
    off = EncryptedStore(on.plain, on.sealed, on.keyring, encrypts=False)
    put(off, f"{KEY}0", b"plain")
    assert (root / f"{KEY}0").read_bytes() == b"plain"
    assert get(off, KEY) == b"encrypted"
    with pytest.raises(ObjectExists):
        put(off, KEY, b"x")


def test_given_a_damaged_object_when_read_then_integrity_and_not_a_key(
    tmp_path: Path, backend: FilesystemStore, root: Path
) -> None:
    store = encrypted(backend, key_file(tmp_path))
    put(store, KEY, b"bytes")
    path = root / f"{KEY}.enc1"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        get(store, KEY)
