"""`python -m archive.launch` as a person runs it: real PostgreSQL, real ports, real signals, DCMTK as the modality."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from pydicom.data import get_testdata_file

from archive.demo.province import STUDIES
from tests.integration.dicom_node.running import object_files
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
READY = "The imaging archive is ready"
PATIENCE = 300


class Launched:
    """A running launcher: its output so far, its processes, its services."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.node = int(environment["PACS_NODE__PORT"])
        self.web = int(environment["PACS_WEB__PORT"])
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the launcher
        self.process = subprocess.Popen(
            [sys.executable, "-m", "archive.launch"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def output(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """The services and the database server with all their workers."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        postmaster = psutil.Process(int((self.folder / "var/postgres/postmaster.pid").read_text().split()[0]))
        return [*found, postmaster, *postmaster.children()]

    def service(self, module: str) -> psutil.Process:
        return next(p for p in psutil.Process(self.process.pid).children() if p.cmdline()[-1] == module)

    def stop(self, number: signal.Signals) -> int:
        """Send the signal; give the exit code, having seen that nothing is left behind."""
        before = self.processes()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        gone, alive = psutil.wait_procs(before, timeout=120)
        assert not alive, f"left behind: {alive}"
        assert gone
        return code

    def studies(self, query: str = "") -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/dicom-web/studies?{query}", timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else []

    def send(self, name: str, title: str = "ANY_TITLE") -> subprocess.CompletedProcess[str]:
        """Send a test file of pydicom by DCMTK."""
        command = ["storescu", "-aet", title, "-aec", "PACS", "127.0.0.1", str(self.node), str(get_testdata_file(name))]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        """End what a failed test left; through the launcher if it still answers."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._output.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working folder that the database's user may enter, too."""
    with tempfile.TemporaryDirectory(prefix="pacs-launch-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def own_settings(folder: Path) -> None:
    """Settings that somebody wrote for a hospital with one CT."""
    (folder / "pacs.toml").write_text(
        '[[facilities]]\ncode = "87001"\nname = "Bệnh viện"\n[[peers]]\nae_title = "CT1"\nfacility = "87001"\n'
        '[[peers]]\nae_title = "PACSCHECK"\nfacility = "UNKNOWN"\naddresses = ["127.0.0.0/8"]\n'
    )


@pytest.fixture
def environment() -> dict[str, str]:
    """Free ports; the viewer of the project's own folder, so that npm is not asked for each test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PACS_")}
    return {
        **clean,
        "PYTHONPATH": str(ROOT),
        "PACS_NODE__PORT": str(free_port()),
        "PACS_WEB__PORT": str(free_port()),
        "PACS_HL7__PORT": str(free_port()),
        "PACS_ACCESS__SIGN_IN": "off",
        # Nothing is to come by itself while a test counts.
        "DEMO_STUDIES": "0",
        "PACS_WEB__VIEWER": str(ROOT / "var" / "viewer"),
    }


@pytest.fixture
def launch(folder: Path, environment: dict[str, str]) -> Iterator[Any]:
    """Start a launcher in the folder; wait until it is ready."""
    started: list[Launched] = []

    def start(ready: bool = True, **variables: str) -> Launched:
        launched = Launched(folder, {**environment, **variables})
        started.append(launched)
        if ready:
            launched.wait_for(READY)
        return launched

    yield start
    for launched in reversed(started):
        launched.close()


def test_from_an_empty_folder_to_a_study_list_and_back(launch: Any, folder: Path) -> None:
    first = launch()
    assert f"http://127.0.0.1:{first.web}/" in first.output
    assert f"storescu -aec PACS 127.0.0.1 {first.node}" in first.output
    assert str(folder / "var") in first.output
    key = folder / "var" / "keys" / "local.key"
    assert first.output.count(str(key)) == 2, "in both languages"
    assert "mất khóa là mất toàn bộ ảnh" in first.output
    assert key.stat().st_mode & 0o777 == 0o600
    assert {study["0020000D"]["Value"][0] for study in first.studies()} == {study.uid for study in STUDIES}

    sent = first.send("CT_small.dcm")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert len(first.studies("PatientID=1CT1")) == 1

    refused = launch(ready=False)
    assert refused.process.wait(PATIENCE) == 1
    assert f"already running on var (process {first.process.pid})" in refused.output

    assert first.stop(signal.SIGINT) == 0
    assert "Stopped; the data stays" in first.output
    for name in ("dicom_node.log", "viewer_api.log", "launch.log"):
        assert (folder / "var/logs" / name).exists()

    stored = object_files(folder / "var" / "objects")
    assert {path.suffix for path in stored} == {".enc1", ".key1"}

    second = launch()
    assert "Loading the demo province" not in second.output
    assert len(second.studies()) == len(STUDIES) + 1
    assert str(key) in second.output, "said at each start"
    assert second.stop(signal.SIGTERM) == 0

    # A lost key is not replaced by a new one: that would look like a sound archive until somebody opens an image.
    key.rename(folder / "away")
    third = launch(ready=False)
    assert third.process.wait(PATIENCE) == 1
    assert f"their key is not here: put {Path('var/keys/local.key')} back" in third.output
    assert not key.exists()


def test_after_a_killed_launcher_the_next_one_starts_and_stops_cleanly(launch: Any, own_settings: None) -> None:
    first = launch()
    assert first.send("CT_small.dcm", "CT1").returncode == 0
    services = psutil.Process(first.process.pid).children()
    assert len(services) == 2
    first.process.kill()
    first.process.wait()

    second = launch()
    assert not any(service.is_running() for service in services)
    assert len(second.studies()) == 1
    assert second.stop(signal.SIGTERM) == 0


def test_stopped_in_the_middle_of_the_demo_the_next_start_completes_it(launch: Any, folder: Path) -> None:
    first = launch(ready=False)
    first.wait_for("40/159")
    assert first.stop(signal.SIGINT) == 0
    assert (folder / "var/demo.unfinished").exists()

    second = launch()
    assert "Loading the demo province" in second.output
    assert len(second.studies()) == len(STUDIES)
    assert not (folder / "var/demo.unfinished").exists()


def test_the_past_of_the_demo_comes_in_the_background_and_goes_on_after_a_stop(launch: Any, folder: Path) -> None:
    first = launch(DEMO_STUDIES="24")
    assert len(first.studies()) >= len(STUDIES), "what is shown first is there at once"
    first.wait_for("6/24 ca mẫu")
    assert first.stop(signal.SIGINT) == 0
    # Whoever held this test up for long enough finds it done; nearly always it was stopped in the middle.
    stopped = (folder / "var/demo.past").exists()

    second = launch()
    assert "Loading the demo province" not in second.output
    if stopped:
        second.wait_for("24 ca mẫu đã nạp xong")
    assert len(second.studies()) == len(STUDIES) + 24
    assert not (folder / "var/demo.past").exists()


def test_a_service_that_dies_ends_everything_and_shows_why(launch: Any, own_settings: None) -> None:
    launched = launch()
    before = launched.processes()
    launched.service("viewer_api").kill()
    assert launched.process.wait(PATIENCE) == 1
    assert "viewer_api ended by itself (exit code -9)" in launched.output
    assert "web service starts" in launched.output, "the end of its log"
    _, alive = psutil.wait_procs(before, timeout=120)
    assert not alive


def test_the_health_checks_of_compose_tell_life_from_death(launch: Any, own_settings: None) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    launched = launch()

    def healthy(name: str) -> bool:
        command = [re.sub(r"\$\{AE_TITLE:-(\w+)\}", r"\1", word) for word in services[name]["healthcheck"]["test"][1:]]
        ports = {"11112": str(launched.node), "8080": str(launched.web)}
        words = [re.sub(r"11112|8080", lambda found: ports[found[0]], word) for word in command]
        assert words[0] == "python"
        done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    assert healthy("dicom_node")
    assert healthy("viewer_api")
    assert launched.stop(signal.SIGTERM) == 0
    assert not healthy("dicom_node")
    assert not healthy("viewer_api")


def test_with_settings_of_ones_own_there_is_no_demo_and_strangers_are_refused(launch: Any, own_settings: None) -> None:
    launched = launch()
    assert launched.studies() == []
    assert launched.send("CT_small.dcm", "STRANGER").returncode != 0
    assert launched.send("CT_small.dcm", "CT1").returncode == 0
    assert len(launched.studies()) == 1
    assert launched.stop(signal.SIGTERM) == 0


def test_a_taken_port_is_said_before_anything_starts(launch: Any, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        launched = launch(ready=False, PACS_NODE__PORT=str(port))
        assert launched.process.wait(PATIENCE) == 1
    assert re.search(rf"port {port} is taken by another program; change node\.port", launched.output)
    assert "Traceback" not in launched.output
    assert not (folder / "var/postgres").exists()


def test_bad_settings_are_said_before_anything_starts(launch: Any, folder: Path) -> None:
    launched = launch(ready=False, PACS_NODE__AE_TITLE="MUCH_TOO_LONG_A_TITLE")
    assert launched.process.wait(PATIENCE) == 2
    assert "node.ae_title: 'MUCH_TOO_LONG_A_TITLE' is not an AE title" in launched.output
    assert "Traceback" not in launched.output
    assert not (folder / "var").exists()


def test_the_demo_asks_who_you_are(launch: Any) -> None:
    launched = launch(PACS_ACCESS__SIGN_IN="required")
    file = launched.folder / "var" / "demo-accounts.txt"
    assert file.stat().st_mode & 0o777 == 0o600
    passwords = dict(line.split("\t") for line in file.read_text().splitlines())
    assert all(f"{name}  " in launched.output and password in launched.output for name, password in passwords.items())
    root = f"http://127.0.0.1:{launched.web}"
    assert httpx.get(f"{root}/dicom-web/studies").status_code == 401
    with httpx.Client(base_url=root) as web:
        form = {"name": "bs.anbinh", "password": passwords["bs.anbinh"]}
        assert web.post("/sign-in", data=form).headers["location"] == "/"
        found = web.get("/dicom-web/studies").json()
    assert 0 < len(found) < len(STUDIES)
    asked = {"grant_type": "client_credentials"}
    given = httpx.post(f"{root}/oauth/token", data=asked, auth=("his.songxanh", passwords["his.songxanh"]))
    assert given.json()["token_type"] == "Bearer"
    assert passwords["soyte"] not in "".join(path.read_text() for path in (launched.folder / "var/logs").glob("*.log"))
