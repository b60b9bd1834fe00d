"""The S3 store keeps the contract on a real server, and what networks and servers can do to it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from storage.encryption.convert import encrypt_existing
from storage.encryption.store import EncryptedStore
from storage.errors import IntegrityError, ObjectExists, StorageUnavailable
from storage.s3 import S3Store
from tests.contracts.encrypted import encrypted, key_file
from tests.contracts.object_store import ObjectStoreContract
from tests.contracts.store_helpers import assert_absent, get, put
from tests.integration.storage.conftest import settings_for
from tests.integration.storage.proxy import Proxy, cut, flip, proxy
from tests.s3_server import S3Server, local_server

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def store(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    store = S3Store(settings_for(server), tmp_path_factory.mktemp("spool"))
    store.ensure_bucket()
    yield store
    store.close()


class TestS3Store(ObjectStoreContract):
    pass


@pytest.fixture(scope="module")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


class TestEncryptedS3Store(ObjectStoreContract):
    @pytest.fixture
    def store(self, store: S3Store, key_folder: Path) -> EncryptedStore:
        # A store for each test: what it remembers must not be what the next one needs.
        return encrypted(store, key_file(key_folder))


def test_given_encryption_on_s3_then_neither_bucket_nor_spool_has_plain_bytes(
    store: S3Store, server: S3Server, tmp_path: Path, key: str
) -> None:
    """Large objects wait on the disk before they go up; a range of one takes one request, once its header is known."""
    sealed = encrypted(store, key_file(tmp_path), looks_first=False)
    data = b"NGUYEN^VAN AN " * 800_000
    with sealed.create(key) as writer:
        writer.write(data)
        spooled = [
            os.pread(int(fd), 1 << 24, 0)
            for fd in os.listdir("/proc/self/fd")
            if "(deleted)" in _target(fd) and "spool" in _target(fd)
        ]
        assert sum(map(len, spooled)) > 10 * MEBIBYTE
        writer.commit()
    names = [
        f"{key}.enc1",
        *(found.object_name or "" for found in server.client().list_objects("pacs-test", "keyring/")),
    ]
    stored = [server.client().get_object("pacs-test", name).read() for name in names if not name.endswith("/")]
    assert len(stored[0]) > len(data)
    assert not any(b"VAN AN" in content for content in [*spooled, *stored])
    assert list(store.keys(key)) == [], "neither sees the objects of the other"
    with sealed.open_range(key, 9_000_000, 100) as reader:
        assert reader.read() == data[9_000_000:9_000_100]
    assert get(sealed, key) == data
    sealed.delete(key)


def test_given_plain_objects_on_s3_when_encrypted_then_the_same(store: S3Store, tmp_path: Path, key: str) -> None:
    small, large = os.urandom(1000), os.urandom(6 * MEBIBYTE)
    put(store, key, small)
    put(store, f"{key}0", large)
    sealed = encrypted(store, key_file(tmp_path), looks_first=False)
    assert get(sealed, key) == small
    assert encrypt_existing(sealed, key).objects == 2
    assert_absent(store, key)
    assert (get(sealed, key), get(sealed, f"{key}0")) == (small, large)
    assert sorted(sealed.keys(key)) == [key, f"{key}0"]


def _target(fd: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


@pytest.fixture
def network(server: S3Server) -> Iterator[Proxy]:
    with proxy(server.endpoint) as running:
        yield running


@pytest.fixture
def shaky(server: S3Server, store: S3Store, network: Proxy, tmp_path: Path) -> Iterator[S3Store]:
    """The store of `store`, seen over `network`, that never tries twice."""
    settings = settings_for(server, endpoint=network.endpoint, retries=0)
    over_network = S3Store(settings, tmp_path / "spool")
    yield over_network
    over_network.close()


@pytest.fixture
def key() -> str:
    return f"s3/{secrets.token_hex(8)}/1"


def uploads(store: S3Store, key: str) -> list[str]:
    return store._client.uploads(key)


# Large objects


def test_given_50_mb_in_parts_of_5_when_stored_then_one_object_with_its_digest(
    store: S3Store, server: S3Server, key: str
) -> None:
    data = secrets.token_bytes(50 * MEBIBYTE + 17)
    put(store, key, data)
    found = server.client().stat_object("pacs-test", key)
    assert found.size == len(data)
    assert found.etag is not None
    assert found.etag.endswith("-11")
    assert found.metadata is not None
    assert found.metadata["x-amz-meta-md5"] == hashlib.md5(data).hexdigest()
    assert get(store, key) == data
    with store.open_range(key, 5 * MEBIBYTE - 3, 6) as reader:
        assert reader.read() == data[5 * MEBIBYTE - 3 : 5 * MEBIBYTE + 3]
    assert uploads(store, key) == []
    store.delete(key)


@pytest.mark.parametrize("size", [5 * MEBIBYTE, 5 * MEBIBYTE + 1, 10 * MEBIBYTE])
def test_given_a_size_at_the_edge_of_a_part_then_stored(store: S3Store, key: str, size: int) -> None:
    data = secrets.token_bytes(size)
    put(store, key, data)
    assert get(store, key) == data
    store.delete(key)


def test_given_a_taken_key_when_a_large_object_is_written_then_refused_and_no_upload_left(
    store: S3Store, key: str
) -> None:
    put(store, key, b"first")
    with pytest.raises(ObjectExists):
        put(store, key, bytes(6 * MEBIBYTE))
    assert get(store, key) == b"first"
    assert uploads(store, key) == []


def test_given_an_upload_that_nobody_completes_when_deleted_then_aborted(
    store: S3Store, server: S3Server, key: str
) -> None:
    for name in (key, f"{key}0"):
        server.client()._create_multipart_upload("pacs-test", name, {})
    assert_absent(store, key)
    store.delete(key)
    assert uploads(store, key) == []
    assert len(uploads(store, f"{key}0")) == 1
    store.delete(f"{key}0")


# Bad networks


@pytest.fixture
def impatient(server: S3Server, store: S3Store, network: Proxy, tmp_path: Path) -> Iterator[S3Store]:
    """As `shaky`, and gives up a stalled connection at once."""
    settings = settings_for(server, endpoint=network.endpoint, retries=0, connect_timeout=0.5, read_timeout=0.3)
    over_network = S3Store(settings, tmp_path / "spool")
    yield over_network
    over_network.close()


@pytest.mark.parametrize("size", [100_000, 3 * MEBIBYTE, 12 * MEBIBYTE])
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_given_the_connection_fails_during_an_upload_then_unavailable_and_invisible(
    store: S3Store, shaky: S3Store, impatient: S3Store, network: Proxy, key: str, size: int, fault: str
) -> None:
    with (shaky if fault == "cut" else impatient).create(key) as writer:
        writer.write(secrets.token_bytes(size))
        if fault == "cut":
            network.tamper = cut("up", 50_000)
        else:
            network.stall("up", 50_000)
        with pytest.raises(StorageUnavailable):
            writer.commit()
        with pytest.raises(StorageUnavailable):
            writer.commit()
    assert_absent(store, key)
    store.delete(key)
    assert uploads(store, key) == []


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize("ranged", [False, True])
def test_given_the_connection_fails_during_a_download_then_unavailable(
    store: S3Store, shaky: S3Store, impatient: S3Store, network: Proxy, key: str, fault: str, ranged: bool
) -> None:
    data = secrets.token_bytes(6 * MEBIBYTE)
    put(store, key, data)
    if fault == "cut":
        network.tamper = cut("down", 2 * MEBIBYTE)
    else:
        network.stall("down", 2 * MEBIBYTE)
    reading = shaky if fault == "cut" else impatient
    expected = data[100:] if ranged else data
    received = b""
    with pytest.raises(StorageUnavailable):  # from `open` on a machine too busy for the impatient
        reader = reading.open_range(key, 100, 5 * MEBIBYTE) if ranged else reading.open(key)
        with reader:
            for chunk in reader:
                received += chunk
    assert expected.startswith(received)
    store.delete(key)


def test_given_a_line_that_is_slow_but_steady_then_stored_however_long_it_takes(
    store: S3Store, server: S3Server, network: Proxy, tmp_path: Path, key: str
) -> None:
    settings = settings_for(server, endpoint=network.endpoint, retries=0, connect_timeout=1, part_size=16 * MEBIBYTE)
    over_slow_line = S3Store(settings, tmp_path)
    network.slow("up", 0.008)  # 16 MiB are under way for two seconds, more than `connect_timeout`
    data = secrets.token_bytes(16 * MEBIBYTE)
    put(over_slow_line, key, data)
    over_slow_line.close()
    assert get(store, key) == data
    store.delete(key)


def test_given_a_bit_flipped_on_the_way_up_then_integrity_error_and_invisible(
    store: S3Store, shaky: S3Store, network: Proxy, key: str
) -> None:
    network.tamper = flip("up", 60_000)
    with pytest.raises(IntegrityError):
        put(shaky, key, secrets.token_bytes(100_000))
    assert_absent(store, key)
    # In every part but the last, which is too short to be hit.
    with pytest.raises(IntegrityError):
        put(shaky, key, secrets.token_bytes(10 * MEBIBYTE + 5))
    assert_absent(store, key)
    assert uploads(store, key) == []


@pytest.mark.parametrize("size", [100_000, 12 * MEBIBYTE])
def test_given_a_bit_flipped_on_the_way_down_then_integrity_error(
    store: S3Store, shaky: S3Store, network: Proxy, key: str, size: int
) -> None:
    data = secrets.token_bytes(size)
    put(store, key, data)
    network.tamper = flip("down", 60_000)
    with shaky.open(key) as reader, pytest.raises(IntegrityError):
        list(reader)
    network.tamper = None
    assert get(shaky, key) == data
    store.delete(key)


@pytest.mark.parametrize("size", [100, 12 * MEBIBYTE])
def test_given_the_answer_is_lost_when_tried_again_then_our_own_object_is_not_taken_for_anothers(
    store: S3Store, server: S3Server, network: Proxy, tmp_path: Path, key: str, size: int
) -> None:
    answers = itertools.count()
    last = 0 if size < 5 * MEBIBYTE else 4  # start, three parts, completion

    def lose_the_last_answer(way: str, seen: int, data: bytes) -> bytes | None:
        return None if way == "down" and next(answers) == last else data

    data = secrets.token_bytes(size)
    patient = S3Store(settings_for(server, endpoint=network.endpoint, retries=2), tmp_path)
    network.tamper = lose_the_last_answer
    try:
        put(patient, key, data)
    finally:
        patient.close()
    assert next(answers) > last + 1
    assert get(store, key) == data
    store.delete(key)


def test_given_all_connections_are_in_use_then_unavailable_after_the_wait(
    store: S3Store, server: S3Server, tmp_path: Path, key: str
) -> None:
    put(store, key, bytes(MEBIBYTE))
    small = S3Store(settings_for(server, max_connections=1, read_timeout=0.5, retries=0), tmp_path)
    with small.open(key), pytest.raises(StorageUnavailable):
        small.stat(key)
    assert small.stat(key).size == MEBIBYTE
    small.close()


# Servers that refuse


def assert_unusable(store: S3Store, key: str) -> None:
    for use in (store.check, store.ensure_bucket, lambda: put(store, key, b"x"), lambda: list(store.keys(key))):
        with pytest.raises(StorageUnavailable):
            use()
    for use_key in (store.open, store.stat, store.delete):
        with pytest.raises(StorageUnavailable):
            use_key(key)
    with pytest.raises(StorageUnavailable):
        store.open_range(key, 0, 1)
    with pytest.raises(StorageUnavailable):
        put(store, key, bytes(6 * MEBIBYTE))


@pytest.mark.parametrize("changes", [{"secret_key": SecretStr("wrong")}, {"access_key": SecretStr("nobody")}])
def test_given_wrong_credentials_then_unavailable(
    server: S3Server, tmp_path: Path, key: str, changes: dict[str, SecretStr]
) -> None:
    stranger = S3Store(settings_for(server, **changes), tmp_path)
    assert_unusable(stranger, key)
    stranger.close()


def test_given_nobody_listens_then_unavailable(server: S3Server, tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
    lost = S3Store(settings_for(server, endpoint=endpoint, retries=1), tmp_path)
    assert_unusable(lost, key)
    lost.close()


def test_given_a_server_that_speaks_no_s3_then_unavailable(server: S3Server, tmp_path: Path, key: str) -> None:
    with echo_server() as endpoint:
        lost = S3Store(settings_for(server, endpoint=endpoint, retries=0), tmp_path)
        assert_unusable(lost, key)
        lost.close()


@contextmanager
def echo_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(404)
            self.send_header("Content-Length", "0" if self.command == "HEAD" else "5")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"hello")

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def test_given_a_missing_bucket_then_unavailable_and_never_not_found(
    server: S3Server, tmp_path: Path, key: str
) -> None:
    bucket = f"missing-{secrets.token_hex(8)}"
    store = S3Store(settings_for(server, bucket=bucket), tmp_path)
    for use in (store.open, store.stat, store.delete):
        with pytest.raises(StorageUnavailable):
            use(key)
    for size in (1, 6 * MEBIBYTE):
        with pytest.raises(StorageUnavailable):
            put(store, key, bytes(size))
    with pytest.raises(StorageUnavailable):
        store.check()
    store.ensure_bucket()
    store.ensure_bucket()
    store.check()
    put(store, key, b"now it works")
    assert get(store, key) == b"now it works"
    store.delete(key)
    server.client().remove_bucket(bucket)
    store.close()


def test_given_the_server_is_killed_during_transfers_then_unavailable(tmp_path: Path, key: str) -> None:
    with local_server() as victim:
        store = S3Store(settings_for(victim, retries=1), tmp_path)
        store.ensure_bucket()
        # More than the buffers of both sockets hold, so that most of it is still to come when the server dies.
        put(store, key, bytes(40 * MEBIBYTE))
        reader = store.open(key)
        reader.read(1)
        writer = store.create(f"{key}0")
        writer.write(bytes(12 * MEBIBYTE))
        victim.stop()
        with pytest.raises(StorageUnavailable):
            reader.read()
        with pytest.raises(StorageUnavailable):
            writer.commit()
        reader.close()
        assert_unusable(store, key)
        store.close()


# HTTPS


def test_given_https_when_the_certificate_is_trusted_then_usable_else_unavailable(
    server: S3Server, store: S3Store, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not server.tls_endpoint:
        pytest.skip("the server of PACS_TEST_S3_ENDPOINT is tried over one protocol only")
    settings = settings_for(server, endpoint=server.tls_endpoint, secure=True, retries=0)
    distrustful = S3Store(settings, tmp_path)
    with pytest.raises(StorageUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        distrustful.check()
    distrustful.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    trusting = S3Store(settings, tmp_path)
    for size in (0, 100_000, 11 * MEBIBYTE):
        data = secrets.token_bytes(size)
        put(trusting, f"{key}{size}", data)
        assert get(trusting, f"{key}{size}") == get(store, f"{key}{size}") == data
        trusting.delete(f"{key}{size}")
    trusting.check()
    trusting.close()


# The spool


def test_given_a_large_write_then_the_spool_folder_shows_no_file_and_a_full_one_is_unavailable(
    server: S3Server, tmp_path: Path, key: str
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    store = S3Store(settings_for(server), tmp_path / "spool")
    with store.create(key) as writer:
        writer.write(bytes(6 * MEBIBYTE))
        assert list((tmp_path / "spool").iterdir()) == []
    store.close()
    store = S3Store(settings_for(server), blocked / "spool")
    with store.create(key) as writer:
        with pytest.raises(StorageUnavailable):
            writer.write(bytes(6 * MEBIBYTE))
        with pytest.raises(StorageUnavailable):
            writer.commit()
    store.close()
