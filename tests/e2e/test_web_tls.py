"""The web service over TLS: its own process, real handshakes."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from config.settings import Settings, SettingsError, load
from tests.certificates import Authority
from tests.ports import free_port


@contextmanager
def running(settings: Settings, folder: Path, **more: str) -> Iterator[int]:
    """`python -m viewer_api`; gives its port when it accepts connections."""
    port = free_port()
    environment = {
        **os.environ,
        "PACS_DATA_DIR": str(folder / "data"),
        "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        "PACS_ACCESS__SIGN_IN": "off",
        "PACS_WEB__PORT": str(port),
        **more,
    }
    log = folder / "web.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "viewer_api"], env=environment, stderr=written, stdout=written
        )
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                continue
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _tls(pair_folder: Path) -> dict[str, str]:
    return {
        "PACS_WEB__TLS__CERTIFICATE_FILE": str(pair_folder / "web.crt"),
        "PACS_WEB__TLS__PRIVATE_KEY_FILE": str(pair_folder / "web.key"),
    }


def _serial(port: int, authority: Authority, version: ssl.TLSVersion | None = None) -> int:
    context = ssl.create_default_context(cafile=str(authority.file))
    if version is not None:
        # Nothing of ours may be what keeps an old client out.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
    ):
        given = secured.getpeercert(binary_form=True)
        assert given is not None
        return x509.load_der_x509_certificate(given).serial_number


def test_browsers_are_served_safely_and_a_renewed_certificate_needs_no_restart(
    settings: Settings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    authority.pair("web", names=("127.0.0.1",))
    with running(settings, tmp_path, **_tls(authority.folder)) as port:
        trusted = ssl.create_default_context(cafile=str(authority.file))
        answer = httpx.get(f"https://127.0.0.1:{port}/health/live", verify=trusted)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=63072000"
        before = _serial(port, authority)
        assert _serial(port, authority, ssl.TLSVersion.TLSv1_2) == before
        with pytest.raises(ssl.SSLError, match=r"EOF|protocol version"):
            _serial(port, authority, ssl.TLSVersion.TLSv1_1)
        authority.pair("web", names=("127.0.0.1",))
        assert _serial(port, authority) != before
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/health/live")


def test_files_that_cannot_be_used_stop_the_start(settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority.pair("web")
    (authority.folder / "web.crt").write_text("no certificate")
    environment = {
        **os.environ,
        "PACS_DATA_DIR": str(tmp_path / "data"),
        "PACS_DATABASE__URL": settings.database.url.get_secret_value(),
        "PACS_STORAGE__MINIMUM_FREE_BYTES": "0",
        "PACS_ACCESS__SIGN_IN": "off",
        **_tls(authority.folder),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "viewer_api"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 1
    told = [json.loads(line)["message"] for line in ended.stderr.splitlines() if line.startswith("{")]
    assert "the certificate of the web service cannot be used" in told
    with pytest.raises(SettingsError, match="given together"):
        load(environ={}, web={"tls": {"certificate_file": "web.crt"}})


def test_only_our_own_proxies_say_for_whom_they_ask(settings: Settings, tmp_path: Path) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    for proxies, believed in (("[]", False), ('["127.0.0.0/8"]', True)):
        with running(settings, tmp_path, PACS_WEB__TRUSTED_PROXIES=proxies) as port:
            answer = httpx.get(f"http://127.0.0.1:{port}/health/live", headers=said)
            assert ("strict-transport-security" in answer.headers) is believed
