"""S3 behind a spool: the contract, and what crashes, deletions and an S3 that is away may not do to an object."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import uploader as uploader_module
from storage.encryption.store import EncryptedStore
from storage.errors import ObjectExists, StorageUnavailable
from storage.s3 import S3Store
from storage.segments import FOLDER
from storage.uploader import objects, waiting
from storage.write_back import WriteBackStore
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.object_store import ObjectStoreContract
from tests.contracts.store_helpers import assert_absent, get, put
from tests.integration.storage.conftest import settings_for
from tests.integration.storage.proxy import proxy
from tests.integration.storage.spooling import (
    command,
    nothing_known,
    spooled,
    wait_until,
    wait_until_empty,
)
from tests.s3_server import S3Server, local_server


@pytest.fixture(scope="module")
def remote(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """S3 itself, past the spool."""
    with closing(S3Store(settings_for(server), tmp_path_factory.mktemp("parts"))) as store:
        store.ensure_bucket()
        yield store


@pytest.fixture
def folder(tmp_path: Path, remote: S3Store) -> Path:
    del remote  # it made the bucket
    return tmp_path


@pytest.fixture
def key() -> str:
    return f"back/{secrets.token_hex(8)}/1"


class TestWriteBackStore(ObjectStoreContract):
    """The contract, while objects go up at once."""

    @pytest.fixture
    def store(self, server: S3Server, folder: Path) -> Iterator[WriteBackStore]:
        with closing(spooled(server, folder)) as store:
            store.recover(nothing_known)
            yield store


class TestSpool(ObjectStoreContract):
    """The contract, while nothing goes up."""

    @pytest.fixture
    def store(self, server: S3Server, folder: Path) -> Iterator[WriteBackStore]:
        with closing(spooled(server, folder)) as store:
            yield store


class TestEncryptedWriteBackStore(ObjectStoreContract):
    @pytest.fixture
    def store(
        self, server: S3Server, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[EncryptedStore]:
        with closing(spooled(server, folder)) as store:
            store.recover(nothing_known)
            yield encrypted(store, key_file(tmp_path_factory.getbasetemp()))


# Where objects are


def test_given_an_object_then_acknowledged_from_the_spool_and_moved_to_s3(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder)) as store:
        for number, size in enumerate((0, 33_000, 6 << 20, 12 << 20)):  # the last in parts
            put(store, f"{key}{number}", bytes([number]) * size)
            assert_absent(remote, f"{key}{number}")
        found = waiting(folder / "spool")
        assert (found.objects, found.bytes) == (4, 33_000 + (18 << 20))
        assert found.oldest > 0
        store.recover(nothing_known)
        wait_until_empty(folder)
        assert waiting(folder / "spool").oldest == 0
        for number, size in enumerate((0, 33_000, 6 << 20, 12 << 20)):
            assert get(remote, f"{key}{number}") == get(store, f"{key}{number}") == bytes([number]) * size
            store.delete(f"{key}{number}")


def test_given_another_write_of_its_key_then_an_object_stays_in_the_spool_which_refuses_the_other(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    """Also when the receive journal is in use: the uploader must see what is being written."""
    with closing(spooled(server, folder)) as store:
        journal = store._spool._journal
        assert journal is not None
        put(store, f"{key}0", b"has the journal made")
        wait_until(lambda: journal.active, "the journal is in use")
        put(store, key, b"first")
        with store.create(key) as other:
            other.write(b"second")
            assert (folder / "spool" / f"{key.rpartition('/')[0]}/.1.part").exists()
            store.recover(nothing_known)
            wait_until(lambda: key in remote.keys(key), "it is with S3")
            put(store, f"{key}2", b"goes up later")
            wait_until(lambda: list(objects(str(folder / "spool"))) == [key], "the others have left the spool")
            with pytest.raises(ObjectExists):
                other.commit()
        wait_until_empty(folder)
        assert get(remote, key) == b"first"


def test_given_what_has_no_row_then_with_s3_at_once(server: S3Server, remote: S3Store, folder: Path, key: str) -> None:
    with closing(spooled(server, folder)) as store:
        with store.create(key, indexed=False) as writer:
            writer.write(b"a key of encryption")
            writer.commit()
        assert list(objects(str(folder / "spool"))) == []
        assert get(remote, key) == get(store, key) == b"a key of encryption"
        store.delete(key)
        assert_absent(remote, key)


def test_given_encryption_then_neither_spool_nor_s3_has_plain_bytes_and_keys_are_with_s3(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder, kind=WriteBackStore)) as store:
        sealed = encrypted(store, key_file(folder), looks_first=False)
        with sealed.create(key, indexed=True) as writer:
            writer.write(b"NGUYEN^VAN AN " * 10_000)
            writer.commit()
        (name,) = objects(str(folder / "spool"))
        assert name == f"{key}.enc1"
        assert b"VAN AN" not in (folder / "spool" / name).read_bytes()
        store.recover(nothing_known)
        wait_until_empty(folder)
        assert_absent(remote, key)
        again = encrypted(remote, key_file(folder), looks_first=False)
        assert get(again, key) == get(sealed, key) == b"NGUYEN^VAN AN " * 10_000
        sealed.delete(key)


def test_given_another_process_then_it_reads_what_waits(server: S3Server, folder: Path, key: str) -> None:
    with closing(spooled(server, folder)) as store:
        put(store, key, b"not up there yet")
        code = "assert store.stat(sys.argv[5]).size == 16\nsys.stdout.buffer.write(store.open(sys.argv[5]).read())"
        run = subprocess.run(command(code, server, folder, key), check=True, capture_output=True)
        assert run.stdout == b"not up there yet"
        store.delete(key)


def test_given_a_spool_that_was_turned_off_then_read_and_emptied_and_no_more_received(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder)) as store:
        put(store, key, b"left over")
    with closing(spooled(server, folder, receives=False)) as store:
        put(store, f"{key}0", b"new")
        assert list(objects(str(folder / "spool"))) == [key]
        assert get(remote, f"{key}0") == b"new"
        assert get(store, key) == b"left over"
        store.recover(nothing_known)
        wait_until_empty(folder)
        assert get(remote, key) == get(store, key) == b"left over"
        assert sorted(store.keys(key)) == [key, f"{key}0"]


def test_given_folders_that_are_long_empty_then_removed_and_made_again(
    server: S3Server, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "EMPTY_FOR", 0.0)
    monkeypatch.setattr(uploader_module, "PRUNED_EVERY", 0.0)
    with closing(spooled(server, folder)) as store:
        put(store, key, b"first")
        store.recover(nothing_known)
        wait_until(lambda: not (folder / "spool" / "back").exists(), "the folder is gone")
        store.delete(key)
        monkeypatch.setattr(uploader_module, "EMPTY_FOR", 1e9)
        put(store, f"{key}0", b"second")
        wait_until_empty(folder)
        assert get(store, f"{key}0") == b"second"


# Crashes


def killed(code: str, server: S3Server, folder: Path, *arguments: str) -> None:
    """Run `code` in a process that is to kill itself."""
    run = subprocess.run(command(code, server, folder, *arguments), check=False, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stdout + run.stderr


def test_given_a_process_killed_before_the_upload_then_the_next_one_uploads(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    killed("for n in range(5): put(f'{sys.argv[5]}{n}', bytes([n]) * 33_000)\ndie()", server, folder, key)
    with closing(spooled(server, folder)) as store:
        assert [get(store, f"{key}{n}") for n in range(5)] == [bytes([n]) * 33_000 for n in range(5)]
        assert list(remote.keys(key)) == []
        store.recover(nothing_known)
        wait_until_empty(folder)
    assert [get(remote, f"{key}{n}") for n in range(5)] == [bytes([n]) * 33_000 for n in range(5)]


@pytest.mark.parametrize("size", [33_000, 12 << 20])
def test_given_a_process_killed_between_upload_and_removal_then_compared_and_not_uploaded_again(
    server: S3Server, remote: S3Store, folder: Path, key: str, size: int
) -> None:
    code = f"""
    uploader._remove = die
    put(sys.argv[5], b"x" * {size})
    store.recover(nothing_known)
    wait_until_empty(folder)
    """
    killed(code, server, folder, key)
    assert list(objects(str(folder / "spool"))) == [key]
    written = remote._client.head(key).writer
    with closing(spooled(server, folder)) as store:
        assert get(store, key) == b"x" * size
        store.recover(nothing_known)
        wait_until_empty(folder)
        assert get(store, key) == b"x" * size
    assert remote._client.head(key).writer == written


def test_given_a_process_killed_during_an_upload_in_parts_then_the_next_one_leaves_none_of_them(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    code = """
    from storage.s3_client import S3Client
    S3Client.complete_upload = die
    put(sys.argv[5], b"x" * (12 << 20))
    store.recover(nothing_known)
    wait_until_empty(folder)
    """
    killed(code, server, folder, key)
    assert len(remote._client.uploads(key)) == 1
    with closing(spooled(server, folder)) as store:
        store.recover(nothing_known)
        wait_until_empty(folder)
    assert remote._client.uploads(key) == []
    assert get(remote, key) == b"x" * (12 << 20)


def test_given_a_process_killed_in_the_middle_of_a_commit_then_both_names_go(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder)) as store:
        put(store, key, b"has two names")
        path = folder / "spool" / key
        os.link(path, path.with_name(f".{path.name}.part"))
        store.recover(nothing_known)
        wait_until(lambda: not list(path.parent.iterdir()), "both names are gone")
    assert get(remote, key) == b"has two names"


@pytest.mark.parametrize("damage", ["names", "bytes"])
def test_given_a_power_cut_then_brought_back_before_it_goes_up(
    server: S3Server, remote: S3Store, folder: Path, key: str, damage: str
) -> None:
    """What is journaled and not flushed has lost names or bytes. What went up before it is not brought back."""
    code = """
    put("warm/up", b"")
    while not store._spool._journal.active:
        pass
    store.delete("warm/up")
    put(sys.argv[5] + "0", b"went up")
    store.recover(nothing_known)
    wait_until_empty(folder)
    store._uploader.close()
    put(sys.argv[5] + "1", b"waited")
    put(sys.argv[5] + "2", b"waited, without a row")
    die()
    """
    killed(code, server, folder, key)
    root = folder / "spool"
    assert list((root / FOLDER).glob("*.segment"))
    for number in (1, 2):
        if damage == "names":
            (root / f"{key}{number}").unlink()
        else:
            os.truncate(root / f"{key}{number}", 3)
    with closing(spooled(server, folder)) as store:
        assert store.recover(lambda keys: {each for each in keys if not each.endswith("2")}) == (
            1 if damage == "names" else 2
        )
        wait_until_empty(folder)
    assert get(remote, f"{key}0") == b"went up"
    assert get(remote, f"{key}1") == b"waited"
    assert list((root / FOLDER).glob("*.segment")) == []


def test_given_two_processes_then_one_uploads_and_the_other_takes_over(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    code = """
    store.recover(nothing_known)
    put(sys.argv[5], b"first")
    wait_until_empty(folder)
    print("up", flush=True)
    sys.stdin.read()
    """
    first = subprocess.Popen(command(code, server, folder, key), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    with closing(spooled(server, folder)) as store:
        store.recover(nothing_known)
        put(store, f"{key}0", b"uploaded by the first")
        wait_until_empty(folder)
        assert not store._uploader._under_way
        first.kill()
        first.communicate()
        put(store, f"{key}1", b"uploaded by the second")
        wait_until_empty(folder)
    assert get(remote, f"{key}0") == b"uploaded by the first"
    assert get(remote, f"{key}1") == b"uploaded by the second"


def test_given_arrivals_then_they_go_first_but_not_for_ever(
    server: S3Server, remote: S3Store, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "QUIET", 1e9)
    with closing(spooled(server, folder, patience=1e9)) as store:
        put(store, f"{key}0", b"x")
        store.recover(nothing_known)
        wait_until((folder / "spool" / uploader_module.LOCK).exists, "the uploader is there")
        for number in range(1, 50):
            put(store, f"{key}{number}", b"x")
    assert waiting(folder / "spool").objects == 50
    with closing(spooled(server, folder, patience=0.1)) as store:
        put(store, f"{key}50", b"the last to come")
        store.recover(nothing_known)
        wait_until_empty(folder)
    assert len(list(remote.keys(key))) == 51


# Deletion


def test_given_a_deletion_during_the_upload_then_it_waits_and_nothing_stays(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    reached, on = threading.Event(), threading.Event()

    def hold(way: str, seen: int, data: bytes) -> bytes:
        if way == "up" and data.startswith(b"PUT"):
            reached.set()
            on.wait()
        return data

    with (
        proxy(server.endpoint) as network,
        closing(spooled(server, folder, endpoint=network.endpoint)) as store,
    ):
        put(store, key, b"is deleted on its way")
        network.tamper = hold
        store.recover(nothing_known)
        assert reached.wait(120)
        deletion = threading.Thread(target=store.delete, args=[key])
        deletion.start()
        assert get(store, key) == b"is deleted on its way"
        on.set()
        deletion.join()
        assert_absent(store, key)
        assert_absent(remote, key)
        assert list(objects(str(folder / "spool"))) == []


def test_given_deletions_while_all_goes_up_then_nothing_stays(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder)) as store:
        store.recover(nothing_known)
        for number in range(200):
            put(store, f"{key}{number}", b"x" * 1000)
            if number >= 8:
                store.delete(f"{key}{number - 8}")
        for number in range(192, 200):
            store.delete(f"{key}{number}")
        wait_until_empty(folder)
    assert list(remote.keys(key)) == []


def test_given_the_uploader_is_killed_during_the_upload_then_a_deletion_goes_on(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    code = """
    from storage.s3 import S3Store
    upload = S3Store.upload
    def stop(*arguments):
        upload(*arguments)
        print("up", flush=True)
        sys.stdin.read()
    S3Store.upload = stop
    put(sys.argv[5], b"x")
    store.recover(nothing_known)
    wait_until_empty(folder)
    """
    first = subprocess.Popen(command(code, server, folder, key), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    with closing(spooled(server, folder)) as store:
        deletion = threading.Thread(target=store.delete, args=[key])
        deletion.start()
        first.kill()
        first.communicate()
        deletion.join()
        assert_absent(store, key)
    assert_absent(remote, key)


# S3 is away, or does not take an object; the disk is full


def test_given_s3_is_away_then_received_and_uploaded_when_it_is_back(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "AGAIN", 0.05)
    with local_server() as server, closing(spooled(server, tmp_path)) as store:
        store._remote.ensure_bucket()
        # Does not ask S3 whether the key is new, as in the archive.
        store._looks_first = False
        store.recover(nothing_known)
        put(store, f"{key}0", b"before")
        wait_until_empty(tmp_path)
        server.stop()
        for number in range(1, 21):
            put(store, f"{key}{number}", b"meanwhile")
        assert get(store, f"{key}7") == b"meanwhile"
        wait_until(lambda: store._uploader._doubtful, "it was tried")
        with pytest.raises(StorageUnavailable):
            get(store, f"{key}0")
        with pytest.raises(StorageUnavailable):
            store.check()
        # Not in the spool any more, and S3 cannot say: whoever deletes has to come again.
        with pytest.raises(StorageUnavailable):
            store.delete(f"{key}20")
        assert waiting(tmp_path / "spool").objects == 19
        server.start()
        wait_until_empty(tmp_path)
        store.delete(f"{key}20")
        assert sorted(store._remote.keys(key)) == sorted(f"{key}{number}" for number in range(20))


def test_given_other_bytes_with_s3_then_both_are_kept_and_others_go_up(
    server: S3Server, remote: S3Store, folder: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(spooled(server, folder)) as store:
        put(store, key, b"acknowledged")
        put(remote, key, b"of a stranger")
        put(store, f"{key}0", b"another")
        store.recover(nothing_known)
        wait_until(lambda: list(objects(str(folder / "spool"))) == [key], "the other went up")
        wait_until(lambda: key in store._uploader._aside, "it was tried")
        assert get(store, key) == b"acknowledged"
        assert get(remote, key) == b"of a stranger"
        assert get(remote, f"{key}0") == b"another"
    assert "other bytes" in "".join(str(record.__dict__) for record in caplog.records)


def test_given_less_free_than_is_to_be_kept_then_refused_and_what_is_there_goes_up(
    server: S3Server, remote: S3Store, folder: Path, key: str
) -> None:
    with closing(spooled(server, folder)) as store:
        put(store, key, b"before it was full")
    with closing(spooled(server, folder, minimum_free_bytes=1 << 60)) as store:
        with pytest.raises(StorageUnavailable, match="nearly full"):
            put(store, f"{key}0", b"x")
        with pytest.raises(StorageUnavailable, match="nearly full"):
            store.check()
        assert get(store, key) == b"before it was full"
        store.recover(nothing_known)
        wait_until_empty(folder)
    assert get(remote, key) == b"before it was full"
